"""What people bring as a table, made into rows of numbers with one name for each column."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from shapae.errors import DataError
from shapae.tables import anndata as annotated
from shapae.tables.columns import check_expected_names, check_unique_names
from shapae.tables.dataloader import read_batches
from shapae.utils.memory import batches
from shapae.utils.optional import is_instance_of
from shapae.utils.text import enumerate_names

# Bytes of a table that are looked at, or made dense, at once.
BLOCK_BYTES = 2**24
# How to mend a DataFrame with two columns of one name.
KEEP_FIRST = "; rename them, or keep the first of each: X.loc[:, ~X.columns.duplicated()]"


@dataclass(frozen=True, eq=False)
class Table:
    """A table that can be explained: two axes, numbers only, all of them finite.

    Attributes:
        values: (n, d), n and d at least 1, any real dtype: an array, a sparse one, or one in a file.
        names: d unique names, or None for an array, which has none.
        row_names: (n,), or None where the rows have no names but their numbers.
    """

    values: Any
    names: list[str] | None
    row_names: NDArray[Any] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        n, d = self.values.shape
        return int(n), int(d)

    def dense(self, block: slice) -> NDArray[Any]:
        """(m, d): a copy of some of the rows, in a layout and a dtype that torch takes, too."""
        part = self.values[block]
        part = part.toarray() if issparse(part) else np.asarray(part)
        native = np.float64 if part.dtype == np.longdouble else part.dtype.newbyteorder("=")
        return np.array(part, dtype=native, order="C")

    def of(self, chosen: NDArray[Any]) -> "Table":
        """Some of the rows, by their numbers, which rise; a copy."""
        names = None if self.row_names is None else self.row_names[chosen]
        return replace(self, values=self.values[chosen], row_names=names)

    def blocks(self) -> list[slice]:
        """All rows, a few at a time."""
        n, d = self.shape
        return batches(n, max(1, BLOCK_BYTES // (8 * d)))

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
        whole, streamed = like.new_empty(self.shape), TableStream(self, like, what)
        for block in self.blocks():
            whole[block] = streamed[block]
        return whole


class TableStream:
    """Rows as tensors, a block at a time, so that a table which is sparse or in a file is never held as a whole.

    Args:
        rows: (n, d).
        like: Its dtype and device are those of the tensors.
        what: What to call the table in errors.
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
                f"some numbers of the {self.what} are too large for the model's {self.like.dtype}; scale them."
            )
        return rows


