"""Columns that are kept aside: time stamps, identifiers and other columns that are no features."""

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import pandas as pd

from shapae.errors import DataError, UnknownName
from shapae.tables.anndata import is_anndata
from shapae.tables.files import is_path, load_table


def keep_aside(table: Any, names: Sequence[str], *, where_present: bool = False) -> tuple[Any, pd.DataFrame]:
    """Split columns that are no features off a table.

    Args:
        table: A DataFrame of pandas, polars or another package; an AnnData, whose ``obs`` has the columns; the path of
            a file. Columns of a text file that are kept aside are read as text, so that "007" stays "007".
        names: Names of columns, or of levels of the index of a DataFrame of pandas.
        where_present: Whether names that the table does not have are ignored.

    Returns:
        The table without these columns, and the columns, in the order of ``names``, with numbered rows. Without names
        they are the unchanged table, and an empty DataFrame.

    Raises:
        DataError: The table has no names of columns, or can't be read, or a name is given twice.
        UnknownName: There is no such column.
    """
    names = [names] if isinstance(names, str) else [*names]
    if not names:
        return table, pd.DataFrame()
    if len({*names}) < len(names):
        raise DataError(f"each column is kept aside once, got {', '.join(map(str, names))}.")
    table = load_table(table, names) if is_path(table) else table
    columns = _columns(table)
    missing = [name for name in names if name not in columns]
    if missing and not where_present:
        raise UnknownName("column", missing[0] if len(missing) == 1 else missing, [*columns])
    present = [name for name in names if name in columns]
    kept = pd.DataFrame({name: columns[name] for name in present}, index=pd.RangeIndex(len(table)))
    return (_drop(table, present) if present else table), kept


def _columns(table: Any) -> dict[str, Any]:
    """List the columns that can be kept aside, by name: those of the table and of its index, or those of ``obs``.

    Raises:
        DataError: The columns have no names, or are not in memory.
    """
    if isinstance(table, pd.DataFrame) or is_anndata(table):
        frame = table if isinstance(table, pd.DataFrame) else table.obs
        levels = (
            (name, frame.index.get_level_values(at)) for at, name in enumerate(frame.index.names) if name is not None
        )
        columns = ((name, frame.iloc[:, at]) for at, name in enumerate(frame.columns))
        return {str(name): part.array for name, part in (*levels, *columns)}
    frame = nw.from_native(table, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        raise DataError(
            f"columns can be kept aside by name only in a DataFrame in memory, an AnnData or a file with names, got "
            f"{type(table).__name__}. Leave these columns out yourself."
        )
    return {str(name): frame[name].to_list() for name in frame.columns}


def _drop(table: Any, names: Sequence[str]) -> Any:
    """Remove columns and levels of the index; the table of an AnnData has none of them."""
    if is_anndata(table):
        return table
    if not isinstance(table, pd.DataFrame):
        return nw.from_native(table).drop([*names]).to_native()
    levels = [name for name in table.index.names if name is not None and str(name) in names]
    rest = table.reset_index(level=levels, drop=True) if levels else table
    return rest.loc[:, [str(name) not in names for name in rest.columns]]
