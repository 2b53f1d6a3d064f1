"""Tables in files: .csv and other text, .parquet, .h5ad, .zarr and .npy. No code in a file is run."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shapae.errors import DataError, ShapaeError
from shapae.tables.parquet import open_parquet, read_parquet
from shapae.tables.stores import open_h5ad, open_zarr, read_h5ad, split_h5ad
from shapae.tables.text import read_text
from shapae.utils.text import one_line


def is_path(table: object) -> bool:
    """Return whether ``table`` is the path of a file."""
    return isinstance(table, str | os.PathLike)


def open_table(table: Any, row_names: str | None = None) -> Any:
    """Open the table of a path, and leave the rows of a large one in its file; return any other table unchanged.

    Args:
        table: Any table, or the path of its file.
        row_names: See ``load_table``.

    Raises:
        DataError: The table can't be read.
    """
    return _read(Path(table), OPENERS, (), row_names) if is_path(table) else table


def _extension(path: Path) -> str:
    suffixes = Path(path.name.lower()).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])


def load_table(path: str | os.PathLike[str], aside: Sequence[str] = (), row_names: str | None = None) -> Any:
    """Load a table by the extension of its file: .csv, .tsv or .txt, also with .gz; .parquet, .h5ad, .zarr or .npy.

    The separator of a text file is found: comma, semicolon, tab or bar. Lines before the names of the columns that
    begin with "#" are skipped. The first column holds the names of the rows if it has text or no name. A .parquet may
    be a folder of files. A .h5ad is loaded as an AnnData, also with another matrix as its X: "cells.h5ad/layers/counts"
    or "cells.h5ad/raw". Arrays in a .npy or .zarr stay in the file.

    Args:
        path: Path of the file.
        aside: Names of columns of a text file that are no features: they are read as text, as it stands in the file,
            and are never the names of the rows.
        row_names: Name of the column of a text file or a .parquet that holds the names of the rows. In a text file they
            are read as text.

    Raises:
        DataError: The table can't be read, or not without a guess, or has another extension.
        MissingPackage: The package that reads the file is not installed.
        UnknownName: There is no such column.
    """
    return _read(Path(path), READERS, aside, row_names)


def _read(path: Path, readers: Mapping[str, Callable[..., Any]], aside: Sequence[str], row_names: str | None) -> Any:
    extension = _extension(split_h5ad(path)[0])
    if extension not in readers:
        raise DataError(
            f"{str(path)!r} is no table, and no path of a table: it must end with {', '.join(readers)}, got "
            f"{extension or 'no extension'!r}."
        )
    if path.exists() and not path.is_file() and not path.is_dir():  # a fifo would be waited for
        raise DataError(f"can't read the table in {path}: it is no file. Give a file or a folder.")
    reader = readers[extension]
    if row_names is not None and reader is not read_text and extension != ".parquet":
        raise DataError(
            f"{path} has no column of row names: only text files and .parquet have. Leave {row_names!r} out."
        )
    try:
        if reader is read_text:
            return reader(path, aside, row_names)
        return reader(path) if row_names is None else reader(path, row_names)
    except ShapaeError:
        raise
    except Exception as error:
        remedy = ". Save it as UTF-8" if isinstance(error, UnicodeError) else ""
        missing = "No such file or directory" if isinstance(error, FileNotFoundError) else None
        reason = missing or getattr(error, "strerror", None) or one_line(error).rstrip(".")
        raise DataError(f"can't read the table in {path}: {reason}{remedy}.") from error


READERS: dict[str, Any] = {
    **{f"{extension}{gz}": read_text for extension in (".csv", ".tsv", ".txt") for gz in ("", ".gz")},
    ".parquet": read_parquet,
    ".h5ad": read_h5ad,
    ".npy": partial(np.load, mmap_mode="r"),
    ".zarr": open_zarr,
}
OPENERS = READERS | {".parquet": open_parquet, ".h5ad": open_h5ad}
