"""Labels of rows: the groups that they belong to."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.errors import DataError, UnknownName
from shapae.tables.anndata import is_anndata
from shapae.tables.convert import index_names
from shapae.tables.table import Table
from shapae.utils.text import enumerate_names


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
    names = index_names(by.index) if isinstance(by, pd.Series) else None
    if names is not None and rows.row_names is not None and not np.array_equal(names, rows.row_names):
        raise DataError("the labels and the table have different row names. Give labels.loc[X.index].")
    labels = np.asarray(by, dtype=object)
    if labels.shape != (len(rows),):
        raise DataError(f"there must be one label for each of the {len(rows)} rows, got shape {labels.shape}.")
    missing = np.flatnonzero(pd.isna(labels)).tolist()
    if missing:
        raise DataError(
            f"the labels of {enumerate_names(missing, 'row')} are missing. Leave these rows out, or give them labels."
        )
    return labels


def _column(X: Any, name: str) -> Any:
    if not is_anndata(X):
        raise DataError(
            f"{name!r} can be a column of obs only if the table is an AnnData, got {type(X).__name__}. Give the labels "
            f"themselves, one for each row."
        )
    if name not in X.obs:
        raise UnknownName("column of obs", name, list(X.obs))
    return X.obs[name]
