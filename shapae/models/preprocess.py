"""What is done to the rows in front of a model, as a module: an affine map of each column."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.errors import ModelError, ShapeError

# Rows at which a transformer is asked whether it is affine, and how far from 0 its slope is measured.
PROBES, FAR = 5, 1e6


class Affine(nn.Module):
    """(rows - mean) / scale, column by column.

    Args:
        mean: (d,).
        scale: (d,), not zero.
        like: Tells dtype and device.
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
            ShapeError: The rows have other columns.
        """
        if rows.shape[1:] != self.mean.shape:
            raise ShapeError(f"preprocess is for {len(self.mean)} columns, got rows of shape {tuple(rows.shape)}.")
        return (rows - self.mean.to(rows)) / self.scale.to(rows)


def as_module(preprocess: Any, like: Tensor) -> nn.Module:
    """A module that does what ``preprocess`` does.

    Args:
        preprocess: None; a module, which is taken as it is; a pair (mean, scale); or a fitted transformer.
        like: Tells dtype and device of what is made.

    Raises:
        ModelError: It is none of these, or not affine.
    """
    if preprocess is None:
        return nn.Identity()
    if isinstance(preprocess, nn.Module):
        return preprocess
    if hasattr(preprocess, "transform"):
        return Affine(*_affine_map(preprocess), like)
    if not isinstance(preprocess, (tuple, list)) or len(preprocess) != 2:
        raise ModelError(
            f"preprocess must be a pair (mean, scale), a fitted transformer such as StandardScaler, or a "
            f"torch.nn.Module, got {type(preprocess).__name__}; write it as an nn.Module."
        )
    mean, scale = (np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in preprocess)
    if mean.ndim > 1 or mean.shape != scale.shape or not np.isfinite([mean, scale]).all() or (scale == 0).any():
        raise ModelError(
            f"preprocess=(mean, scale) must be two vectors of d finite numbers, and scale not zero, got shapes "
            f"{mean.shape} and {scale.shape}; a column that does not vary needs the scale 1."
        )
    return Affine(mean, scale, like)


def _affine_map(transformer: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and scale of an affine transformer, from what it makes of some rows.

    Raises:
        ModelError: It is not affine, or mixes columns.
    """
    kind = type(transformer).__name__
    if not hasattr(transformer, "n_features_in_"):
        raise ModelError(f"{kind} is not fitted, or does not say so by n_features_in_; give preprocess=(mean, scale).")
    rows = np.arange(PROBES)[:, None] + np.arange(transformer.n_features_in_) % PROBES
    probes = np.concatenate([0 * rows[:1], 0 * rows[:1] - FAR, 0 * rows[:1] + FAR, rows])
    made = _transformed(transformer, probes)
    if made.shape == probes.shape:
        slope = (made[2] - made[1]) / (2 * FAR)
        want = made[0] + slope * probes
        if (slope != 0).all() and np.allclose(made, want, rtol=1e-6, atol=1e-6 * np.abs(slope).min()):
            return -made[0] / slope, 1 / slope
    raise ModelError(
        f"{kind} is not a shift and a scale of each column by itself, so that values would not refer to the columns as "
        f"they are. Write it as an nn.Module, preprocess=module, or explain the rows that it returns."
    )


def _transformed(transformer: Any, rows: NDArray[Any]) -> NDArray[Any]:
    names = getattr(transformer, "feature_names_in_", None)
    made = transformer.transform(rows if names is None else pd.DataFrame(rows, columns=names))
    return np.asarray(made, dtype=np.float64)
