"""Tables in files: .csv and other text, .parquet, .h5ad and .npy. No code in a file is run."""

import csv
import gzip
import os
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shapae.errors import DataError, MissingPackage, NamesWarning
from shapae.tables.columns import check_unique_names
from shapae.utils.optional import import_optional
from shapae.utils.text import enumerate_names, one_line

SEPARATORS = (",", ";", "\t", "|")
# Number of lines of a text file in which the separator is looked for.
TESTED_LINES = 50
DECIMAL_COMMA = r"[+-]?[\d.' ]*\d,\d+(?:[eE][+-]?\d+)?"


def is_path(table: object) -> bool:
    """Return whether ``table`` is the path of a file."""
    return isinstance(table, str | os.PathLike)


def open_table(table: Any) -> Any:
    """Load the table of a path; return any other table unchanged.

    Raises:
        DataError: The table can't be read.
    """
    return load_table(table) if is_path(table) else table


def _extension(path: Path) -> str:
    suffixes = Path(path.name.lower()).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])


def load_table(path: str | os.PathLike[str]) -> Any:
    """Load a table by the extension of its file: .csv, .tsv or .txt, also with .gz; .parquet, .h5ad or .npy.

    The separator of a text file is found: comma, semicolon, tab or bar. Lines before the names of the columns that
    begin with "#" are skipped. The first column holds the names of the rows if it has text or no name. A .h5ad is
    loaded as an AnnData. A .npy is memory-mapped.

    Raises:
        DataError: The table can't be read, or not without a guess, or has another extension.
        MissingPackage: The table is a .h5ad, and anndata is not installed.
    """
    path = Path(path)
    extension = _extension(path)
    if extension not in READERS:
        raise DataError(
            f"{str(path)!r} is no table, and no path of a table: it must end with {', '.join(READERS)}, got "
            f"{extension or 'no extension'!r}."
        )
    try:
        return READERS[extension](path)
    except (DataError, MissingPackage):
        raise
    except Exception as error:
        remedy = ". Save it as UTF-8" if isinstance(error, UnicodeError) else ""
        raise DataError(f"can't read the table in {path}: {one_line(error).rstrip('.')}{remedy}.") from error


def _read_h5ad(path: Path) -> Any:
    return import_optional("anndata", "reading a .h5ad").read_h5ad(path)


def _read_text(path: Path) -> pd.DataFrame:
    with (
        gzip.open(path, "rt", encoding="utf-8-sig")
        if path.suffix.lower() == ".gz"
        else path.open(encoding="utf-8-sig") as file
    ):
        lines = list(islice(file, TESTED_LINES))
    skipped = _count_comments(lines)
    separator = _separator(lines[skipped:], path)
    names = next(csv.reader(lines[skipped:], delimiter=separator, skipinitialspace=True), [])
    _check_names(names, path)
    table = pd.read_csv(
        path,
        sep=separator,
        skiprows=skipped,
        skipinitialspace=True,
        encoding="utf-8-sig",
        float_precision="round_trip",
        low_memory=False,
    )
    return _name_rows(_drop_empty(table, names), names, path, separator)


def _count_comments(lines: Sequence[str]) -> int:
    """Count the lines before the names of the columns: empty lines, and comments without a name for each column."""
    skipped = [not line.strip() or line.startswith("#") for line in lines]
    first = skipped.index(False) if False in skipped else 0
    before = lines[first - 1] if first else ""
    is_header = any(before.count(each) == lines[first].count(each) > 0 for each in SEPARATORS)
    return first - 1 if is_header else first


def _separator(lines: Sequence[str], path: Path) -> str:
    """Find the separator of the names of the columns; if there are several, the one that all lines agree with.

    Raises:
        DataError: Several separators are possible.
    """
    widths = {each: [len(row) for row in csv.reader(lines, delimiter=each) if row] for each in SEPARATORS}
    present = [each for each, counts in widths.items() if counts and counts[0] > 1]
    if len(present) > 1:  # the last line may be a part of a row
        even = [each for each in present if {*widths[each][:-1]} == {widths[each][-1]} or len(widths[each]) == 1]
        if len(even) != 1:
            found = " and ".join(map(repr, present))
            raise DataError(f"the separator of {path} may be {found}. {_by_hand(path, present[0])}")
        present = even
    return present[0] if present else SEPARATORS[0]


def _by_hand(path: Path, separator: str, option: str = "") -> str:
    return f"Read it yourself: pd.read_csv({str(path)!r}, sep={separator!r}{option})."


def _check_names(names: Sequence[str], path: Path) -> None:
    """Check that names are unique, and warn if they are numbers.

    Raises:
        DataError: Some names are repeated.
    """
    remedy = f"Rename them. If the first line is a row, give pd.read_csv({str(path)!r}, header=None)."
    check_unique_names([name for name in names if name], f"columns in {path}", remedy)
    numbers = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce")
    counted = any(np.array_equal(numbers, np.arange(start, start + len(names))) for start in (0, 1))
    if len(names) and numbers.notna().all() and not counted:
        warnings.warn(
            f"the first line of {path} holds numbers, which were read as the names of the columns. If it is a row, "
            f"give the table without names: pd.read_csv({str(path)!r}, header=None).",
            NamesWarning,
            stacklevel=2,
        )


def _drop_empty(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Drop columns without a name and without numbers: what a separator at the end of each line makes."""
    empty = [j for j, name in enumerate(names) if j and not name and table.iloc[:, j].isna().all()]
    return table.drop(columns=table.columns[empty])


def _name_rows(table: pd.DataFrame, names: Sequence[str], path: Path, separator: str) -> pd.DataFrame:
    """Make the first column the names of the rows if it has text or no name.

    Raises:
        DataError: The first column holds both numbers and text, or some numbers have decimal commas.
    """
    is_named = not isinstance(table.index, pd.RangeIndex)  # the lines have one field more than the names
    if is_named and (table.index.nlevels > 1 or not _is_text(table.index.to_series())):
        raise DataError(
            f"the lines of {path} have more fields than its first line has names. Remove separators at the ends of "
            f"lines, give the first column a name, or write numbers with decimal points."
        )
    text = [str(name) for name in table.columns if _is_text(table[name])]
    first = table.index.to_series() if is_named else table.iloc[:, 0]
    checked = [table[name] for name in text] + [first] * is_named
    commas = [column for column in checked if _as_text(column).str.fullmatch(DECIMAL_COMMA).any()]
    if commas:
        raise DataError(
            f"{path} has decimal commas in {enumerate_names([column.name for column in commas], 'column')}, such as "
            f"{_as_text(commas[0]).iloc[0]!r}. {_by_hand(path, separator, ', decimal=' + repr(','))}"
        )
    if is_named or not (_is_text(first) or (names and not names[0])):
        return table
    if names[0] and pd.to_numeric(_as_text(first), errors="coerce").notna().any():
        raise DataError(
            f"the first column {names[0]!r} of {path} holds numbers and text, so that it may be names of rows or a "
            f"feature. {_by_hand(path, separator, ', index_col=0')}"
        )
    return table.set_index(table.columns[0])


def _is_text(column: "pd.Series[Any]") -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def _as_text(column: "pd.Series[Any]") -> "pd.Series[str]":
    return column.dropna().astype(str).str.strip()


READERS: dict[str, Any] = {
    **{f"{extension}{gz}": _read_text for extension in (".csv", ".tsv", ".txt") for gz in ("", ".gz")},
    ".parquet": pd.read_parquet,
    ".h5ad": _read_h5ad,
    ".npy": partial(np.load, mmap_mode="r"),
}