def read_table(table: Any, what: str) -> Table:
    """Read ``table``.

    Args:
        table: (n, d): a numpy array, also one in a file; a tensor; a pandas or polars DataFrame; an AnnData, whose X is
            taken; a sparse matrix of scipy; a DataLoader or Dataset of torch, of tensors or of tuples that begin with
            one; anything that numpy takes; or what ``from_anndata`` gives.
        what: What to call the table in errors: "rows" or "background".

    Returns:
        The rows, in the dtype of ``table``.

    Raises:
        DataError: The table is empty, has not two axes, holds something else than finite numbers, or two columns
            of one name.
    """
    if isinstance(table, Table):
        return table
    if annotated.is_anndata(table):
        return _from_anndata(table, what, None, False)
    if isinstance(table, pd.DataFrame):
        check_unique_names(
            [str(name) for name in table.columns], what, KEEP_FIRST
        )  # narwhals does so too, in other words
    frame = nw.from_native(table, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        labels = None if not isinstance(table, pd.DataFrame) else index_names(table.index)
        return _read(_columns(frame, what), what, [str(name) for name in frame.columns], labels)
    return _read(read_batches(table, what) if isinstance(table, DataLoader | Dataset) else table, what)


def from_anndata(adata: Any, *, layer: str | None = None, raw: bool = False) -> Table:
    """Another matrix of ``adata`` than its X: a table with its names, that goes wherever a table goes.

    Names of genes that come repeatedly are made unique as scanpy does, and you are told.

    Args:
        adata: AnnData.
        layer: Name of a layer; None for X.
        raw: Take ``adata.raw``.

    Raises:
        DataError: There is no such matrix, or it does not hold finite numbers.
        UnknownName: There is no such layer.
    """
    if not annotated.is_anndata(adata):
        raise DataError(f"from_anndata takes an AnnData, got {type(adata).__name__}.")
    return _from_anndata(adata, "table", layer, raw)


def _from_anndata(adata: Any, what: str, layer: str | None, raw: bool) -> Table:
    matrix, names = annotated.read_matrix(adata, layer, raw)
    return _read(matrix, what, names, adata.obs_names.astype(str).to_numpy())


def index_names(index: pd.Index) -> NDArray[Any] | None:
    """The names of rows that are more than their numbers; those of several levels in one string."""
    if index.equals(pd.RangeIndex(len(index))):
        return None
    several = isinstance(index, pd.MultiIndex)
    return np.array([", ".join(map(str, each)) for each in index], dtype=object) if several else index.to_numpy()


def _columns(frame: nw.DataFrame[Any], what: str) -> Any:
    kinds = zip(frame.columns, frame.schema.values(), strict=True)
    text = [str(name) for name, kind in kinds if not (kind.is_numeric() or kind == nw.Boolean)]
    if text:
        raise DataError(f"the {what} must be numbers; drop or convert {enumerate_names(text, 'column')}.")
    array = frame.to_numpy()
    if array.dtype != object:
        return array
    # One column at a time, where a mixture of numbers and truth values would become objects.
    return np.stack([frame[name].cast(nw.Float64).to_numpy() for name in frame.columns], axis=1)


def _read(table: Any, what: str, names: list[str] | None = None, row_names: NDArray[Any] | None = None) -> Table:
    array = _array(table, what)
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
    rows = Table(array.tocsr() if issparse(array) else array, names, row_names)
    _check_finite(rows, what)
    return rows


def _array(table: Any, what: str) -> Any:
    if issparse(table) or is_instance_of(table, "h5py", "Dataset"):
        return table
    if isinstance(table, Tensor):
        table = table.detach().cpu().to_dense() if table.layout != torch.strided else table.detach().cpu()
        table = table.float().numpy() if table.dtype == torch.bfloat16 else table.numpy()
    if isinstance(table, np.ma.MaskedArray):
        table = np.ma.filled(table.astype(float), np.nan)
    try:
        return np.asarray(table)
    except ValueError as error:
        raise DataError(f"the {what} must be a table (n, d), got {type(table).__name__}: {error}") from error


def _check_finite(rows: Table, what: str) -> None:
    if issparse(rows.values) and np.isfinite(rows.values.data).all():
        return
    count, lines, columns = 0, [], np.zeros(rows.shape[1], dtype=bool)
    for block in rows.blocks():
        bad = ~np.isfinite(rows.dense(block))
        if bad.any():
            count += int(bad.sum())
            lines += [block.start + row for row in np.flatnonzero(bad.any(axis=1)).tolist()]
            columns |= bad.any(axis=0)
    if count:
        places = np.flatnonzero(columns).tolist()
        labels = [rows.names[place] for place in places] if rows.names else places
        raise DataError(
            f"the {what} must be finite, but {count} of {rows.shape[0] * rows.shape[1]} numbers are NaN or infinite, "
            f"in {enumerate_names(lines, 'row')} and {enumerate_names(labels, 'column')}. Fill them in or drop them."
        )


def check_n_features(rows: Table, width: int, what: str) -> None:
    """Refuse another number of columns.

    Raises:
        DataError: There are not ``width`` of them.
    """
    got = rows.shape[1]
    if got != width:
        raise DataError(f"got {got} columns in the {what}, expected {width}.")


def resolve_feature_names(rows: Table, names: Sequence[str] | None, what: str) -> list[str] | None:
    """The names of the columns, where both ``rows`` and ``names`` may have none.

    Raises:
        DataError: The names of ``rows`` are others, or in another order, or there are not d of them.
    """
    if names is None:
        return rows.names
    names = [str(name) for name in names]
    check_unique_names(names, "features")
    if rows.names is None:
        check_n_features(rows, len(names), what)
    else:
        check_expected_names(rows.names, names, what)
    return names


def same(rows: TableStream, background: Tensor) -> bool:
    """Whether ``background`` holds these rows and no others, in their order."""
    pairs = ((rows[block], background[block]) for block in rows.rows.blocks())
    return rows.shape == background.shape and all(torch.equal(*pair) for pair in pairs)
