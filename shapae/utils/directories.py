"""Folders that are written whole or not at all."""

import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from shapae.errors import OutputError


@contextmanager
def atomic_directory(folder: Path, *, replaces: Collection[str] = ()) -> Iterator[Path]:
    """An empty folder to write to, which becomes ``folder`` when all went well and vanishes otherwise.

    Args:
        folder: Where the result goes; its parents are made.
        replaces: What ``folder`` may hold already, and lose.

    Yields:
        The folder to write to.

    Raises:
        OutputError: ``folder`` holds something else.
    """
    check_output_directory(folder, replaces)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        shutil.move(fresh, folder)


def check_output_directory(folder: Path, replaces: Collection[str] = ()) -> None:
    """Refuse a ``folder`` that holds something that is not in ``replaces``.

    Raises:
        OutputError: It does, or it is a file.
    """
    if folder.resolve() == Path.cwd():
        raise OutputError(f"{folder} is the folder that this runs in, which can't be replaced; give one inside of it.")
    if folder.is_file():
        raise OutputError(f"{folder} is a file; give a folder that is new or empty.")
    held = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    other = [name for name in held if name not in replaces]
    if other:
        raise OutputError(f"{folder} is there already and holds {', '.join(other[:5])}; give a new or empty folder.")
