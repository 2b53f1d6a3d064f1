"""Adapters for models of other packages whose parts ``Autoencoder(model)`` can't find by itself.

Models of pythae, pyautoencoder and Lightning need no adapter. No other package is imported here.
"""

from typing import Any

import torch
from torch import Tensor

from shapae.models.autoencoder import Autoencoder

__all__ = ["pyod", "scvi"]

# Constant that pyod adds to the standard deviations: rows must be scaled as in training.
EPS = 1e-8


def pyod(detector: Any) -> Autoencoder:
    """Wrap a fitted ``pyod.models.auto_encoder.AutoEncoder`` or ``pyod.models.vae.VAE``, for unscaled rows.

    ``heads.ReconstructionError("l2")`` equals the detector's own score; for a VAE, the score with its noise at the
    mean.

    Args:
        detector: The fitted detector. Its scaling, if any, becomes ``preprocess``.
    """
    scaling = (detector.X_mean, detector.X_std + EPS) if detector.preprocessing else None
    return Autoencoder(detector.model, preprocess=scaling, noise="mean")


def scvi(model: Any, *, batch: int = 0) -> Autoencoder:
    """Wrap a trained ``scvi.model.SCVI`` without covariates, for rows of counts.

    Latents are the means of q(z | x). The reconstruction is the mean of p(x | z) at these latents, in counts, for the
    library size of the row.

    Args:
        model: The trained model.
        batch: Number of the batch that all rows are assigned to.
    """
    latents = _Latents(batch)
    return Autoencoder(
        model.module, reconstruct=_Counts(batch), encode=latents, latent_distribution=latents, noise="mean"
    )


class _Latents:
    def __init__(self, batch: int) -> None:
        self.batch = batch

    def __call__(self, module: Any, rows: Tensor) -> Any:
        return self._inference(module, rows)["qz"]

    def _inference(self, module: Any, rows: Tensor) -> dict[str, Any]:
        outputs: dict[str, Any] = module.inference(x=rows, batch_index=self._batches(rows))
        return outputs

    def _batches(self, rows: Tensor) -> Tensor:
        return torch.full((len(rows), 1), self.batch, device=rows.device)


class _Counts(_Latents):
    def __call__(self, module: Any, rows: Tensor) -> Any:
        latents = {key: value for key, value in self._inference(module, rows).items() if key in ("z", "library")}
        return module.generative(batch_index=self._batches(rows), **latents)["px"]


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
