"""Columns of DataFrames as numbers: of any dtype that holds numbers, and no others."""

import numbers
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shapae.errors import DataError
from shapae.utils.text import enumerate_names

REAL = "fiub"
# Largest integer up to which float64 has all of them.
EXACT = 2**53


def pandas_to_array(table: Any, what: str) -> Any:
    """Convert the columns of a DataFrame of pandas; missing numbers become NaN.

    Args:
        table: A DataFrame of pandas.
        what: Name of the table in error messages.

    Returns:
        (n, d), an array; a sparse array if all columns are sparse, and 0 where they are not stored.

    Raises:
        DataError: Some columns hold no numbers; they are named.
    """
    dtypes = [*table.dtypes]
    _check_digits(table, what)
    if dtypes and all(isinstance(each, pd.SparseDtype) and _is_zero(each.fill_value) for each in dtypes):
        return csr_array(table.sparse.to_coo())
    if all(isinstance(each, np.dtype) and each.kind in REAL for each in dtypes):
        array = table.to_numpy()
        if array.dtype != object:
            return array
    columns = [_column_to_array(table.iloc[:, place]) for place in range(len(dtypes))]
    refused = {name: dtype for name, dtype, column in zip(table, dtypes, columns, strict=True) if column is None}
    refuse_columns(refused, what)
    return np.stack(columns, axis=1) if columns else np.empty(table.shape)


def refuse_columns(refused: Mapping[Any, Any], what: str) -> None:
    """Refuse columns that hold no numbers.

    Args:
        refused: Dtypes of the columns, by their names.
        what: Name of the table in the error message.

    Raises:
        DataError: There are such columns; they are named.
    """
    if refused:
        names, kinds = [*refused], ", ".join(sorted({str(dtype) for dtype in refused.values()}))
        raise DataError(
            f"the {what} must be numbers. Drop or convert {enumerate_names(names, 'column')} ({kinds}): "
            f"X.drop(columns={names[:8]}), X[{names[0]!r}].astype(float) for text, or pd.get_dummies(X) for categories."
        )


def _check_digits(table: Any, what: str) -> None:
    """Check the columns of integers, which become floating-point numbers beside others.

    Raises:
        DataError: Some integers would lose digits; their columns are named.
    """
    wide = {str(kind) for kind in ("int64", "uint64", "Int64", "UInt64", "int64[pyarrow]", "uint64[pyarrow]")}
    places = [place for place, dtype in enumerate(table.dtypes) if str(dtype) in wide] if len(table) else []
    columns = ((table.columns[place], table.iloc[:, place]) for place in places)
    refuse_lost_digits([name for name, column in columns if lose_digits(column.min(), column.max())], what)


def lose_digits(smallest: Any, largest: Any) -> bool:
    """Return whether integers between these would lose digits as floating-point numbers."""
    return bool(pd.notna(smallest) and (int(smallest) < -EXACT or int(largest) > EXACT))


def refuse_lost_digits(names: Sequence[Any], what: str) -> None:
    """Refuse columns of integers that would lose digits.

    Raises:
        DataError: There are such columns; they are named.
    """
    if len(names):
        raise DataError(
            f"the {what} have integers beyond 2**53 in {enumerate_names(names, 'column')}, which lose digits in every "
            f"model. Leave out columns that are identifiers; where the digits do not matter, give X.astype(float)."
        )


def _is_zero(fill_value: Any) -> bool:
    return isinstance(fill_value, numbers.Real | np.bool_) and fill_value == 0


def _column_to_array(column: Any) -> Any:
    """(n,), NaN for missing numbers; None if the column does not hold numbers."""
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    if column.dtype == object:
        return objects_to_numbers(column.to_numpy())
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_complex_dtype(column.dtype):
        return None
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.to_numpy(np.float64, na_value=np.nan)


def objects_to_numbers(array: NDArray[Any]) -> NDArray[Any] | None:
    """Convert an array of objects to float64, NaN for None.

    Returns:
        None if some objects are no real numbers, or integers that would lose digits.
    """
    is_missing = [each is None or each is pd.NA for each in array.flat]
    is_number = (isinstance(each, numbers.Real | np.bool_ | Decimal) for each in array.flat)
    loses = any(isinstance(each, int) and abs(each) > EXACT for each in array.flat)
    if loses or not all(map(bool.__or__, is_missing, is_number)):
        return None
    try:
        values = [np.nan if missing else float(each) for missing, each in zip(is_missing, array.flat, strict=True)]
    except (OverflowError, ValueError):  # 10**400, Decimal("sNaN")
        return None
    return np.array(values, np.float64).reshape(array.shape)


def frame_to_array(frame: nw.DataFrame[Any], what: str) -> NDArray[Any]:
    """Convert the columns of a DataFrame of another package than pandas; missing numbers become NaN.

    Raises:
        DataError: Some columns hold no numbers; they are named.
    """
    wide = [name for name, dtype in frame.schema.items() if dtype in (nw.Int64, nw.UInt64)] if len(frame) else []
    refuse_lost_digits([name for name in wide if lose_digits(frame[name].min(), frame[name].max())], what)
    dtypes = zip(frame.columns, frame.schema.values(), strict=True)
    refused = [f"{name} ({dtype})" for name, dtype in dtypes if not (dtype.is_numeric() or dtype == nw.Boolean)]
    if refused:
        raise DataError(f"the {what} must be numbers. Drop or convert {enumerate_names(refused, 'column')}.")
    array = frame.to_numpy()
    if array.dtype != object:
        return np.asarray(array)
    # Column by column, because a mixture of numbers and truth values would become objects.
    return np.stack([frame[name].cast(nw.Float64).to_numpy() for name in frame.columns], axis=1)
