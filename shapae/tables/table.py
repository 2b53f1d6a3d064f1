"""The user's rows: a table of finite numbers, its names, and its tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor

from shapae.errors import DataError
from shapae.tables.anndata import is_anndata
from shapae.tables.columns import check_expected_names, check_unique_names
from shapae.tables.convert import NamedArray, convert, convert_anndata
from shapae.tables.files import is_path, open_table
from shapae.tables.frames import REAL, lose_digits, refuse_lost_digits
from shapae.tables.stored import SelectedRows, StoredRows, is_large
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.memory import batches
from shapae.utils.text import enumerate_names

# Bytes of a block of rows, in float64: a sparse table, or a table in a file, is checked and converted block by block.
BLOCK_BYTES = 2**22
# Number of rows on which a model is tried.
TRIAL_ROWS = 8

# Advice for arrays of other kinds than numbers, by the kind of their dtype.
REMEDIES = {
    "c": "Give X.real, X.imag, or np.hstack([X.real, X.imag]).",
    "M": "Convert times to numbers: X.astype('datetime64[s]').astype('int64').",
    "m": "Convert times to numbers: X.astype('timedelta64[s]').astype('int64').",
    "V": "Give a DataFrame with one column for each number.",
}


@dataclass(frozen=True, eq=False)
class Table:
    """A table that can be explained: two axes and finite numbers.

    Attributes:
        values: (n, d), n and d at least 1, any real dtype: an array, a sparse array, or an array in a file.
        names: d unique names; None for an array, which has no names.
        row_names: (n,); None if the rows have no names except their positions.
        what: Name of the table in error messages, with its file; empty if it is not known.
    """

    values: Any
    names: list[str] | None
    row_names: NDArray[Any] | None = None
    what: str = ""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        n, d = self.values.shape
        return int(n), int(d)

    def dense(self, block: slice) -> NDArray[Any]:
        """(m, d): a dense copy of a block of rows, in a layout and a dtype that torch accepts."""
        rows = self.values[block]
        rows = rows.toarray() if issparse(rows) else np.asarray(rows)
        native = np.float64 if rows.dtype == np.longdouble else rows.dtype.newbyteorder("=")
        is_copy = isinstance(self.values, StoredRows) or issparse(self.values)
        with np.errstate(over="ignore"):  # long doubles become infinite, which is refused
            return np.array(rows, dtype=native, order="C", copy=None if is_copy else True)

    def trial_rows(self) -> NDArray[Any]:
        """(8, d): a dense copy of rows from the whole table, on which a model is tried."""
        chosen = np.linspace(0, len(self) - 1, TRIAL_ROWS).astype(int).tolist()
        return np.concatenate([self.dense(slice(row, row + 1)) for row in chosen])

    def of(self, chosen: NDArray[Any]) -> "Table":
        """Copy rows, selected by their positions in increasing order; many rows of a large file stay there."""
        names = None if self.row_names is None else self.row_names[chosen]
        stays = isinstance(self.values, StoredRows) and is_large((len(chosen), self.shape[1]))
        values = SelectedRows(self.values, chosen) if stays else self.values[chosen]
        return replace(self, values=values, row_names=names)

    def block(self, block: slice) -> "Table":
        """Copy a block of rows."""
        names = None if self.row_names is None else self.row_names[block]
        return replace(self, values=self.dense(block), row_names=names)

    def blocks(self) -> list[slice]:
        """Slice the rows into blocks of bounded size."""
        n, d = self.shape
        return batches(n, max(1, BLOCK_BYTES // (8 * d)))

    def tensor(self, like: Tensor, what: str) -> Tensor:
        """Copy the table to a tensor in the dtype and on the device of ``like``.

        Args:
            like: Any tensor.
            what: Name of the table in error messages.

        Returns:
            (n, d).

        Raises:
            DataError: Some numbers are too large for the dtype.
        """
        tensor, stream = like.new_empty(self.shape), TableStream(self, like, what)
        for block in self.blocks():
            tensor[block] = stream[block]
        return tensor


class TableStream:
    """Tensors of blocks of rows, so that a sparse table, or a table in a file, is never held as a whole.

    Args:
        rows: (n, d).
        like: Any tensor with the dtype and device of the blocks.
        what: Name of the table in error messages.
    """

    def __init__(self, rows: Table, like: Tensor, what: str) -> None:
        self.rows, self.like, self.what = rows, like, what

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.rows.shape

    def __getitem__(self, block: slice) -> Tensor:
        """(m, d), a copy.

        Raises:
            DataError: Some numbers are too large for the dtype.
        """
        rows = torch.from_numpy(self.rows.dense(block)).to(self.like)
        if not torch.isfinite(rows).all():
            raise DataError(
                f"some numbers of the {self.what} are too large for the model's {self.like.dtype}. Scale the columns."
            )
        return rows


def read_table(table: Any, what: str) -> Table:
    """Convert any table to an array, and check it.

    Args:
        table: (n, d): a numpy array, in memory or in a file; a tensor; a pandas or polars DataFrame; an AnnData, whose
            X is used; a sparse matrix of scipy; a DataLoader or Dataset of torch, of tensors or of tuples that begin
            with a tensor; anything that numpy accepts; the path of a file, see ``shapae.tables.files.load_table``; or
            the result of ``from_anndata``.
        what: Name of the table in error messages: "rows" or "background".

    Returns:
        The rows, in the dtype of ``table``.

    Raises:
        DataError: The table is empty, does not have two axes, holds something else than finite numbers, or has two
            columns of one name.
    """
    if isinstance(table, Table):
        return table
    what = f"{what} in {table}" if is_path(table) else what
    table = open_table(table)
    return _to_table(convert(table, what), what, type(table).__name__)


def from_anndata(adata: Any, *, layer: str | None = None, raw: bool = False) -> Table:
    """Read another matrix of ``adata`` than X, with its names; the result is accepted wherever a table is.

    Repeated names of genes are made unique as scanpy does, with a warning.

    Args:
        adata: AnnData.
        layer: Name of a layer; None for X.
        raw: Whether to use ``adata.raw``.

    Raises:
        DataError: There is no such matrix, or it does not hold finite numbers.
        UnknownName: There is no such layer.
    """
    check_arguments(raw=raw)
    check_optional(layer=layer)
    if not is_anndata(adata):
        raise DataError(f"from_anndata takes an AnnData, got {type(adata).__name__}.")
    return _to_table(convert_anndata(adata, "table", layer, raw), "table", "AnnData")


def _to_table(array: NamedArray, what: str, kind: str) -> Table:
    """Check shape, dtype and numbers of ``array``, and make it a table.

    Raises:
        DataError: ``array`` is no table of finite numbers.
    """
    values = array.values
    if values.ndim == 1:
        raise DataError(
            f"the {what} must have two axes, got shape {values.shape}. "
            f"A single row is X[None] of an array, X.iloc[[0]] of a DataFrame, X.reshape(1, -1) of a sparse array, "
            f"[X] of a list."
        )
    if values.ndim != 2 or 0 in values.shape:
        got = f"shape {values.shape}" if values.ndim else kind
        raise DataError(
            f"the {what} must be a table (n, d) with n and d at least 1, got {got}.{_axes_remedy(values.shape, kind)}"
        )
    if values.dtype.kind not in REAL:
        remedy = REMEDIES.get(values.dtype.kind, "Convert it: X.astype(float).")
        raise DataError(f"the {what} must be a table of real numbers, got dtype {values.dtype}. {remedy}")
    table = Table(values.tocsr() if issparse(values) else values, array.names, array.row_names, what)
    _check_finite(table, what)
    return table


def _axes_remedy(shape: tuple[int, ...], kind: str) -> str:
    """Return advice for a table of too many axes, or of none."""
    if not shape:
        return " Convert it to an array or a DataFrame."
    if len(shape) < 3 or 0 in shape:
        return ""
    axes = ", ".join(map(str, shape[1:]))
    batches = " If these are batches of rows, give np.concatenate(X)." if kind in ("list", "tuple") else ""
    return (
        f"{batches} Flatten the table, X.reshape(len(X), -1), and let the model unflatten it: Autoencoder(model, "
        f"reconstruct=lambda m, x: m(x.reshape(-1, {axes})).flatten(1))."
    )


def _check_finite(table: Table, what: str) -> None:
    if issparse(table.values) and _is_sound(table.values.data):
        return
    (n, d), count, rows, columns = table.shape, 0, [], np.zeros(table.shape[1], dtype=bool)
    for block in table.blocks():
        part = table.dense(block)
        if part.dtype.kind in "iu" and part.dtype.itemsize == 8:
            lost = [lose_digits(*bounds) for bounds in zip(part.min(axis=0), part.max(axis=0), strict=True)]
            refuse_lost_digits(_names_of(table, np.flatnonzero(lost)), what)
        bad = ~np.isfinite(part)
        if bad.any():
            count += int(bad.sum())
            rows += (block.start + np.flatnonzero(bad.any(axis=1))).tolist()
            columns |= bad.any(axis=0)
    if count:
        names = _names_of(table, np.flatnonzero(columns))
        raise DataError(
            f"the {what} must be finite, but {count} of {n * d} numbers are NaN or infinite, in "
            f"{enumerate_names(rows, 'row')} and {enumerate_names(names, 'column')}. Fill them in or drop them."
        )


def _is_sound(numbers: NDArray[Any]) -> bool:
    """Return whether numbers are finite, and no integers that lose digits."""
    has_digits = numbers.dtype.kind not in "iu" or not numbers.size or not lose_digits(numbers.min(), numbers.max())
    return has_digits and bool(np.isfinite(numbers).all())


def _names_of(table: Table, columns: NDArray[Any]) -> list[Any]:
    return [table.names[column] if table.names else column for column in columns.tolist()]


def check_n_features(rows: Table, width: int, what: str) -> None:
    """Check the number of columns.

    Raises:
        DataError: There are not ``width`` columns.
    """
    d = rows.shape[1]
    if d != width:
        raise DataError(f"got {d} columns in the {what}, expected {width}.")


def resolve_feature_names(rows: Table, names: Sequence[str] | None, what: str) -> list[str] | None:
    """Return the names of the columns, which ``rows`` and ``names`` must agree on if both have names.

    Raises:
        DataError: The names of ``rows`` are others or in another order, or there are not d names.
    """
    if names is None:
        return rows.names
    names = [str(name) for name in names]
    check_unique_names(names, "features")
    what = rows.what if rows.what.startswith(f"{what} in ") else what  # with its file
    if rows.names is None:
        check_n_features(rows, len(names), what)
    else:
        check_expected_names(rows.names, names, what)
    return names


def same(rows: TableStream, background: Tensor) -> bool:
    """Return whether ``background`` holds exactly these rows, in their order."""
    pairs = ((rows[block], background[block]) for block in rows.rows.blocks())
    return rows.shape == background.shape and all(torch.equal(*pair) for pair in pairs)
