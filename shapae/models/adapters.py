"""Models of other packages, where ``Autoencoder(model)`` does not find all that there is to know.

For a model of pythae, pyautoencoder or Lightning none is needed. Nothing of another package is imported.
"""

from typing import Any

import torch
from torch import Tensor

from shapae.models.autoencoder import Autoencoder

__all__ = ["pyod", "scvi"]

# What pyod adds to the standard deviations.
EPS = 1e-8


def pyod(detector: Any) -> Autoencoder:
    """The model of a fitted ``pyod.models.auto_encoder.AutoEncoder`` or ``pyod.models.vae.VAE``, for rows as they are.

    The score of ``heads.ReconstructionError("l2")`` is the detector's own; of a VAE, with its noise at its mean.

    Args:
        detector: Its scaling, if it does any, becomes ``preprocess``.
    """
    scaling = (detector.X_mean, detector.X_std + EPS) if detector.preprocessing else None
    return Autoencoder(detector.model, preprocess=scaling, noise="mean")


def scvi(model: Any, *, batch: int = 0) -> Autoencoder:
    """The module of a trained ``scvi.model.SCVI`` without covariates, for rows of counts.

    Latents are the means of q(z | x), and the reconstruction is the mean of p(x | z) there, in counts, for the library
    size of the row.

    Args:
        model: With the ``module`` that was trained.
        batch: Number of the batch that all rows are taken to be from.
    """
    latents = _Latents(batch)
    return Autoencoder(
        model.module, reconstruct=_Counts(batch), encode=latents, latent_distribution=latents, noise="mean"
    )


class _Latents:
    def __init__(self, batch: int) -> None:
        self.batch = batch

    def __call__(self, module: Any, rows: Tensor) -> Any:
        return self._inferred(module, rows)["qz"]

    def _inferred(self, module: Any, rows: Tensor) -> dict[str, Any]:
        inferred: dict[str, Any] = module.inference(x=rows, batch_index=self._batches(rows))
        return inferred

    def _batches(self, rows: Tensor) -> Tensor:
        return torch.full((len(rows), 1), self.batch, device=rows.device)


class _Counts(_Latents):
    def __call__(self, module: Any, rows: Tensor) -> Any:
        given = {key: value for key, value in self._inferred(module, rows).items() if key in ("z", "library")}
        return module.generative(batch_index=self._batches(rows), **given)["px"]
