"""Tables of other libraries whose columns have labels: read by name, or refused; never read by position."""

from collections.abc import Iterable, Mapping
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from scipy.sparse import issparse
from torch import Tensor

from shapae.errors import DataError
from shapae.tables.stored import StoredRows
from shapae.utils.optional import import_optional, is_instance_of
from shapae.utils.text import enumerate_names, one_line

# Attributes that hold the labels of columns or axes.
LABELS = ("columns", "column_names", "colnames", "var_names", "fields", "names", "dims", "schema")
# Methods of tables that are not in memory, which return the whole table.
WHOLE = ("compute", "toPandas", "df", "to_pandas", "collect")
# Tables of pyarrow, which know the index of pandas that they were made of.
ARROW = ("Table", "RecordBatch", "RecordBatchReader")
# Classes whose objects have no labels, or are refused elsewhere, see ``refuse_records``.
UNLABELLED = (pd.DataFrame, pd.Series, list, tuple, Mapping, StoredRows)


def read_labelled(table: Any, what: str) -> Any:
    """Return a table with labels as a DataFrame.

    Args:
        table: Anything.
        what: Name of the table in error messages.

    Returns:
        A DataFrame of pandas or narwhals; or ``table`` itself if it has no labels of columns.

    Raises:
        DataError: The table has labels that can't be read, or is not in memory.
    """
    if is_instance_of(table, "xarray", "Dataset"):
        return _from_dataset(table, what)
    if is_instance_of(table, "xarray", "DataArray"):
        return table.values  # not of two axes
    if type(table) is np.ndarray or issparse(table) or isinstance(table, UNLABELLED):
        return table
    if any(is_instance_of(table, "pyarrow", kind) for kind in ARROW):
        return (table.read_all() if hasattr(table, "read_all") else table).to_pandas()
    frame = _from_narwhals(table, what)
    if isinstance(frame, nw.DataFrame | nw.Series):
        return _from_series(frame, what) if isinstance(frame, nw.Series) else frame
    return _from_unknown(table, what)


def _from_narwhals(table: Any, what: str) -> Any:
    if isinstance(table, np.ndarray | Tensor):
        return table
    if hasattr(table, "compute") and hasattr(table, "columns"):  # of dask, which narwhals reads with a warning
        raise DataError(f"the {what} must be in memory, got {kind_of(table)}. Give X.compute().")
    try:
        frame = nw.from_native(table, pass_through=True, allow_series=True)
    except Exception as error:  # of the package of the table, about names that are repeated
        raise DataError(f"the {what} can't be read as a table: {one_line(error)}") from error
    if isinstance(frame, nw.LazyFrame):
        method = next((each for each in WHOLE if hasattr(table, each)), "collect")
        raise DataError(f"the {what} must be in memory, got {kind_of(table)}. Give X.{method}().")
    return frame


def _from_series(series: Any, what: str) -> Any:
    if series.dtype == nw.Struct:
        raise DataError(f"the {what} must be a table, got a Series of structs. Give X.struct.unnest().")
    return series.to_native()


def order_axes(array: Any, what: str) -> Any:
    """Put rows first in a DataArray of two axes that are called row and feature, as in results of this package.

    Raises:
        DataError: The columns have labels, but these are no index.
    """
    array = array.transpose("row", "feature") if {*array.dims} == {"row", "feature"} else array
    axis = array.dims[1]
    others = [str(name) for name, labels in array.coords.items() if labels.dims == (axis,)]
    if others and axis not in array.coords:
        raise DataError(
            f"the {what} have the {enumerate_names(others, 'label')} along the axis {axis}, but no index of it. Say "
            f"which are the names of the columns: X.set_index({axis}={others[0]!r})."
        )
    return array


def _from_dataset(dataset: Any, what: str) -> Any:
    variables = [str(name) for name in dataset.data_vars]
    if len({dataset[name].dims for name in variables}) == 1 and dataset[variables[0]].ndim == 1:
        return dataset.to_dataframe()[variables]
    shown = enumerate_names([f"{name} {dataset[name].dims}" for name in variables], "variable")
    raise DataError(f"the {what} must be one table (n, d), got a Dataset of {shown}. Choose one: X[name].")


