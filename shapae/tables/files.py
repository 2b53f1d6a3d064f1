"""Tables in files: .csv and other text, .parquet, .h5ad and .npy. No code in a file is run."""

import csv
import gzip
import os
import re
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from shapae.errors import DataError, MissingPackage, NamesWarning
from shapae.tables.columns import check_unique_names
from shapae.utils.optional import import_optional
from shapae.utils.text import enumerate_names, one_line
from shapae.utils.version import major_minor

SEPARATORS = (",", ";", "\t", "|")
# Number of lines of a text file in which the separator is looked for.
TESTED_LINES = 50
# Options of pandas that read numbers to the last bit, as pandas 3.1 does always, where the option is deprecated.
EXACT: dict[str, Any] = {} if major_minor(pd.__version__) >= (3, 1) else {"float_precision": "round_trip"}
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


def load_table(path: str | os.PathLike[str], aside: Sequence[str] = ()) -> Any:
    """Load a table by the extension of its file: .csv, .tsv or .txt, also with .gz; .parquet, .h5ad or .npy.

    The separator of a text file is found: comma, semicolon, tab or bar. Lines before the names of the columns that
    begin with "#" are skipped. The first column holds the names of the rows if it has text or no name. A .h5ad is
    loaded as an AnnData. A .npy is memory-mapped.

    Args:
        path: Path of the file.
        aside: Names of columns of a text file that are no features: they are read as text, as it stands in the file,
            and are never the names of the rows.

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
        reader = READERS[extension]
        return reader(path, aside) if reader is _read_text else reader(path)
    except (DataError, MissingPackage):
        raise
    except Exception as error:
        remedy = ". Save it as UTF-8" if isinstance(error, UnicodeError) else ""
        missing = "No such file or directory" if isinstance(error, FileNotFoundError) else None
        reason = getattr(error, "strerror", None) or missing or one_line(error).rstrip(".")
        raise DataError(f"can't read the table in {path}: {reason}{remedy}.") from error


def _read_h5ad(path: Path) -> Any:
    return import_optional("anndata", "reading a .h5ad").read_h5ad(path)


def _read_text(path: Path, aside: Sequence[str] = ()) -> pd.DataFrame:
    with _open(path) as file:
        lines = list(islice(file, TESTED_LINES))
    if not any(map(str.strip, lines)):
        raise DataError(f"can't read the table in {path}: it is empty.")
    skipped = _count_comments(lines)
    separator = _separator(lines[skipped:], path)
    names, *rows = csv.reader(lines[skipped:], delimiter=separator, skipinitialspace=True)
    _check_names(names, path)
    table = pd.read_csv(
        path,
        sep=separator,
        skiprows=skipped,
        skipinitialspace=True,
        encoding="utf-8-sig",
        low_memory=False,
        dtype=dict.fromkeys(aside, str),
        **EXACT,
    )
    if any(len(row) > len(names) for row in rows) and isinstance(table.index, pd.RangeIndex):
        table.index = pd.Index([*table.index])  # fields before the columns, of which pandas 3.1 makes a range
    table = _drop_empty(table, names)
    kept = table.loc[:, [name in aside for name in table.columns]]
    table = table.drop(columns=kept.columns)
    if table.columns.empty:
        raise DataError(f"{path} has no other columns than those that are kept aside. Keep fewer columns aside.")
    _check_decimals(table, path, separator)
    table = _name_rows(table, not names[0], path, separator)
    return pd.concat([table, kept.set_axis(table.index)], axis=1)


def _open(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _count_comments(lines: Sequence[str]) -> int:
    """Count the lines before the names of the columns.

    A line that begins with "#" holds the names if the next line is a row: it has as many fields, and some are numbers.
    """
    skipped = [not line.strip() or line.startswith(("#", "sep=")) for line in lines]
    first = skipped.index(False) if False in skipped else 0
    before, line = lines[first - 1] if first else "", lines[first]
    fits = [each for each in SEPARATORS if before.count(each) == line.count(each) > 0]
    is_row = any(_holds_numbers(pd.Series(line.strip().split(each))) for each in fits)
    return first - 1 if before.startswith("#") and is_row else first


def _separator(lines: Sequence[str], path: Path) -> str:
    """Find the separator of the names of the columns; if there are several, the one that all lines agree with.

    Raises:
        DataError: Several separators are possible.
    """
    unquoted = [line for line in re.sub('"[^"]*"', '""', "".join(lines)).splitlines() if line.strip()]
    present = [each for each in SEPARATORS if each in unquoted[0]]
    if len(present) > 1:
        even = [each for each in present if len({line.count(each) for line in unquoted}) == 1]
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
    first, *others = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce")
    numbers = np.array(others if np.isnan(first) else [first, *others])
    increase = (np.diff(numbers) > 0).all()  # of counted names, or of wavelengths
    are_names = increase and (np.isnan(first) or (numbers % 1 == 0).all())
    if others and np.isfinite(others).all() and not are_names:
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


def _check_decimals(table: pd.DataFrame, path: Path, separator: str) -> None:
    """Check that no column of text holds numbers with decimal commas.

    Raises:
        DataError: Some columns do; they are named.
    """
    text = {str(name): _as_text(table[name]) for name in table.columns if _is_text(table[name])}
    found = {name: column for name, column in text.items() if column.str.fullmatch(DECIMAL_COMMA).any()}
    for first in list(found.values())[:1]:
        raise DataError(
            f"{path} has decimal commas in {enumerate_names([*found], 'column')}, such as {first.iloc[0]!r}. "
            f"{_by_hand(path, separator, ', decimal=' + repr(','))}"
        )


def _name_rows(table: pd.DataFrame, unnamed: bool, path: Path, separator: str) -> pd.DataFrame:
    """Make the first column the names of the rows if it has text, or if it is ``unnamed``.

    Raises:
        DataError: The first column holds both numbers and text, or is the only one.
    """
    if not isinstance(table.index, pd.RangeIndex):  # the lines have one field more than the names, as from R
        if table.index.nlevels > 1 or _holds_numbers(table.index.to_series()):
            raise DataError(
                f"the lines of {path} have more fields than its first line has names. Remove separators at the ends of "
                f"lines, give the first column a name, or write numbers with decimal points."
            )
        return table
    first = table.iloc[:, 0]
    if not (unnamed or _is_text(first)):
        return table
    if not unnamed and _holds_numbers(first):
        raise DataError(
            f"the first column {first.name!r} of {path} holds numbers and text, so that it may be names of rows or a "
            f"feature. {_by_hand(path, separator, ', index_col=0')}"
        )
    if table.shape[1] == 1:
        raise DataError(f"{path} has no columns of numbers separated by {separator!r}. {_by_hand(path, ' ')}")
    return table.set_index(table.columns[0])


def _holds_numbers(column: "pd.Series[Any]") -> bool:
    """Return whether some cells are numbers, also with decimal commas."""
    points = _as_text(column).str.replace(",", ".")
    return bool(pd.to_numeric(points, errors="coerce").notna().any())


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
