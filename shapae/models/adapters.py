"""Adapters for models of other packages whose parts ``Autoencoder(model)`` can't find by itself.

Models of pythae, pyautoencoder and Lightning need no adapter. No other package is imported here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder
from shapae.utils.constraints import check_arguments
from shapae.utils.kinds import written

__all__ = ["pyod", "scvi"]

# Constant that pyod adds to the standard deviations: rows must be scaled as in training.
EPS = 1e-8
OWN_SCORE = (
    "decision_function of the detector is ReconstructionError('l2'), the distance on scaled rows, not the mean squared "
    "error"
)


def as_autoencoder(model: Any) -> Autoencoder:
    """Wrap ``model`` unless it is an Autoencoder already; a detector of pyod is wrapped by its adapter.

    Raises:
        ModelError: It is none of these.
    """
    if isinstance(model, Autoencoder):
        return model
    return pyod(model) if type(model).__module__.startswith("pyod.") else Autoencoder(model)


def pyod(detector: Any) -> Autoencoder:
    """Wrap a fitted autoencoder of pyod, for unscaled rows: AutoEncoder, VAE, AE1SVM or ALAD.

    ``heads.ReconstructionError("l2")`` equals the own score of AutoEncoder, VAE and AE1SVM; for a VAE, the score with
    its noise at the mean.

    Args:
        detector: The fitted detector. Its scaling, if any, becomes ``preprocess``.

    Raises:
        ModelError: The detector is not fitted, or it is no autoencoder.
    """
    name = type(detector).__name__
    if name not in DETECTORS:
        raise ModelError(
            f"{name} of pyod does not reconstruct its rows. Detectors that do are {', '.join(DETECTORS)}. The score of "
            f"any detector is explained by shap.KernelExplainer(detector.decision_function, background)."
        )
    if getattr(detector, "decision_scores_", None) is None:
        raise ModelError(f"the {name} of pyod is not fitted. Call detector.fit(X) first.")
    model, scaling = DETECTORS[name](detector)
    autoencoder = Autoencoder(model, preprocess=scaling if detector.preprocessing else None, noise="mean")
    autoencoder.notes = {} if name == "ALAD" else {"pyod": OWN_SCORE}
    return autoencoder


class _Halves(nn.Module):
    """Two modules as an autoencoder without a forward of its own."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder


# Detectors of pyod, and from each of them to its model and its scaling.
DETECTORS: dict[str, Callable[[Any], tuple[nn.Module, Any]]] = {
    **dict.fromkeys(("AutoEncoder", "VAE"), lambda each: (each.model, (each.X_mean, _deviation(each.X_std)))),
    "AE1SVM": lambda each: (each.model, (each.mean, _deviation(each.std))),
    "ALAD": lambda each: (_Halves(each.enc, each.dec), getattr(each, "scaler_", None)),
}


def _deviation(std: Any) -> Any:
    return None if std is None else std + EPS


def scvi(model: Any, *, batch: int = 0) -> Autoencoder:
    """Wrap a trained ``scvi.model.SCVI`` without covariates, for rows of counts.

    Latents are the means of q(z | x). The reconstruction is the mean of p(x | z) at these latents, in counts, for the
    library size of the row.

    Args:
        model: The trained model.
        batch: Number of the batch that all rows are assigned to.

    Raises:
        ModelError: The model is another one.
    """
    check_arguments(batch=batch)
    if not all(hasattr(getattr(model, "module", None), each) for each in ("inference", "generative")):
        raise ModelError(f"the model must be a trained scvi.model.SCVI, got {written(model)}.")
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