def _from_unknown(table: Any, what: str) -> Any:
    """Convert a table of any library through pandas or Arrow.

    Raises:
        DataError: It has labels, but no such way out.
    """
    labels = [] if is_instance_of(table, "h5py", "Dataset") else labels_of(table)
    if not labels and not hasattr(table, "__arrow_c_stream__"):
        return table
    try:
        frame = _through_pandas(table)
    except Exception as error:  # of the package of the table
        raise DataError(
            f"the {what} can't be read by name, {kind_of(table)}: {one_line(error)}. Give a DataFrame of pandas."
        ) from error
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"the {what} have the {enumerate_names(labels, 'label')}, but {kind_of(table)} has no to_pandas() to read "
            f"them by. Give pd.DataFrame(np.asarray(X), columns=names), or np.asarray(X) if the order is right."
        )
    return frame


def _through_pandas(table: Any) -> Any:
    if hasattr(table, "to_pandas"):
        return table.to_pandas()
    if hasattr(table, "__arrow_c_stream__"):
        return import_optional("pyarrow", "reading a stream of Arrow", "parquet").table(table).to_pandas()
    return None


def labels_of(table: Any) -> list[str]:
    """List labels of columns or axes of an object of any class."""
    found = (_attribute(table, name) for name in LABELS)
    found = (labels for labels in found if isinstance(labels, Iterable) and not isinstance(labels, str | bytes))
    lists = ([str(label) for label in labels if label is not None] for labels in found)
    return next(filter(None, lists), [])


def _attribute(thing: Any, name: str) -> Any:
    try:
        value = getattr(thing, name, None)
    except Exception:  # of the class of the object
        return None
    return None if callable(value) else value


def refuse_records(table: Any, what: str) -> None:
    """Refuse rows, columns and lists of them that have names, and which numpy would read by position.

    Raises:
        DataError: ``table`` is a Series, a mapping, a named tuple, or a list of such objects.
    """
    got = f"the {what} must be a table (n, d), got {type(table).__name__}"
    if isinstance(table, pd.Series):
        raise DataError(
            f"the {what} must have two axes, got shape {table.shape}, a Series. A single row is "
            f"row.to_frame().T, or X.iloc[[0]] of its DataFrame. A single column is column.to_frame()."
        )
    if _is_record(table):
        cells = table.values() if isinstance(table, Mapping) else table
        is_row = all(map(np.isscalar, cells))
        raise DataError(f"{got}. Give a DataFrame: pd.DataFrame({'[row]' if is_row else 'rows'}).")
    kinds = {type(each): each for each in table} if isinstance(table, list | tuple) else {}
    record, column = (next(filter(test, kinds.values()), None) for test in (_is_record, _is_column))
    if record is not None:
        raise DataError(f"{got} of {type(record).__name__}. Give a DataFrame: pd.DataFrame(rows).")
    if column is not None:
        raise DataError(
            f"{got} of {kind_of(column)}, which have names. Give one DataFrame, such as pd.concat(X) of DataFrames, or "
            f"np.stack(X) if each is a row and all have one order."
        )


def _is_record(thing: Any) -> bool:
    """Return whether ``thing`` is a row with names, or columns by their names."""
    has_fields = hasattr(thing, "_fields") or getattr(getattr(thing, "dtype", None), "names", None) is not None
    return isinstance(thing, Mapping | pd.Series) or (has_fields and not isinstance(thing, np.ndarray))


def _is_column(thing: Any) -> bool:
    """Return whether ``thing`` is a Series of another package, or an array with labels."""
    if isinstance(thing, np.ndarray | Tensor | list | tuple | int | float):
        return False
    return isinstance(nw.from_native(thing, pass_through=True, allow_series=True), nw.Series) or bool(labels_of(thing))


def kind_of(table: Any) -> str:
    """Name the class of a table, with its package."""
    return f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"
