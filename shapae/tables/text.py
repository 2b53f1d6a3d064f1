"""Text files of tables: the separator is found, and nothing is guessed."""

import csv
import gzip
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO

import pandas as pd

from shapae.errors import DataError, NamesWarning, UnknownName
from shapae.tables.frames import refuse_lost_digits
from shapae.tables.headings import check_headings
from shapae.utils.text import enumerate_names
from shapae.utils.version import major_minor

SEPARATORS = (",", ";", "\t", "|")
# Number of lines of a text file in which the separator is looked for.
TESTED_LINES = 50
DECIMAL_COMMA = r"[+-]?[\d.' ]*\d,\d+(?:[eE][+-]?\d+)?"
# Bytes at the start of a file in UTF-16.
UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Number of bytes that are searched at once for bytes of 0.
PIECE = 2**20
# Names of columns that number the rows.
NUMBERS_ROWS = re.compile(r"unnamed: 0|index|idx|id|#|nr|no|row|row[_ .]?(id|index|nr|no|number)", re.IGNORECASE)
# Number of rows from which on 0, 1, 2 are taken for numbers of the rows.
FEW = 3
# Options of pandas that read numbers to the last bit, as pandas 3.1 does always, where the option is deprecated.
EXACT: dict[str, Any] = {} if major_minor(pd.__version__) >= (3, 1) else {"float_precision": "round_trip"}


@dataclass(frozen=True)
class _Text:
    """A text file of a table.

    Attributes:
        path: Path of the file.
        encoding: Encoding.
        skipped: Number of lines before the names of the columns.
        separator: Separator of the fields.
        names: Names of the columns, as they stand in the file.
        has_more: Whether the rows have more fields than there are names, as from R; pandas makes the first ones its
            index then, which may look like the index of a table without names of rows.
    """

    path: Path
    encoding: str
    skipped: int
    separator: str
    names: list[str]
    has_more: bool

    def frame(self, **settings: Any) -> pd.DataFrame:
        """Read the file with pandas."""
        table: pd.DataFrame = pd.read_csv(
            self.path,
            sep=self.separator,
            skiprows=self.skipped,
            skipinitialspace=True,
            encoding=self.encoding,
            low_memory=False,
            **EXACT,
            **settings,
        )
        return table

    def line(self, row: int) -> int:
        """Find the number of the line of a row, counted from 1 as editors do."""
        with _open(self.path, self.encoding) as file:
            reader = csv.reader(islice(file, self.skipped, None), delimiter=self.separator)
            rows = (reader.line_num for fields in reader if any(map(str.strip, fields)) or len(fields) > 1)
            return self.skipped + next(islice(rows, row + 1, None))

    def by_hand(self, option: str = "") -> str:
        """Return the advice to read the file with pandas."""
        return f"Read it yourself: {self.code(option)}."

    def code(self, option: str = "") -> str:
        """Return the code that reads the file with pandas."""
        return f"pd.read_csv({str(self.path)!r}, sep={self.separator!r}{option})"


def read_text(path: Path, aside: Sequence[str] = (), row_names: str | None = None) -> pd.DataFrame:
    """Read a text file, see ``shapae.tables.files.load_table`` for the arguments.

    Raises:
        DataError: The table can't be read without a guess.
        UnknownName: There is no column ``row_names``.
    """
    text = _inspect(path)
    if row_names is not None:
        _check_column(row_names, text)
    as_text = dict.fromkeys((name for name in aside if name != row_names), str)
    table = _drop_empty(text.frame(dtype=as_text, converters={row_names: str} if row_names else None), text.names)
    if not len(table):
        raise DataError(f"{path} has names of columns, but no rows. Give a file with rows.")
    kept = table.loc[:, [name in as_text for name in table.columns]]
    table = table.drop(columns=kept.columns)
    if table.columns.empty:
        raise DataError(f"{path} has no other columns than those that are kept aside. Keep fewer columns aside.")
    if row_names is not None:
        table = _as_names(table, text, row_names)
    _check_decimals(table, text)
    table = _name_rows(table, text, asks=not aside) if row_names is None else table
    _check_cells(table, text)
    return pd.concat([table, kept.set_axis(table.index)], axis=1) if len(kept.columns) else table


