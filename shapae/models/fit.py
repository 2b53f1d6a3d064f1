"""Whether a model reconstructs the rows at all: its error beside the error of the mean, which needs no model."""

import warnings

import torch
from torch import Tensor, nn

from shapae.errors import ModelError, ReconstructionWarning
from shapae.models.autoencoder import Autoencoder

# Number of rows that are reconstructed at most, and at least: the mean of a few rows is close to them by itself.
MOST, LEAST = 256, 5
# Ratio of the errors above which the model is worse, so that chance is not.
WORSE = 1.1
# Variance of equal rows, as a part of their mean square.
EQUAL = 1e-6


def warn_of_poor_reconstruction(autoencoder: Autoencoder, rows: Tensor, stacklevel: int) -> None:
    """Warn if the model reconstructs rows worse than their mean does, as it does if a scaler was forgotten.

    Args:
        autoencoder: In eval mode. If its reconstruction is not clear, nothing is said.
        rows: (n, d), such as the background. Fewer than 5 rows, or rows that are all equal, tell too little.
        stacklevel: See ``warnings.warn``.
    """
    some = rows[:: -(-len(rows) // MOST)]
    if len(some) < LEAST:
        return
    with torch.no_grad():
        try:
            target, reconstruction = autoencoder.target(some), autoencoder.reconstruct(some)
        except ModelError:
            return
        may_be_logits = bool(((target >= 0) & (target <= 1)).all())  # of which the loss takes the sigmoid
        tables = [reconstruction, *([reconstruction.sigmoid()] if may_be_logits else [])]
        error = min(_mean_square(table - target) for table in tables)
        variance = _mean_square(target - target.mean(dim=0)) * len(some) / (len(some) - 1)
    if variance > EQUAL * _mean_square(target) and error > WORSE * variance:
        warnings.warn(
            f"the model reconstructs the background worse than its mean does: the mean squared error of the model is "
            f"{error:.3g}, and that of the mean {variance:.3g}. {_advice(autoencoder, target, reconstruction)}",
            ReconstructionWarning,
            stacklevel=stacklevel + 1,
        )


def _advice(autoencoder: Autoencoder, target: Tensor, reconstruction: Tensor) -> str:
    """Say what the model may have been trained on."""
    if bool((target >= 0).all()):
        logs = target.log1p()
        if _mean_square(reconstruction - logs) < _mean_square(logs - logs.mean(dim=0)):
            return (
                "It does reconstruct the logarithms log(1 + x) of the background. Explain its errors from these: "
                "head='reconstruction_error:mse_of_log1p'."
            )
    if not isinstance(autoencoder.preprocess, nn.Identity):
        return "Look whether preprocess= is the scaling that the model was trained with."
    return (
        "If the model was trained on scaled rows, say how they were scaled: Autoencoder(model, preprocess=scaler), or "
        "preprocess=(mean, scale)."
    )


def _mean_square(numbers: Tensor) -> float:
    return float(numbers.square().mean())
