"""Records: what JSON holds beside arrays, with checksums of itself and of all files that belong to it."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shapae.errors import OutputError
from shapae.utils.text import one_line
from shapae.utils.version import __version__

# Entries of a record that describe its files; a record of an earlier format has none of them, or only the first.
FORMAT, WRITTEN_BY, FILES, CHECKSUM = "format", "written_by", "files", "checksum"
# Checksum of a record, in its text, while it is computed.
BLANK = "0" * 64
# Types that JSON writes as text.
AS_TEXT = (os.PathLike, torch.dtype, torch.device, np.dtype, date)


def plain(value: Any, others: Callable[[Any], Any] | None = None, name: str = "") -> Any:
    """Convert an object to text, numbers, lists and dicts that JSON holds.

    Numbers of numpy and torch become Python's; paths, dtypes, devices and dates become text, and so do NaN and
    infinity, which JSON does not have; tuples and sets become lists.

    Args:
        value: The object.
        others: Converts objects of all other types; None to refuse them.
        name: Name of the object, for messages.

    Raises:
        OutputError: The object, or a part of it, is of another type.

    >>> plain({"seed": np.int64(3), "sizes": (1, 2.5), "tolerance": float("inf"), "dtype": torch.float32})
    {'seed': 3, 'sizes': [1, 2.5], 'tolerance': 'inf', 'dtype': 'torch.float32'}
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        value = value.tolist()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each, others, f"{name}[{key!r}]") for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each, others, f"{name}[{place}]") for place, each in enumerate(value)]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (str, *AS_TEXT)):
        return str(value)
    if others is None:
        raise OutputError(f"{name} is a {type(value).__name__}, which can't be written. Give text or numbers.")
    return others(value)


def type_name(value: Any) -> str:
    """Name the type of an object that JSON does not hold."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def to_json(value: Any) -> str:
    """Convert to JSON that every reader takes; objects of other types become the names of their types."""
    return json.dumps(plain(value, type_name), allow_nan=False)


def write_record(path: Path, record: Mapping[str, Any], *, format: int, files: Collection[str]) -> None:
    """Write a record as JSON, with the checksums of itself and of the files beside it.

    Args:
        path: The file.
        record: Text, numbers, lists and dicts.
        format: Number of the format.
        files: Names of the files beside it.
    """
    sums = {name: checksum_of(path.with_name(name)) for name in files}
    signed = {FORMAT: format, WRITTEN_BY: __version__, **record, FILES: sums, CHECKSUM: BLANK}
    text = json.dumps(signed, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        data = json.dumps(signed, indent=1, allow_nan=False).encode()
    path.write_bytes(_sign(data))


def _sign(data: bytes) -> bytes:
    """Replace the blank at the end of a record by the checksum of its text."""
    begin, _, end = data.rpartition(BLANK.encode())
    return begin + hashlib.sha256(data).hexdigest().encode() + end


def checksum_of(path: Path) -> str:
    """Compute the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_record(path: Path, *, format: int, files: Collection[str]) -> dict[str, Any]:
    """Read a record, and check it and the files beside it.

    Args:
        path: The file.
        format: Number of the format that is read; earlier formats without checksums are read, too.
        files: Names of the files beside it.

    Returns:
        The record, with its format.

    Raises:
        OutputError: A file is missing or damaged, or was written by a later version.
    """
    check_file(path)
    data = path.read_bytes()
    record = _parse(data, path.name)
    known = record.get(FORMAT, 1)
    author = record.get(WRITTEN_BY)
    if isinstance(known, int) and known > format and author != __version__:
        raise OutputError(
            f"{path.name} was written by shapae {author} in format {known}, and this is shapae {__version__}, which "
            f"reads format {format}. Update: pip install --upgrade shapae."
        )
    for name in files:
        check_file(path.with_name(name))
    if known == 1 and not {FILES, CHECKSUM, WRITTEN_BY} & record.keys():  # of a version that wrote no checksums
        return record | {FORMAT: 1}
    _check_sums(data, record, path)
    if known != format or record[FILES].keys() != {*files}:
        raise OutputError(f"{path.name} is not a record of {' and '.join(files)} in format {format}.")
    return {name: each for name, each in record.items() if name not in (WRITTEN_BY, FILES, CHECKSUM)}


def check_file(path: Path) -> None:
    """Check that there is a file that can be read.

    Raises:
        OutputError: There is none, or it is a pipe or a device, which may be read for ever.
    """
    if not path.exists():
        raise OutputError(f"there is no {path.name}.")
    if not path.is_file():
        raise OutputError(f"{path.name} is no file.")


def _parse(data: bytes, name: str) -> dict[str, Any]:
    """Parse a JSON object whose names are all different; records of the first format may have NaN.

    Raises:
        OutputError: It is none.
    """
    constants: list[str] = []

    def parse_constant(constant: str) -> float:
        constants.append(constant)
        return float(constant)

    try:
        record = json.loads(data.decode(), object_pairs_hook=_to_dict, parse_constant=parse_constant)
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{name} is damaged: it is not JSON ({type(error).__name__}: {one_line(error)}).") from error
    if not isinstance(record, dict):
        raise OutputError(f"{name} is damaged: it holds a {type(record).__name__}, not an object.")
    if constants and record.get(FORMAT, 1) != 1:
        raise OutputError(f"{name} is damaged: it holds {constants[0]}, which JSON does not have.")
    return record


def _to_dict(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} is there twice")
        found[name] = value
    return found


def _check_sums(data: bytes, record: Mapping[str, Any], path: Path) -> None:
    checksum, sums = record.get(CHECKSUM), record.get(FILES)
    blank = data.replace(str(checksum).encode("utf-8", "replace"), BLANK.encode()) if checksum else data
    if hashlib.sha256(blank).hexdigest() != checksum or not isinstance(sums, dict):
        raise OutputError(f"{path.name} is damaged: it is not as it was written, by its checksum.")
    for name, known in sums.items():
        if checksum_of(path.parent / name) != known:
            raise OutputError(f"{name} is damaged, or of another result: its checksum is not that in {path.name}.")
