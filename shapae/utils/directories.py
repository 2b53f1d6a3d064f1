"""Atomic output folders and files: written completely or not at all."""

import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from shapae.errors import OutputError


@contextmanager
def atomic_directory(
    folder: Path, *, replaces: Collection[str] = (), remedy: str = "Give a new or empty folder."
) -> Iterator[Path]:
    """Create an empty folder for output; it becomes ``folder`` on success and is deleted on an error.

    Args:
        folder: The final folder; missing parents are created.
        replaces: Names of files that ``folder`` may already hold; they are replaced.
        remedy: Advice if ``folder`` holds other files.

    Yields:
        The empty folder.

    Raises:
        OutputError: ``folder`` holds other files, or can't be made.
    """
    check_output_directory(folder, replaces, remedy)
    folder = folder.resolve()  # a symbolic link of the user's stays, and its target is replaced
    with _scratch_beside(folder) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        shutil.move(fresh, folder)


def check_output_directory(folder: Path, replaces: Collection[str], remedy: str) -> None:
    """Check that ``folder`` holds no other files than ``replaces``; the arguments are those of ``atomic_directory``.

    Raises:
        OutputError: ``folder`` holds other files, is a file, or is the working directory.
    """
    if folder.resolve() == Path.cwd():
        raise OutputError(f"{folder} is the working directory, which can't be replaced. Give a folder inside it.")
    if folder.is_file():
        raise OutputError(f"{folder} is a file. Give a new or empty folder.")
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    other = [name for name in names if name not in replaces]
    if other:
        raise OutputError(f"{folder} already exists and holds {', '.join(other[:5])}. {remedy}")


def _scratch_beside(path: Path) -> "tempfile.TemporaryDirectory[str]":
    """Make a temporary folder beside a path; missing parents are created.

    Raises:
        OutputError: It can't be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OutputError(f"can't write to the folder {path.parent}: {error.strerror or error}.") from error


@contextmanager
def atomic_file(path: Path, *, replaces: str | None = None, remedy: str = "Give a new file.") -> Iterator[Path]:
    """Give a path to write to; the file becomes ``path`` on success and is deleted on an error.

    Args:
        path: The final file; missing parents are created.
        replaces: Beginning of the text of an earlier file that may be replaced; None if no file may.
        remedy: Advice if ``path`` is another file.

    Yields:
        Path of the new file, with the same name.

    Raises:
        OutputError: ``path`` is a folder, or a file that is not replaced, or can't be made.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file.")
    if path.exists() and not (replaces is not None and path.is_file() and _begins_with(path, replaces)):
        raise OutputError(f"{path} already exists{'' if replaces is None else ' and holds something else'}. {remedy}")
    path = path.resolve()
    with _scratch_beside(path) as scratch:
        yield Path(scratch) / path.name
        (Path(scratch) / path.name).replace(path)


def _begins_with(path: Path, text: str) -> bool:
    with path.open("rb") as file:
        return file.read(len(text.encode())) == text.encode()
