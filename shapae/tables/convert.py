"""Conversion of users' tables to arrays, with the names of their columns and rows."""

from collections.abc import Mapping
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
        array = convert(table.to_pandas(), what)
        return array if table.dims[1] in table.coords else array._replace(names=None)
    if isinstance(table, pd.DataFrame):
        check_unique_names([str(name) for name in table.columns], what, KEEP_FIRST)
        return NamedArray(pandas_to_array(table, what), [str(name) for name in table.columns], index_names(table.index))
    frame = _as_frame(table, what)
    if isinstance(frame, nw.DataFrame):
        return NamedArray(frame_to_array(frame, what), [str(name) for name in frame.columns])
    return NamedArray(_to_array(read_batches(table, what) if isinstance(table, DataLoader | Dataset) else table, what))


def _has_fields(table: Any) -> bool:
    """Return whether ``table`` is a structured array of numbers: n rows with named fields."""
    if not isinstance(table, np.ndarray) or table.dtype.names is None or table.ndim != 1:
        return False
    return all(field.shape == () and field.names is None for field, *_ in table.dtype.fields.values())


def _as_frame(table: Any, what: str) -> Any:
    """Return ``table`` as a DataFrame of narwhals; unchanged if it is no DataFrame.

    Raises:
        DataError: Two columns have one name, or the table is not in memory.
    """
    if isinstance(table, np.ndarray | Tensor):
        return table
    try:
        frame = nw.from_native(table, pass_through=True)
        names = frame.columns if isinstance(frame, nw.DataFrame) else []
    except Exception as error:  # of the package of the table, about names that are repeated
        raise DataError(f"the {what} can't be read as a table: {one_line(error)}") from error
    check_unique_names([str(name) for name in names], what)
    if isinstance(frame, nw.LazyFrame):
        method = "compute" if hasattr(table, "compute") else "collect"
        raise DataError(f"the {what} must be in memory, got {_kind(table)}. Give X.{method}().")
    return frame


def _kind(table: Any) -> str:
    return f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"


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
    _refuse_records(table, what)
    try:
        array = _dense_array(table)
    except Exception as error:
        raise DataError(f"the {what} must be a table (n, d), got {type(table).__name__}: {one_line(error)}") from error
    numbers = objects_to_numbers(array) if array.dtype == object and array.ndim else None
    return array if numbers is None else numbers


def _refuse_records(table: Any, what: str) -> None:
    if isinstance(table, pd.Series):
        raise DataError(
            f"the {what} must have two axes, got shape {table.shape}, a Series. A single row is "
            f"row.to_frame().T, or X.iloc[[0]] of its DataFrame. A single column is column.to_frame()."
        )
    first = next(iter(table), None) if isinstance(table, list | tuple) else table
    if isinstance(first, Mapping | pd.Series):
        is_row = isinstance(table, Mapping) and all(map(np.isscalar, table.values()))
        raise DataError(
            f"the {what} must be a table (n, d), got {type(table).__name__}"
            f"{'' if first is table else ' of ' + type(first).__name__}. Give a DataFrame: "
            f"pd.DataFrame({'[row]' if is_row else 'rows'})."
        )


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
