"""Results in folders: arrays as safetensors, everything else as JSON; nothing in them is run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from shapae.errors import OutputError, ShapaeError
from shapae.explainer.layout import LAYOUTS
from shapae.utils.directories import atomic_directory
from shapae.utils.records import FORMAT, plain, read_record, type_name, write_record
from shapae.utils.text import one_line

T = TypeVar("T")
# Number of the format of results, which a change of the files must raise. The first one had no number and no checksums.
RESULT_FORMAT = 2
# Parts of results that are names of rows.
NAMES = ("row_names", "train_names")


def save_result(folder: str | Path, name: str, arrays: Mapping[str, Any], record: Mapping[str, Any]) -> Path:
    """Write a result to ``folder``, as a whole or not at all. An earlier result of this name is replaced.

    Args:
        folder: New or empty folder, or one of an earlier result.
        name: Name of both files, one of ``LAYOUTS``.
        arrays: Arrays; those that are None are left out.
        record: All other parts; names of rows become names that JSON can hold.

    Returns:
        The folder.

    Raises:
        OutputError: The folder holds other files, or can't be written to; or the parts do not fit together.
    """
    entries = {key: _plain(key, part) for key, part in record.items() if part is not None}
    present = {key: np.asarray(array, order="C") for key, array in arrays.items() if array is not None}
    if complaint := LAYOUTS[name].complaint(present, entries):
        raise OutputError(f"{LAYOUTS[name].noun} can't be saved that could not be loaded again: {complaint}.")
    numbers, text = _files(name)
    with atomic_directory(Path(folder), replaces=_files(name)) as fresh, writing(folder):
        (fresh / numbers).touch()
        mode = (fresh / numbers).stat().st_mode
        save_file(present, fresh / numbers)
        (fresh / numbers).chmod(mode)  # save_file writes files that no other user may read
        write_record(fresh / text, entries, format=RESULT_FORMAT, files=[numbers])
    return Path(folder)


@contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Say of an error of the operating system in which folder it came up.

    Raises:
        OutputError: A file can't be written: the disk may be full.
    """
    try:
        yield
    except OutputError:
        raise
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise OutputError(f"can't write to the folder {folder}: {reason}. Nothing there has changed.") from error


def load_result(folder: str | Path, name: str, make: Callable[..., T]) -> T:
    """Read a folder of ``save_result``, check all its parts, and make the result of them.

    Raises:
        OutputError: The files are missing or damaged, or were written by a later version.
    """
    layout, (numbers, text) = LAYOUTS[name], _files(name)
    try:
        record = read_record(Path(folder) / text, format=RESULT_FORMAT, files=[numbers])
        del record[FORMAT]
        arrays = {key: array[()] for key, array in load_file(Path(folder) / numbers).items()}
        if complaint := layout.complaint(arrays, record):
            raise OutputError(f"{complaint}.")
        return make(**record, **arrays)
    except Exception as error:
        kind = "" if isinstance(error, ShapaeError | OSError) else f"{type(error).__name__}: "
        reason = f"{kind}{one_line(error)}"
        raise OutputError(f"{folder} does not hold {layout.noun} that can be read: {reason}") from error


def _files(name: str) -> tuple[str, str]:
    return f"{name}.safetensors", f"{name}.json"


def _plain(name: str, part: Any) -> Any:
    """Convert an entry to what JSON can hold; objects of the user's become the names of their types.

    Raises:
        OutputError: It holds itself.
    """
    try:
        return plain(_plain_names(part) if name in NAMES else part, type_name, name)
    except RecursionError as error:
        raise OutputError(f"{name} can't be saved: it holds itself, or is nested too deeply.") from error


def _plain_names(names: Any) -> Any:
    """Convert names of rows, or a single name, to names that JSON can hold; see ``plain_name``."""
    named = [plain_name(name) for name in pd.Index(np.atleast_1d(names))]
    return named if np.ndim(names) else named[0]


def plain_name(name: Any) -> str | int | float:
    """Convert a name to one that JSON can hold: numbers and strings stay, all others become strings."""
    return name if isinstance(name, int | float | str) else str(name)
