"""Preprocessing of rows in front of a model, as a module: an affine map of each column."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.errors import ModelError, ShapeError

# Number of rows on which a transformer is tested for being affine, and distance from 0 at which its slope is measured:
# far enough that clipping is noticed.
PROBES, FAR = 5, 1e6


class Affine(nn.Module):
    """(rows - mean) / scale, column by column.

    Args:
        mean: (d,).
        scale: (d,), not zero.
        like: Any tensor with the dtype and device of the buffers.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: NDArray[Any], scale: NDArray[Any], like: Tensor) -> None:
        super().__init__()
        for name, array in {"mean": mean, "scale": scale}.items():
            self.register_buffer(name, torch.as_tensor(array, dtype=like.dtype, device=like.device))

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d).

        Raises:
            ShapeError: The rows do not have d columns.
        """
        if rows.shape[1:] != self.mean.shape:
            raise ShapeError(f"preprocess is for {len(self.mean)} columns, got rows of shape {tuple(rows.shape)}.")
        return (rows - self.mean.to(rows)) / self.scale.to(rows)


def as_module(preprocess: Any, like: Tensor) -> nn.Module:
    """Convert ``preprocess`` to a module.

    Args:
        preprocess: None; a module, which is returned unchanged; a pair (mean, scale); or a fitted transformer.
        like: Any tensor with the dtype and device of the module.

    Raises:
        ModelError: ``preprocess`` has another type, or is not affine.
    """
    if preprocess is None:
        return nn.Identity()
    if isinstance(preprocess, nn.Module):
        return preprocess
    if hasattr(preprocess, "transform"):
        return Affine(*_affine_map(preprocess), like)
    return Affine(*_mean_and_scale(preprocess), like)


def _mean_and_scale(pair: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ModelError(
            f"preprocess must be a pair (mean, scale), a fitted transformer such as StandardScaler, or a "
            f"torch.nn.Module, got {type(pair).__name__}. Write it as an nn.Module."
        )
    mean, scale = (np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in pair)
    if mean.ndim > 1 or mean.shape != scale.shape or not np.isfinite([mean, scale]).all() or (scale == 0).any():
        raise ModelError(
            f"preprocess=(mean, scale) must be two vectors of d finite numbers, and scale not zero, got shapes "
            f"{mean.shape} and {scale.shape}. Use the scale 1 for a constant column."
        )
    return mean, scale


def _affine_map(transformer: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute mean and scale of an affine transformer from its output on a few rows.

    Raises:
        ModelError: The transformer is not fitted, not affine, or mixes columns.
    """
    kind = type(transformer).__name__
    if not hasattr(transformer, "n_features_in_"):
        raise ModelError(f"{kind} is not fitted, or has no n_features_in_. Fit it, or give preprocess=(mean, scale).")
    rows = np.arange(PROBES)[:, None] + np.arange(transformer.n_features_in_) % PROBES
    probes = np.concatenate([0 * rows[:1], 0 * rows[:1] - FAR, 0 * rows[:1] + FAR, rows])
    output = _transform(transformer, probes)
    if output.shape == probes.shape:
        slope = (output[2] - output[1]) / (2 * FAR)
        affine = output[0] + slope * probes
        if (slope != 0).all() and np.allclose(output, affine, rtol=1e-6, atol=1e-6 * np.abs(slope).min()):
            return -output[0] / slope, 1 / slope
    raise ModelError(
        f"{kind} is not a shift and a scale of each column by itself, so that values would not refer to the original "
        f"columns. Write it as an nn.Module, preprocess=module, or explain the rows that it returns."
    )


def _transform(transformer: Any, rows: NDArray[Any]) -> NDArray[Any]:
    names = getattr(transformer, "feature_names_in_", None)
    output = transformer.transform(rows if names is None else pd.DataFrame(rows, columns=names))
    return np.asarray(output, dtype=np.float64)
