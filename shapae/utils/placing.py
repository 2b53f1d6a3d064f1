"""Finished results are moved to their place, and earlier results away; or all is as it was."""

import os
import shutil
import stat
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import TypeAlias

from shapae.errors import OutputError, OutputWarning
from shapae.utils.scratch import Scratch

# Number, time of the last change and size of a file, which tell whether it is still the same.
Identity: TypeAlias = tuple[int, int, int]


def identify(path: Path) -> Identity | None:
    """Identify a file; None if there is none."""
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


class Moves:
    """Files and folders that were moved, so that all of them can be moved back."""

    def __init__(self) -> None:
        self._begun: list[tuple[Path, Path]] = []

    def move(self, source: Path, place: Path) -> None:
        """Move ``source`` to ``place``, whose missing parents are created.

        Raises:
            FileExistsError: Something is there.
        """
        if os.path.lexists(place):
            raise FileExistsError(0, f"{place} has appeared in the meantime")
        place.parent.mkdir(parents=True, exist_ok=True)
        self._begun.append((source, place))  # before it is moved: Ctrl-C may come right afterwards
        source.rename(place)

    def undo(self) -> None:
        """Move everything back, the last one first."""
        while self._begun:
            source, place = self._begun[-1]
            if os.path.lexists(place) and not os.path.lexists(source):
                with suppress(OSError):
                    place.rename(source)
            self._begun.pop()


def entries(folder: Path, ours: Collection[str], inner: str = "") -> Iterator[tuple[str, bool]]:
    """List files, links, and folders that are not ours as a whole.

    Args:
        folder: The folder.
        ours: Patterns of the paths of our files, relative to ``folder``.
        inner: Path of the inner folder to begin with.

    Yields:
        Path relative to ``folder``, and whether it is one of our files.
    """
    for entry in sorted(os.scandir(folder / inner), key=lambda entry: entry.name):
        path = f"{inner}{entry.name}"
        if entry.is_dir(follow_symlinks=False) and any(each.startswith(f"{path}/") for each in ours):
            yield from entries(folder, ours, f"{path}/")
        else:
            yield path, entry.is_file(follow_symlinks=False) and any(fnmatchcase(path, each) for each in ours)


def put_folder(scratch: Scratch, folder: Path, known: Mapping[str, Identity | None]) -> None:
    """Put finished results into their place. Files of others stay, and earlier ones of ours go.

    Args:
        scratch: Scratch folder, beside ``folder`` or inside it.
        folder: Place of the results, which may exist.
        known: From the paths of the files that are replaced to their identities before the work.

    Raises:
        OutputError: They can't be put there. The error says where they are, and ``folder`` is as it was.
    """
    put = _put_files if scratch.folder.parent == folder else _put_whole
    with _keeping(scratch, folder) as moves:
        put(scratch, folder, known, moves)


def put_file(scratch: Scratch, path: Path, known: Identity | None) -> None:
    """Put a finished file into its place.

    Args:
        scratch: Scratch folder, whose results are a file of this name.
        path: Place of the file.
        known: Identity of the file that is replaced; None if there was none.

    Raises:
        OutputError: It can't be put there. The error says where it is, and the earlier file is as it was.
    """
    with _keeping(scratch, path) as moves:
        if known is not None and identify(path) == known:
            shutil.copymode(path, scratch.finished / path.name)
            (scratch.finished / path.name).replace(path)
        else:
            moves.move(scratch.finished / path.name, path)


@contextmanager
def _keeping(scratch: Scratch, place: Path) -> Iterator[Moves]:
    """Lend moves for finished results. After an error all is moved back, and the results are kept where they are seen.

    Raises:
        OutputError: The operating system refuses a move.
    """
    moves = Moves()
    try:
        scratch.unfinished.rename(scratch.finished)
        yield moves
    except BaseException as error:
        scratch.is_needed = True
        try:
            moves.undo()
        except BaseException:  # Ctrl-C again
            moves.undo()
        if not _holds_files(scratch.folder):  # they are in their place
            scratch.is_needed = False
            raise
        kept = _keep(scratch, place)
        scratch.is_needed = _holds_files(scratch.folder)
        message = f"the results are finished, but they can't be put into {place}: {_reason(error)}. They are in {kept}."
        if isinstance(error, OSError):
            raise OutputError(message) from error
        warnings.warn(message, OutputWarning, stacklevel=2)
        raise


def _put_whole(scratch: Scratch, folder: Path, known: Mapping[str, Identity | None], moves: Moves) -> None:
    """Put a whole folder into its place, in which there may be another."""
    finished, earlier = scratch.finished, scratch.earlier
    if folder.exists():
        shutil.copymode(folder, finished)
        moves.move(folder, earlier)
        for path, is_ours in [*entries(earlier, [*map(escape, known)])]:
            if not (is_ours and identify(earlier / path) == known[path]):
                moves.move(earlier / path, finished / path)
    moves.move(finished, folder)


def _put_files(scratch: Scratch, folder: Path, known: Mapping[str, Identity | None], moves: Moves) -> None:
    """Put files into a folder that stays, as the top of a volume does."""
    for path, identity in known.items():
        if identify(folder / path) == identity:
            moves.move(folder / path, scratch.earlier / path)
    for source in sorted(path for path in scratch.finished.rglob("*") if not path.is_dir()):
        moves.move(source, folder / source.relative_to(scratch.finished))


def _keep(scratch: Scratch, place: Path) -> Path:
    """Move finished results beside their place, or into it, so that they are seen; or leave them where they are."""
    ready = scratch.finished if scratch.finished.exists() else scratch.unfinished
    homes = [place.parent, *([place] if place.is_dir() else [])]
    names = [f"{place.name}.finished{number}" for number in ("", *range(2, 100))]
    for kept in (home / name for home in homes for name in names):
        if not os.path.lexists(kept):
            with suppress(OSError):
                return ready.rename(kept)
    return ready


def _holds_files(folder: Path) -> bool:
    return any(not path.is_dir() or path.is_symlink() for path in folder.rglob("*"))


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return str(error.strerror or error)
    return "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__


def kind_of(path: Path) -> str:
    """Name the kind of a file that is no folder."""
    mode = path.stat().st_mode
    kinds = {"device": stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "pipe": stat.S_ISFIFO(mode)}
    kinds["socket"] = stat.S_ISSOCK(mode)
    return next((kind for kind, found in kinds.items() if found), "file")
