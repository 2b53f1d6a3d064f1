"""Results in folders: arrays as safetensors, everything else as JSON; nothing in them is run."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from shapae.errors import OutputError
from shapae.utils.directories import atomic_directory

T = TypeVar("T")
# Parts of results that are names of rows.
NAMES = ("row_names", "train_names")


def save_result(folder: str | Path, name: str, arrays: Mapping[str, Any], record: Mapping[str, Any]) -> Path:
    """Write a result to ``folder``, as a whole or not at all. An earlier result of this name is replaced.

    Args:
        folder: New or empty folder, or one of an earlier result.
        name: Name of both files.
        arrays: Arrays; those that are None are left out.
        record: All other parts; names of rows become names that JSON can hold.

    Returns:
        The folder.

    Raises:
        OutputError: The folder holds other files.
    """
    entries = {key: part for key, part in record.items() if part is not None}
    entries |= {key: _plain_names(entries[key]) for key in NAMES if key in entries}
    with atomic_directory(Path(folder), replaces=_files(name)) as fresh:
        present = {key: np.asarray(array, order="C") for key, array in arrays.items() if array is not None}
        save_file(present, fresh / _files(name)[0])
        text = json.dumps(entries, indent=1, ensure_ascii=False)
        (fresh / _files(name)[1]).write_text(text, encoding="utf-8")
    return Path(folder)


def load_result(folder: str | Path, name: str, make: Callable[..., T]) -> T:
    """Read a folder of ``save_result``, and make the result of all its parts.

    Raises:
        OutputError: The files are missing, or they are not files of ``save_result``.
    """
    arrays, record = (Path(folder) / file for file in _files(name))
    try:
        fields: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return make(**(fields | {key: array[()] for key, array in load_file(arrays).items()}))
    except Exception as error:
        what = "an explanation" if name == "explanation" else name
        raise OutputError(f"{folder} does not hold {what} that can be read: {error}") from error


def _files(name: str) -> tuple[str, str]:
    return f"{name}.safetensors", f"{name}.json"


def _plain_names(names: Any) -> Any:
    """Convert names of rows, or a single name, to names that JSON can hold; see ``plain_name``."""
    plain = [plain_name(name) for name in pd.Index(np.atleast_1d(names))]
    return plain if np.ndim(names) else plain[0]


def plain_name(name: Any) -> str | int | float:
    """Convert a name to one that JSON can hold: numbers and strings stay, all others become strings."""
    return name if isinstance(name, int | float | str) else str(name)
