"""Atomic output folders and files: written completely or not at all, and nothing else is touched."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shapae.errors import OutputError
from shapae.utils.placing import Identity, entries, identify, kind_of, put_file, put_folder
from shapae.utils.scratch import scratch_folder, scratch_prefix

# Largest number of characters of a path in a message.
LONGEST_PATH = 200
# Folder that some file systems put into an empty volume.
OF_VOLUMES = "lost+found"


@contextmanager
def atomic_directory(
    folder: Path, *, replaces: Collection[str] = (), remedy: str = "Give a new or empty folder."
) -> Iterator[Path]:
    """Create an empty folder for output; it becomes ``folder`` on success and is deleted on an error.

    Files that appear in ``folder`` in the meantime stay. A link to a folder stays, and so does the top of a volume,
    into which the files are moved one by one.

    Args:
        folder: The final folder; missing parents are created.
        replaces: Patterns of the paths of files that ``folder`` may already hold, such as "rows/*.png"; they are
            replaced.
        remedy: Advice if ``folder`` holds other files.

    Yields:
        The empty folder.

    Raises:
        OutputError: ``folder`` holds other files, is no folder, or can't be written to. Or the finished results can't
            be put there: then it says where they are.
    """
    with _looking_up(folder):
        target = folder.resolve()
        known = _check_folder(folder, target, replaces, remedy)
    with scratch_folder(target) as scratch:
        yield scratch.unfinished
        put_folder(scratch, target, known)


@contextmanager
def _looking_up(path: Path) -> Iterator[None]:
    """Say of which path an error is.

    Raises:
        OutputError: The path can't be looked up.
    """
    try:
        yield
    except OutputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # no permission, a loop of links, a name that no file can have
        shown, reason = ascii(str(path)), getattr(error, "strerror", None) or error
        shown = shown if len(shown) < LONGEST_PATH else f"{shown[:LONGEST_PATH]}..."
        raise OutputError(f"no results can be written to {shown}: {reason}. Give another name.") from error


def _check_folder(folder: Path, target: Path, replaces: Collection[str], remedy: str) -> dict[str, Identity | None]:
    """Check that ``folder`` holds no other files than ``replaces``; the arguments are those of ``atomic_directory``.

    Returns:
        The files that are replaced.

    Raises:
        OutputError: ``folder`` holds other files, is no folder, or is the working directory.
    """
    if not target.is_dir():
        if identify(target) is not None:
            raise OutputError(f"{folder} is a {kind_of(target)}. Give a new or empty folder.")
        return {}
    with suppress(FileNotFoundError):  # a working directory that was deleted
        _refuse_working_directory(folder, target)
    found = dict(entries(target, replaces))
    stays = (scratch_prefix(target.name), OF_VOLUMES)
    other = [path for path, is_ours in found.items() if not is_ours and not path.startswith(stays)]
    if other:
        raise OutputError(f"{folder} already exists and holds {', '.join(other[:5])}. {remedy}")
    return {path: identify(target / path) for path, is_ours in found.items() if is_ours}


def _refuse_working_directory(folder: Path, target: Path) -> None:
    if Path.cwd().is_relative_to(target):
        verb = "is" if Path.cwd() == target else "holds"
        raise OutputError(f"{folder} {verb} the working directory, which can't be replaced. Give a folder inside it.")


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
        OutputError: ``path`` is a folder, or a file that is not replaced, or can't be made. Or the finished file can't
            be put there: then it says where it is.
    """
    with _looking_up(path):
        target = path.resolve()
        known = _check_file(path, target, replaces, remedy)
    with scratch_folder(target) as scratch:
        yield scratch.unfinished / target.name
        put_file(scratch, target, known)


def _check_file(path: Path, target: Path, replaces: str | None, remedy: str) -> Identity | None:
    """Check that ``path`` is no file, or one that is replaced; the arguments are those of ``atomic_file``.

    Returns:
        The file that is replaced; None if there is none.

    Raises:
        OutputError: ``path`` is a folder, or another file.
    """
    if target.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file.")
    known = identify(target)
    if known is not None and not (replaces is not None and target.is_file() and _begins_with(target, replaces)):
        raise OutputError(f"{path} already exists{'' if replaces is None else ' and holds something else'}. {remedy}")
    return known


def _begins_with(path: Path, text: str) -> bool:
    with path.open("rb") as file:
        return file.read(len(text.encode())) == text.encode()
