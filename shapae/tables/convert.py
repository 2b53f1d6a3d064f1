"""Conversion of users' tables to arrays, with the names of their columns and rows."""

from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from shapae.errors import DataError
from shapae.tables.anndata import is_anndata, read_matrix
from shapae.tables.columns import check_unique_names
from shapae.tables.dataloader import read_batches
from shapae.utils.optional import is_instance_of
from shapae.utils.text import enumerate_names

# Advice for a DataFrame with two columns of one name.
KEEP_FIRST = "Rename them, or keep the first of each: X.loc[:, ~X.columns.duplicated()]."


class NamedArray(NamedTuple):
    """An array before its checks, and its names.

    Attributes:
        values: An array, a sparse array, or an array in a file, of any shape and dtype.
        names: Names of the columns, or None.
        row_names: Names of the rows, or None.
    """

    values: Any
    names: list[str] | None = None
    row_names: NDArray[Any] | None = None


def convert(table: Any, what: str) -> NamedArray:
    """Convert any table to an array.

    Args:
        table: See ``shapae.tables.table.read_table``.
        what: Name of the table in error messages.

    Raises:
        DataError: Two columns have one name, a column holds no numbers, or numpy can't make an array of ``table``.
    """
    if is_anndata(table):
        return convert_anndata(table, what)
    if isinstance(table, pd.DataFrame):  # checked before narwhals, which has an error of its own
        check_unique_names([str(name) for name in table.columns], what, KEEP_FIRST)
    frame = nw.from_native(table, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        row_names = index_names(table.index) if isinstance(table, pd.DataFrame) else None
        return NamedArray(_frame_to_array(frame, what), [str(name) for name in frame.columns], row_names)
    return NamedArray(_to_array(read_batches(table, what) if isinstance(table, DataLoader | Dataset) else table, what))


def convert_anndata(adata: Any, what: str, layer: str | None = None, raw: bool = False) -> NamedArray:
    """Convert X, a layer, or X of ``adata.raw`` to an array.

    Raises:
        DataError: There is no such matrix.
        UnknownName: There is no such layer.
    """
    matrix, names = read_matrix(adata, layer, raw)
    return NamedArray(_to_array(matrix, what), names, adata.obs_names.astype(str).to_numpy())


def index_names(index: pd.Index) -> NDArray[Any] | None:
    """Return the names in ``index``, levels joined; None if the names are the positions of the rows."""
    if index.equals(pd.RangeIndex(len(index))):
        return None
    if isinstance(index, pd.MultiIndex):
        return np.array([", ".join(map(str, levels)) for levels in index], dtype=object)
    return index.to_numpy()


def _frame_to_array(frame: nw.DataFrame[Any], what: str) -> NDArray[Any]:
    dtypes = zip(frame.columns, frame.schema.values(), strict=True)
    text = [str(name) for name, dtype in dtypes if not (dtype.is_numeric() or dtype == nw.Boolean)]
    if text:
        raise DataError(f"the {what} must be numbers. Drop or convert {enumerate_names(text, 'column')}.")
    array = frame.to_numpy()
    if array.dtype != object:
        return np.asarray(array)
    # Column by column, because a mixture of numbers and truth values would become objects.
    return np.stack([frame[name].cast(nw.Float64).to_numpy() for name in frame.columns], axis=1)


def _to_array(table: Any, what: str) -> Any:
    if issparse(table) or is_instance_of(table, "h5py", "Dataset"):  # made dense or read block by block
        return table
    if isinstance(table, Tensor):
        return _tensor_to_array(table)
    if isinstance(table, np.ma.MaskedArray):
        return np.ma.filled(table.astype(float), np.nan)
    try:
        return np.asarray(table)
    except ValueError as error:
        raise DataError(f"the {what} must be a table (n, d), got {type(table).__name__}: {error}") from error


def _tensor_to_array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
