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
from shapae.tables.frames import REAL, frame_to_array, objects_to_numbers, pandas_to_array
from shapae.tables.labelled import order_axes, read_labelled, refuse_records
from shapae.tables.parquet import ParquetTable
from shapae.tables.stored import StoredRows, as_stored
from shapae.utils.optional import is_instance_of
from shapae.utils.text import one_line

# Advice for a DataFrame with two columns of one name.
KEEP_FIRST = "Rename them, or keep the first of each: X.loc[:, ~X.columns.duplicated()]."
# Dtypes of floating point that numpy has, too.
NUMPY_DTYPES = (torch.float16, torch.float32, torch.float64)


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
    if isinstance(table, ParquetTable):
        return NamedArray(table.rows, table.names, index_names(table.index))
    if _has_fields(table):
        table = pd.DataFrame({name: _to_array(table[name], what) for name in table.dtype.names})
    if is_instance_of(table, "xarray", "DataArray") and table.ndim == 2:
        table = order_axes(table, what)
        array = _convert_pandas(table.to_pandas(), what)
        return array if table.dims[1] in table.coords else array._replace(names=None)
    frame = table if isinstance(table, DataLoader | Dataset) else read_labelled(as_stored(table), what)
    if isinstance(frame, pd.DataFrame):
        return _convert_pandas(frame, what, KEEP_FIRST if frame is table else "")
    if isinstance(frame, nw.DataFrame):
        names = [str(name) for name in frame.columns]
        check_unique_names(names, what)
        return NamedArray(frame_to_array(frame, what), names)
    return NamedArray(_to_array(read_batches(frame, what) if isinstance(frame, DataLoader | Dataset) else frame, what))


def _convert_pandas(table: pd.DataFrame, what: str, remedy: str = "") -> NamedArray:
    names = [str(name) for name in table.columns]
    check_unique_names(names, what, remedy)
    return NamedArray(pandas_to_array(table, what), names, index_names(table.index))


def _has_fields(table: Any) -> bool:
    """Return whether ``table`` is a structured array of numbers: n rows with named fields."""
    if not isinstance(table, np.ndarray) or table.dtype.names is None or table.ndim != 1:
        return False
    return all(field.shape == () and field.names is None for field, *_ in table.dtype.fields.values())


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


def _to_array(table: Any, what: str) -> Any:
    table = as_stored(table)
    if issparse(table) or isinstance(table, StoredRows):  # made dense or read block by block
        return table
    refuse_records(table, what)
    try:
        array = _dense_array(table)
    except Exception as error:
        raise DataError(f"the {what} must be a table (n, d), got {type(table).__name__}: {one_line(error)}") from error
    numbers = objects_to_numbers(array) if array.dtype == object and array.ndim else None
    return array if numbers is None else numbers


def _dense_array(table: Any) -> NDArray[Any]:
    if isinstance(table, Tensor):
        return _tensor_to_array(table)
    if isinstance(table, np.ma.MaskedArray):
        return _fill_masked(table)
    if isinstance(table, list | tuple) and table and all(isinstance(each, Tensor) for each in table):
        return np.stack([_tensor_to_array(each) for each in table])
    return np.asarray(table)


def _fill_masked(table: Any) -> NDArray[Any]:
    """Make masked numbers NaN; masked objects None."""
    data, mask = np.ma.getdata(table), np.ma.getmaskarray(table)
    if not mask.any() or data.dtype.kind not in f"{REAL}O":
        return np.asarray(data)
    missing: Any = None if data.dtype == object else np.nan
    return np.where(mask, missing, data)


def _tensor_to_array(tensor: Tensor) -> NDArray[Any]:
    """Copy a tensor of any layout, dtype and device to an array.

    Raises:
        TypeError: Some of its numbers are masked.
    """
    if is_instance_of(tensor, "torch.masked", "MaskedTensor"):
        raise TypeError("give tensor.to_tensor(float('nan')), and then fill in the missing numbers")
    tensor = tensor.detach().cpu()
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    has_no_counterpart = tensor.is_floating_point() and tensor.dtype not in NUMPY_DTYPES
    return np.asarray((tensor.float() if has_no_counterpart else tensor).resolve_conj().resolve_neg().numpy())