def _inspect(path: Path) -> _Text:
    """Find the encoding, the separator and the names of the columns.

    Raises:
        DataError: The file is empty, or holds bytes of 0, or can't be read without a guess.
    """
    encoding = _encoding(path)
    with _open(path, encoding) as file:
        lines = list(islice(file, TESTED_LINES))
    if not any(map(str.strip, lines)):
        raise DataError(f"can't read the table in {path}: it is empty.")
    skipped = _count_comments(lines)
    separator = _separator(lines[skipped:], path)
    reader = csv.reader(lines[skipped:], delimiter=separator, skipinitialspace=True)
    names = next(reader)
    row = next((fields for fields in reader if any(map(str.strip, fields)) or len(fields) > 1), [])
    is_quoted = lines[skipped].count('"') >= 2 * len(names)
    check_headings(names, str(path), is_quoted=is_quoted)
    return _Text(path, encoding, skipped, separator, names, len(row) > len(names))


def _check_column(name: str, text: _Text) -> None:
    """Check that there is a column that may name the rows.

    Raises:
        UnknownName: There is none of this name.
        DataError: The rows have a field more, so that the columns may be other ones.
    """
    if name not in text.names:
        raise UnknownName("column", name, text.names)
    if text.has_more:
        _refuse_more(text)


def _refuse_more(text: _Text) -> NoReturn:
    """Raise an error about rows that have more fields than there are names.

    Raises:
        DataError: Always.
    """
    raise DataError(
        f"the lines of {text.path} have more fields than its first line has names. Remove separators at the ends of "
        f"lines, give the first column a name, or write numbers with decimal points."
    )


def _encoding(path: Path) -> str:
    """Return UTF-16 if the file begins so, and UTF-8 otherwise.

    Raises:
        DataError: The file has bytes of 0, at which numbers would be cut off.
    """
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rb") as file:
        first = file.read(2)
        if first in UTF16:
            return "utf-16"
        if b"\0" in first or any(b"\0" in piece for piece in _pieces(file)):
            raise DataError(
                f"can't read the table in {path}: it has bytes of 0, as damaged files and UTF-16 without a mark have. "
                f"Save it as UTF-8."
            )
    return "utf-8-sig"


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _open(path: Path, encoding: str) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding=encoding)
    return path.open(encoding=encoding)


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
            raise DataError(
                f"the separator of {path} may be {found}. Read it yourself: pd.read_csv({str(path)!r}, "
                f"sep={present[0]!r})."
            )
        present = even
    return present[0] if present else SEPARATORS[0]


