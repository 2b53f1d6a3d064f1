"""Preprocessing of rows in front of a model, as a module: an affine map of each column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.errors import ModelError, ShapeError
from shapae.models.scalers import affine_map, fitted_names


class Affine(nn.Module):
    """(rows - mean) / scale, column by column.

    Args:
        mean: (d,).
        scale: (d,), not zero.
        like: Any tensor with the dtype and device of the buffers.
        names: d names of the columns; None if they have none.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, mean: NDArray[Any], scale: NDArray[Any], like: Tensor, names: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.names = names
        for name, array in {"mean": mean, "scale": scale}.items():
            self.register_buffer(name, torch.as_tensor(array, dtype=like.dtype, device=like.device))

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d).

        Raises:
            ShapeError: The rows do not have d columns.
        """
        self._check_width(rows)
        return (rows - self.mean.to(rows)) / self.scale.to(rows)

    def inverse(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d): rows * scale + mean, such as reconstructions in the units of the original columns.

        Raises:
            ShapeError: The rows do not have d columns.
        """
        self._check_width(rows)
        return rows * self.scale.to(rows) + self.mean.to(rows)

    def _check_width(self, rows: Tensor) -> None:
        if rows.shape[1:] != self.mean.shape:
            raise ShapeError(f"preprocess is for {len(self.mean)} columns, got rows of shape {tuple(rows.shape)}.")


def as_module(preprocess: Any, like: Tensor) -> nn.Module:
    """Convert ``preprocess`` to a module.

    Args:
        preprocess: None; a module, which is returned unchanged; a pair (mean, scale); a fitted transformer, or a
            Pipeline of such transformers.
        like: Any tensor with the dtype and device of the module.

    Raises:
        ModelError: ``preprocess`` has another type, or is not affine.
    """
    if preprocess is None:
        return nn.Identity()
    if isinstance(preprocess, nn.Module):
        return preprocess
    if _is_transformer(preprocess):
        slope, offset = affine_map(preprocess)
        return Affine(-offset / slope, 1 / slope, like, fitted_names(preprocess))
    mean, scale = _check_pair(preprocess)
    return Affine(mean, scale, like, _common_names(*preprocess))


def invert(preprocess: nn.Module, rows: Tensor) -> Tensor | None:
    """Undo ``preprocess``.

    Args:
        preprocess: An ``Affine``; an nn.Identity; or any module with a method ``inverse``, (n, d) -> (n, d).
        rows: (n, d), in the units of the model.

    Returns:
        (n, d), in the units of the original columns; None if the module has no such method.

    Raises:
        ShapeError: The rows do not have d columns, or ``inverse`` does not return a tensor of their shape.
    """
    if isinstance(preprocess, nn.Identity):
        return rows
    inverse = getattr(preprocess, "inverse", None)
    if not callable(inverse):
        return None
    original = inverse(rows)
    if not isinstance(original, Tensor) or original.shape != rows.shape:
        got = tuple(original.shape) if isinstance(original, Tensor) else type(original).__name__
        raise ShapeError(
            f"{type(preprocess).__name__}.inverse, of preprocess=, must return rows of shape {tuple(rows.shape)}, got "
            f"{got}. Rename the method if it does something else than undo forward."
        )
    return original


def describe(preprocess: nn.Module) -> str:
    """Describe preprocessing in words; empty if there is none."""
    if isinstance(preprocess, nn.Identity):
        return ""
    return "a shift and a scale of each column" if isinstance(preprocess, Affine) else type(preprocess).__name__


def column_names(preprocess: nn.Module) -> Sequence[str] | None:
    """Return the names of the columns that ``preprocess`` was fitted on; None if they are not known."""
    return preprocess.names if isinstance(preprocess, Affine) else None


def _is_transformer(preprocess: Any) -> bool:
    is_table = isinstance(preprocess, pd.DataFrame | pd.Series)  # has a method of this name, too
    return not is_table and (hasattr(preprocess, "transform") or hasattr(preprocess, "steps"))


def _check_pair(pair: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ModelError(
            f"preprocess must be a pair (mean, scale), a fitted transformer such as StandardScaler, or a "
            f"torch.nn.Module, got {type(pair).__name__}. {_as_module_code(pair)}"
        )
    mean, scale = (_vector(each) for each in pair)
    if mean.ndim > 1 or mean.shape != scale.shape or not np.isfinite([mean, scale]).all() or (scale == 0).any():
        raise ModelError(
            f"preprocess=(mean, scale) must be two vectors of d finite numbers, and scale not zero, got shapes "
            f"{mean.shape} and {scale.shape}. Use the scale 1 for a constant column."
        )
    return mean, scale


def _as_module_code(given: Any) -> str:
    """Say how to write a function, such as numpy.log1p, as a module."""
    name = getattr(given, "__name__", "")
    if not (callable(getattr(torch, name, None)) and given in (getattr(torch, name), getattr(np, name, None))):
        return "Write it as an nn.Module."
    return f"Write it as a module: preprocess=shapae.heads.Elementwise(torch.{name})."


def _vector(each: Any) -> NDArray[Any]:
    try:
        array = each.detach().cpu().double().numpy() if isinstance(each, Tensor) else np.asarray(each, np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"preprocess=(mean, scale) must be two vectors of d finite numbers, got {type(each).__name__}: {error}. "
            f"For a transformer and others in a row, give sklearn.pipeline.make_pipeline(first, second)."
        ) from error
    return np.atleast_1d(array)


def _common_names(mean: Any, scale: Any) -> list[str] | None:
    """Return the names of two Series.

    Raises:
        ModelError: Their names differ.
    """
    series = [each for each in (mean, scale) if isinstance(each, pd.Series)]
    names = [[str(name) for name in each.index] for each in series if not isinstance(each.index, pd.RangeIndex)]
    if len(names) == 2 and names[0] != names[1]:
        raise ModelError(
            "preprocess=(mean, scale) has other names in mean than in scale, or another order. Give "
            "(mean, scale.loc[mean.index])."
        )
    return names[0] if names else None
