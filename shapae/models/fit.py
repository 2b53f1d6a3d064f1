"""Whether a model reconstructs the rows at all: its error beside the error of the mean, which needs no model."""

import warnings

import torch
from torch import Tensor

from shapae.errors import ModelError, ReconstructionWarning
from shapae.models.autoencoder import Autoencoder

# Number of rows that are reconstructed at most, and at least: the mean of a few rows is close to them by itself.
MOST, LEAST = 256, 10


def warn_of_poor_reconstruction(autoencoder: Autoencoder, rows: Tensor, stacklevel: int) -> None:
    """Warn if the model reconstructs rows worse than their mean does, as it does if a scaler was forgotten.

    Args:
        autoencoder: In eval mode. If its reconstruction is not clear, nothing is said.
        rows: (n, d), such as the background. Fewer than 10 rows tell too little.
        stacklevel: See ``warnings.warn``.
    """
    some = rows[:: -(-len(rows) // MOST)]
    if len(some) < LEAST:
        return
    with torch.no_grad():
        try:
            target = autoencoder.target(some)
            error = _mean_square(autoencoder.reconstruct(some) - target)
        except ModelError:
            return
        variance = _mean_square(target - target.mean(dim=0))
    if error > variance:
        warnings.warn(
            f"the model reconstructs the background worse than its mean does: the mean squared error of the model is "
            f"{error:.3g}, and that of the mean {variance:.3g}. If the model was trained on scaled rows, say how they "
            f"were scaled: Autoencoder(model, preprocess=scaler), or preprocess=(mean, scale).",
            ReconstructionWarning,
            stacklevel=stacklevel + 1,
        )


def _mean_square(numbers: Tensor) -> float:
    return float(numbers.square().mean())
