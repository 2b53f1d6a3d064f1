"""What people bring as a table, made into one array with one name for each column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from shapae.errors import DataError
from shapae.moments import Array


@dataclass(frozen=True, eq=False)
class Rows:
    """A table that can be explained: two axes, numbers only, all of them finite.

    Attributes:
        values: (n, d), n and d at least 1, any real dtype.
        names: d unique names, or None for an array, which has none.
    """

    values: Array
    names: list[str] | None

    def tensor(self, like: Tensor, what: str) -> Tensor:
        """A copy in the dtype and on the device of ``like``.

        Args:
            like: Any tensor.
            what: What to call the table in errors.

        Returns:
            (n, d).

        Raises:
            DataError: Some numbers are too large for the dtype.
        """
        rows = torch.tensor(self.values).to(like)
        if not torch.isfinite(rows).all():
            raise DataError(f"some numbers of the {what} are too large for the model's {like.dtype}; scale them.")
        return rows


def read_rows(table: Any, what: str) -> Rows:
    """Read ``table``: a numpy array, a tensor, anything that numpy takes, or a pandas or polars DataFrame.

    Args:
        table: (n, d).
        what: What to call the table in errors: "rows" or "background".

    Returns:
        The rows, in the dtype of ``table``.

    Raises:
        DataError: The table is empty, has not two axes, holds something else than finite numbers, or two columns
            of one name.
    """
    if isinstance(table, pd.DataFrame):
        _refuse_repeated([str(name) for name in table.columns], what)  # narwhals does so too, in other words
    frame = nw.from_native(table, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return _read_frame(frame, what)
    return Rows(_numbers(table, what, None), None)


def _read_frame(frame: nw.DataFrame[Any], what: str) -> Rows:
    names = [str(name) for name in frame.columns]
    kinds = zip(names, frame.schema.values(), strict=True)
    text = [name for name, kind in kinds if not (kind.is_numeric() or kind == nw.Boolean)]
    if text:
        raise DataError(f"the {what} must be numbers; drop or convert {_some(text, 'column')}.")
    return Rows(_numbers(_columns(frame), what, names), names)


def _columns(frame: nw.DataFrame[Any]) -> Any:
    """(n, d): one column at a time where a mixture of numbers and truth values would become objects."""
    array = frame.to_numpy()
    if array.dtype != object:
        return array
    return np.stack([frame[name].cast(nw.Float64).to_numpy() for name in frame.columns], axis=1)


def _numbers(table: Any, what: str, names: list[str] | None) -> Array:
    if isinstance(table, Tensor):
        table = table.detach().cpu()
        table = table.float().numpy() if table.dtype == torch.bfloat16 else table.numpy()
    if isinstance(table, np.ma.MaskedArray):
        table = np.ma.filled(table.astype(float), np.nan)
    try:
        array = np.asarray(table)
    except ValueError as error:
        raise DataError(f"the {what} must be a table (n, d), got {type(table).__name__}: {error}") from error
    if array.ndim == 1:
        raise DataError(
            f"the {what} must have two axes, got shape {array.shape}; "
            f"a single row is X[None] of an array, X.iloc[[0]] of a DataFrame."
        )
    if array.ndim != 2 or 0 in array.shape:
        got = f"shape {array.shape}" if array.ndim else type(table).__name__
        raise DataError(f"the {what} must be a table (n, d) with n and d at least 1, got {got}.")
    if array.dtype.kind not in "fiub":
        raise DataError(f"the {what} must be a table of real numbers, got dtype {array.dtype}.")
    _refuse_infinite(array, what, names)
    # In a layout and a type that torch takes, too.
    native = np.float64 if array.dtype == np.longdouble else array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array, dtype=native)


def _refuse_infinite(array: Array, what: str, names: list[str] | None) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        rows, columns = (np.flatnonzero(bad.any(axis=axis)).tolist() for axis in (1, 0))
        labels = [names[j] for j in columns] if names else columns
        raise DataError(
            f"the {what} must be finite, but {int(bad.sum())} of {bad.size} numbers are NaN or infinite, in "
            f"{_some(rows, 'row')} and {_some(labels, 'column')}. Fill them in or drop them."
        )


def _refuse_repeated(names: Sequence[str], what: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise DataError(f"the names of the {what} must be unique, but {_some(repeated, 'column')} came repeatedly.")


def _some(items: Sequence[object], noun: str) -> str:
    """The first eight of ``items`` in words: "columns a, b and 3 more"."""
    shown = ", ".join(str(item) for item in items[:8])
    more = f" and {len(items) - 8} more" if len(items) > 8 else ""
    return f"{noun}{'s' if len(items) > 1 else ''} {shown}{more}"


def refuse_width(rows: Rows, width: int, what: str) -> None:
    """Refuse another number of columns.

    Raises:
        DataError: There are not ``width`` of them.
    """
    got = rows.values.shape[1]
    if got != width:
        raise DataError(f"got {got} columns in the {what}, expected {width}.")


def agreed_names(rows: Rows, names: Sequence[str] | None, what: str) -> list[str] | None:
    """The names of the columns, where both ``rows`` and ``names`` may have none.

    Raises:
        DataError: The names of ``rows`` are others, or in another order, or there are not d of them.
    """
    if names is None:
        return rows.names
    names = [str(name) for name in names]
    _refuse_repeated(names, "features")
    if rows.names is None:
        refuse_width(rows, len(names), what)
    if rows.names is not None and rows.names != names:
        raise DataError(f"the columns of the {what} are {_difference(rows.names, names)}.")
    return names


def _difference(got: list[str], expected: list[str]) -> str:
    missing = [name for name in expected if name not in set(got)]
    extra = [name for name in got if name not in set(expected)]
    if not missing and not extra:
        moved = [name for name, other in zip(got, expected, strict=True) if name != other]
        order = f"in another order than expected ({_some(moved, 'column')} moved)"
        return f"{order}; select them as X[explainer.feature_names]"
    parts = [f"without {_some(missing, 'column')}"] if missing else []
    parts += [f"with unexpected {_some(extra, 'column')}"] if extra else []
    return " and ".join(parts)


def drawn(table: pd.DataFrame | Array, count: int, seed: int) -> pd.DataFrame | Array:
    """Rows of ``table``, drawn without replacement in their order.

    Args:
        table: (n, d), a DataFrame or an array.
        count: How many; all of them, if there are fewer.
        seed: Of the draws.

    Returns:
        (count, d), of the same kind.
    """
    n = len(table)
    chosen = np.sort(np.random.default_rng(seed).choice(n, min(count, n), replace=False))
    return table.iloc[chosen] if isinstance(table, pd.DataFrame) else table[chosen]