def _drop_empty(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Drop columns without a name and without numbers: what a separator at the end of each line makes."""
    empty = [j for j, name in enumerate(names) if j and not name and table.iloc[:, j].isna().all()]
    return table.drop(columns=table.columns[empty])


def _check_decimals(table: pd.DataFrame, text: _Text) -> None:
    """Check that no column of text holds numbers with decimal commas.

    Raises:
        DataError: Some columns do; they are named.
    """
    columns = {str(name): _as_text(table[name]) for name in _text_columns(table)}
    found = {name: column for name, column in columns.items() if column.str.fullmatch(DECIMAL_COMMA).any()}
    for first in list(found.values())[:1]:
        raise DataError(
            f"{text.path} has decimal commas in {enumerate_names([*found], 'column')}, such as {first.iloc[0]!r}. "
            f"{text.by_hand(', decimal=' + repr(','))}"
        )


def _check_cells(table: pd.DataFrame, text: _Text) -> None:
    """Check that columns with numbers hold nothing else.

    Raises:
        DataError: Some cells are no numbers; the first of each column is named with its line.
    """
    found = []
    for name in _text_columns(table):
        cells = table[name].reset_index(drop=True)
        is_number = pd.to_numeric(cells, errors="coerce").notna() & ~cells.astype(str).str.strip().str.isalpha()
        bad = cells.index[cells.notna() & ~is_number]
        if is_number.any() and len(bad):
            found.append(f"{cells[bad[0]]!r} in line {text.line(bad[0])}, column {name}")
        elif is_number.any():
            refuse_lost_digits([name], f"rows in {text.path}")
    if found:
        raise DataError(
            f"{text.path} has cells that are no numbers: {enumerate_names(found, 'cell')}. Mend or empty the cells, or "
            f"leave the columns out. {text.by_hand()}"
        )


def _name_rows(table: pd.DataFrame, text: _Text, *, asks: bool) -> pd.DataFrame:
    """Make the first column the names of the rows if it has text, or if it has no name.

    Args:
        table: The table without columns that are kept aside.
        text: Its file.
        asks: Whether to warn of a first column that numbers the rows.

    Raises:
        DataError: The first column holds both numbers and text, or is the only one.
    """
    if text.has_more:
        if table.index.nlevels > 1 or _holds_numbers(table.index.to_series()):
            _refuse_more(text)
        return table
    first, is_named = table.iloc[:, 0], bool(text.names[0])
    if is_named and not _is_text(first):
        if asks:
            _warn_of_numbers(first, text)
        return table
    if is_named and _holds_numbers(first):
        bad = first.index[first.notna() & pd.to_numeric(first, errors="coerce").isna()]
        such = f", such as {first[bad[0]]!r} in line {text.line(bad[0])}" if len(bad) else ""
        raise DataError(
            f"the first column {first.name!r} of {text.path} holds numbers and text{such}, so that it may be names of "
            f"rows or a feature. If it is a feature, mend these cells. If it is names, say so: --row-names "
            f"{first.name!r}, or in Python {text.code(', index_col=0')}."
        )
    if table.shape[1] == 1:
        spaces = replace(text, separator=" ").by_hand()
        raise DataError(f"{text.path} has no columns of numbers separated by {text.separator!r}. {spaces}")
    return _as_names(table, text, first.name)


def _as_names(table: pd.DataFrame, text: _Text, column: Any) -> pd.DataFrame:
    """Make a column the names of the rows, as they stand in the file: "NA" is a name.

    Raises:
        DataError: There are no other columns.
    """
    if table.shape[1] == 1:
        raise DataError(f"{text.path} has no other columns than {column!r}, the names of its rows.")
    names = table[column]
    if names.isna().any():
        names = text.frame(usecols=[column], converters={column: str})[column]
    table = table.drop(columns=column)
    return table.set_axis(pd.Index(names, name=column))


def _warn_of_numbers(first: "pd.Series[Any]", text: _Text) -> None:
    """Warn if a first column of integers seems to number the rows."""
    if not pd.api.types.is_integer_dtype(first) or len(first) < FEW:
        return
    steps = first.diff().iloc[1:]
    counts = first.iloc[0] in (0, 1) and (steps == 1).all()
    if counts or (NUMBERS_ROWS.fullmatch(str(first.name)) and (steps > 0).all()):
        warnings.warn(
            f"the first column {first.name!r} of {text.path} seems to number the rows, and is read as a feature. If it "
            f"is no feature, say so: --row-names {first.name!r}, or in Python {text.code(', index_col=0')}.",
            NamesWarning,
            stacklevel=2,
        )


def _text_columns(table: pd.DataFrame) -> list[Any]:
    return [name for name, dtype in table.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]


def _holds_numbers(column: "pd.Series[Any]") -> bool:
    """Return whether some cells are numbers, also with decimal commas."""
    points = _as_text(column).str.replace(",", ".")
    return bool(pd.to_numeric(points, errors="coerce").notna().any())


def _is_text(column: "pd.Series[Any]") -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def _as_text(column: "pd.Series[Any]") -> "pd.Series[str]":
    return column.dropna().astype(str).str.strip()
