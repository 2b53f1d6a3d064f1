"""Parquet: one file, or a folder of files as Spark and dask write them, read by batches of rows."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.errors import DataError, UnknownName
from shapae.tables.columns import check_unique_names
from shapae.tables.frames import pandas_to_array, refuse_columns
from shapae.tables.stored import StoredRows, file_state, is_large
from shapae.utils.optional import import_optional
from shapae.utils.text import enumerate_names

# Bytes of a compressed file that are read ahead, for all columns together, and the fewest for one column.
AHEAD, LEAST_AHEAD = 2**20, 2**12
# Bytes of a batch of rows, in float64.
BATCH_BYTES = 2**22


def read_parquet(path: Path, row_names: str | None = None) -> Any:
    """Read a table of pandas from a file; or from a folder of files, in the order of the numbers in their names.

    Args:
        path: Path of the file or the folder.
        row_names: Name of the column with the names of the rows; None for the index of pandas.

    Raises:
        DataError: The files of the folder differ in their columns, or there are none.
        UnknownName: There is no column of this name.
    """
    table = _concatenate(_files(path)).to_pandas()
    return table if row_names is None else table.set_index(_check_known(row_names, [*table]))


def _check_known(column: str, columns: list[str]) -> str:
    if column not in columns:
        raise UnknownName("column", column, columns)
    return column


def open_parquet(path: Path, row_names: str | None = None) -> Any:
    """Open a table as ``read_parquet`` does, but leave the rows of a large one in the file.

    Args:
        path: See ``read_parquet``.
        row_names: See ``read_parquet``.

    Returns:
        A DataFrame of pandas, or a ``ParquetTable``.

    Raises:
        DataError: See ``read_parquet``; or a large table holds something else than numbers.
    """
    parts = _files(path)
    counts = [_counts(each) for each in parts]
    n, d = sum(map(sum, counts)), len(_schema(parts[0]).names)
    return ParquetTable(path, parts, counts, row_names) if is_large((n, d)) else read_parquet(path, row_names)


class ParquetTable:
    """A large table in files of Parquet.

    Args:
        path: The file, or the folder.
        parts: Its files.
        counts: Numbers of rows of the row groups of each file.
        row_names: Name of the column with the names of the rows; None for the index of pandas.

    Attributes:
        rows: (n, d), in the files.
        names: d unique names.
        index: Index of pandas, the names of the n rows.
    """

    def __init__(
        self, path: Path, parts: Sequence[Path], counts: Sequence[Sequence[int]], row_names: str | None
    ) -> None:
        schema = _common_schema(parts)
        empty, columns = schema.empty_table().to_pandas(), [row_names] if row_names else []
        if row_names is not None:
            empty = empty.drop(columns=_check_known(row_names, [*empty]))
        _refuse_text(schema, path, columns)
        self.names = [str(name) for name in empty.columns]
        check_unique_names(self.names, f"columns in {path}")
        self.rows = _ParquetRows(path, parts, counts, empty)
        self.index = _index(parts, schema, len(self.rows), row_names)

    def __len__(self) -> int:
        return len(self.rows)


def _files(path: Path) -> list[Path]:
    """List the files of a table: part.2 comes before part.10.

    Raises:
        DataError: The folder holds none, or folders by the values of a column.
    """
    if not path.is_dir():
        return [path]
    found = [each for each in path.iterdir() if not each.name.startswith(("_", "."))]
    folders = sorted(each.name for each in found if each.is_dir())
    if folders:
        raise DataError(
            f"{path} is divided into {enumerate_names(folders, 'folder')}. Read it yourself, with the columns that "
            f"are features: pd.read_parquet({str(path)!r})[names]."
        )
    files = [each for each in found if each.suffix.lower() == ".parquet"]
    if not files:
        raise DataError(f"there are no .parquet files in the folder {path}.")
    return sorted(files, key=_numbered)


def _numbered(file: Path) -> list[Any]:
    return [int(part) if at % 2 else part for at, part in enumerate(re.split("([0-9]+)", file.name))]


def _counts(part: Path) -> list[int]:
    with _open(part) as file:
        return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]


def _schema(part: Path) -> Any:
    with _open(part) as file:
        return file.schema_arrow


def _open(part: Path, ahead: int = 0) -> Any:
    return _arrow("pyarrow.parquet").ParquetFile(part, buffer_size=ahead, pre_buffer=False)


def _arrow(module: str = "pyarrow") -> Any:
    return import_optional(module, "reading a .parquet", "parquet")


def _common_schema(parts: Sequence[Path]) -> Any:
    """Return the schema of all files.

    Raises:
        DataError: Some files have other columns than the first.
    """
    schema = _schema(parts[0])
    others = [part.name for part in parts if not _schema(part).equals(schema)]
    if others:
        raise DataError(
            f"the files in {parts[0].parent} must have the same columns, in one order and of one type, but those of "
            f"{enumerate_names(others, 'file')} differ from {parts[0].name}."
        )
    return schema


def _concatenate(parts: Sequence[Path], **choice: Any) -> Any:
    """Read files, or some of their columns, as one table of Arrow."""
    _common_schema(parts)
    tables = []
    for part in parts:
        with _open(part) as file:
            tables.append(file.read(**choice))
    return _arrow().concat_tables(tables)


def _index(parts: Sequence[Path], schema: Any, n: int, row_names: str | None) -> Any:
    """Read the names of n rows: a column, the index of pandas, or the positions."""
    if row_names is not None:
        return pd.Index(_concatenate(parts, columns=[row_names]).to_pandas()[row_names])
    described = (schema.pandas_metadata or {}).get("index_columns", [])
    if any(isinstance(each, str) for each in described):
        return _concatenate(parts, columns=[], use_pandas_metadata=True).to_pandas().index
    ranges = [pd.RangeIndex(each["start"], each["stop"], each["step"]) for each in described]
    return next((each for each in ranges if len(each) == n), pd.RangeIndex(n))


def _refuse_text(schema: Any, path: Path, aside: Sequence[str]) -> None:
    """Check that all columns but those of the index and some kept aside hold numbers.

    Raises:
        DataError: Some columns do not; they are named.
    """
    types, index = _arrow("pyarrow.types"), (schema.pandas_metadata or {}).get("index_columns", [])
    kinds = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)
    fields = [field for field in schema if field.name not in [*index, *aside]]
    refused = {field.name: field.type for field in fields if not any(is_kind(field.type) for is_kind in kinds)}
    refuse_columns(refused, f"table in {path}")


class _ParquetRows(StoredRows):
    """Rows in files of Parquet, read forwards by a cursor, so that a row group of any size is never held.

    Args:
        path: The file, or the folder.
        parts: Its files.
        counts: Numbers of rows of the row groups of each file.
        empty: (0, d), the columns that are features.
    """

    def __init__(self, path: Path, parts: Sequence[Path], counts: Sequence[Sequence[int]], empty: pd.DataFrame) -> None:
        self._groups = [(part, group) for part, each in zip(parts, counts, strict=True) for group in range(len(each))]
        self._bounds = np.cumsum([0, *(count for each in counts for count in each)])
        self._batches: Iterator[NDArray[Any]] | None = None
        self._columns, self._held, self._start = empty.columns, pandas_to_array(empty, str(path)), 0
        n, d = int(self._bounds[-1]), empty.shape[1]
        super().__init__((n, d), self._held.dtype, str(path), lambda: [file_state(part) for part in parts])

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        batches, self._batches = self._seek(start), None  # kept only if all goes well
        result, end = np.empty((stop - start, self.shape[1]), self.dtype), start
        while end < stop:
            while end >= self._start + len(self._held):
                self._start += len(self._held)
                self._held = next(batches)
            part = self._held[end - self._start : stop - self._start]
            result = result.astype(np.promote_types(result.dtype, part.dtype), copy=False)  # integers with missing ones
            result[end - start : end - start + len(part)] = part
            end += len(part)
        self._batches = batches
        return result

    def _seek(self, start: int) -> Iterator[NDArray[Any]]:
        """Go to the row group of ``start``; or stay, if the row is held or comes next in the same row group."""
        group = int(np.searchsorted(self._bounds, start, side="right")) - 1
        begin = int(self._bounds[group])
        if self._batches is not None and self._start <= start and begin <= self._start + len(self._held):
            return self._batches
        self._held, self._start = self._held[:0], begin
        return self._from(group)

    def _from(self, first: int) -> Iterator[NDArray[Any]]:
        """Decode batches of rows, from a row group on to the end."""
        height = max(1, BATCH_BYTES // (8 * self.shape[1]))
        for part, group in self._groups[first:]:
            with _open(part, max(LEAST_AHEAD, AHEAD // self.shape[1])) as file:
                for batch in file.iter_batches(height, row_groups=[group], use_threads=False):
                    yield self._to_array(batch)

    def _to_array(self, batch: Any) -> NDArray[Any]:
        table = _arrow().Table.from_batches([batch])
        rows = pandas_to_array(table.to_pandas()[self._columns], f"rows in {self.where}")
        return np.asarray(rows, np.promote_types(self.dtype, rows.dtype))
