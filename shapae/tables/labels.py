"""Labels of rows: the groups that they belong to."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from shapae.errors import DataError
from shapae.tables.anndata import column_of_obs, is_anndata
from shapae.tables.convert import index_names
from shapae.tables.files import is_path, open_table
from shapae.tables.labelled import kind_of
from shapae.tables.parquet import ParquetTable
from shapae.tables.table import Table, read_table
from shapae.utils.optional import is_instance_of
from shapae.utils.text import enumerate_names

# Number of different labels that may be numbers with decimals, however few rows there are.
FEW = 20


@dataclass(frozen=True, eq=False)
class RowGroups:
    """Groups of n rows.

    Attributes:
        labels: g different labels.
        numbers: (n,), number of the group of each row: the position of its label.
    """

    labels: list[Any]
    numbers: NDArray[Any]

    @classmethod
    def of(cls, labels: NDArray[Any], categories: Iterable[Any] | None = None) -> "RowGroups":
        """Group rows by their labels.

        Args:
            labels: (n,), object, none of them missing.
            categories: All labels in their order; None to sort them.

        Raises:
            DataError: Some labels are neither names nor numbers; or they are measurements, nearly one for each row.
        """
        try:
            numbers, found = pd.factorize(labels)
        except TypeError as error:
            raise DataError(
                f"labels must be names or numbers that can be compared, got {labels[0]!r}: {error}."
            ) from error
        plain = [label.item() if isinstance(label, np.generic) else label for label in found]
        if len(plain) > max(FEW, len(labels) / 2) and any(isinstance(each, float) and each % 1 for each in plain):
            raise DataError(
                f"the labels of {len(labels)} rows are {len(plain)} different numbers, such as {plain[0]:.6g}. Cut "
                f"them into ranges, which are groups: pd.cut(labels, 4)."
            )
        known = _sorted(plain) if categories is None else [label for label in categories if label in {*plain}]
        place = {label: position for position, label in enumerate(known)}
        return cls(known, np.array([place[label] for label in plain])[numbers])


def _sorted(labels: Iterable[Any]) -> list[Any]:
    """Sort labels; those that can't be compared with each other, such as 1 and "a", by their names."""
    try:
        return sorted(labels)
    except TypeError:
        return sorted(labels, key=str)


def read_groups(X: Any, by: Any) -> tuple[Any, RowGroups | None]:
    """Read a table, and the groups of its rows.

    Args:
        X: (n, d), any table, or the path of its file.
        by: n labels, or the name of a column of ``obs``, see ``read_labels``. Groups are sorted by their labels; the
            categories of pandas keep their order. None for no groups: the table stays as it is.

    Returns:
        The table as ``read_table`` takes it, and the groups; None without any.

    Raises:
        DataError: See ``read_table`` and ``read_labels``.
        UnknownName: ``obs`` has no such column.
    """
    if by is None:
        return X, None
    opened = open_table(X)
    rows = read_table(opened, f"rows in {X}" if is_path(X) else "rows")
    by = _column(opened, by) if isinstance(by, str) else by
    kind = getattr(by, "dtype", None)
    categories = kind.categories if isinstance(kind, pd.CategoricalDtype) else None
    return rows, RowGroups.of(read_labels(opened, rows, by), categories)


def read_labels(X: Any, rows: Table, by: Any) -> NDArray[Any]:
    """Read the label of each row.

    Args:
        X: The table as the user gave it, not a path.
        rows: The same table, n rows.
        by: n labels of groups; or, for an AnnData, the name of a column of its ``obs``. The names of a Series must be
            those of the rows.

    Returns:
        (n,), object.

    Raises:
        DataError: There is not one label for each row, or some are missing.
        UnknownName: ``obs`` has no such column.
    """
    if isinstance(by, str):
        by = _column(X, by)
    check_same_rows(by, X, rows, "the labels and the table", "Give labels.loc[X.index]")
    labels = _as_objects(by)
    if isinstance(by, np.ma.MaskedArray):
        labels = labels.copy()
        labels[np.ma.getmaskarray(by)] = None
    if labels.shape != (len(rows),):
        raise DataError(f"there must be one label for each of the {len(rows)} rows, got shape {labels.shape}.")
    missing = np.flatnonzero(pd.isna(labels)).tolist()
    if missing:
        raise DataError(
            f"the labels of {enumerate_names(missing, 'row')} are missing. Leave these rows out, or give them labels."
        )
    return labels


def check_same_rows(column: Any, X: Any, rows: Table, what: str, remedy: str) -> None:
    """Check that a Series of any package has the names of the rows in their order, if both have names.

    The positions of the rows are names, too, if the other side has the same positions in another order: a shuffled
    Series beside a DataFrame with numbered rows, or a Series with numbered rows beside a shuffled DataFrame.

    Args:
        column: Anything; only what has names of rows is checked.
        X: The table as the user gave it, not a path.
        rows: The same table, n rows.
        what: The column and the table, in words.
        remedy: How to bring the column into the order of the rows, as code.

    Raises:
        DataError: The names are others, or in another order, or not in memory.
    """
    column = _named_series(column, what)
    if not isinstance(column, pd.Series):
        return
    names, expected = index_names(column.index), rows.row_names
    if names is None and expected is None or (expected is None and not isinstance(X, pd.DataFrame | ParquetTable)):
        return
    ours, theirs = (np.arange(len(rows)) if each is None else each for each in (names, expected))
    named = names is not None and expected is not None
    if not np.array_equal(ours, theirs) and (named or {*ours} == {*theirs}):
        raise DataError(
            f"{what} have different row names. {remedy}, or .to_numpy() of it if it is in the order of the rows."
        )


def _named_series(column: Any, what: str) -> Any:
    """Return a Series of another package, or a DataArray with an index, as a Series of pandas; others unchanged.

    Raises:
        DataError: The Series is not in memory.
    """
    if is_instance_of(column, "xarray", "DataArray"):
        return column.to_series() if column.ndim == 1 and column.dims[0] in column.indexes else column
    if isinstance(column, pd.Series | np.ndarray | Tensor) or callable(getattr(column, "index", callable)):
        return column
    if hasattr(column, "compute"):
        raise DataError(f"{what} must be in memory, got {kind_of(column)}. Give labels.compute().")
    return column.to_pandas() if hasattr(column, "to_pandas") else column


def _as_objects(labels: Any) -> NDArray[Any]:
    """Convert labels to Python objects: times of numpy to timestamps, since some of them would become integers."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "mM" and labels.ndim == 1:
        labels = pd.Series(labels)
    return np.asarray(labels, dtype=object)


def _column(X: Any, name: str) -> Any:
    if not is_anndata(X):
        raise DataError(
            f"{name!r} can be a column of obs only if the table is an AnnData, got {type(X).__name__}. Give the labels "
            f"themselves, one for each row."
        )
    return column_of_obs(X, name)
