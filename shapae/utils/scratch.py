"""Scratch folders in which results are written, named after the results and after the process that writes them."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shapae.errors import OutputError, OutputWarning
from shapae.utils.atomic import is_running

# Folders within a scratch folder: results that are being written, finished results, and results that were replaced.
UNFINISHED, FINISHED, EARLIER = "unfinished", "finished", "earlier"
# Largest number of bytes of a name that the name of a scratch folder repeats; file systems take 255 in all.
LONGEST = 100


@dataclass(eq=False)
class Scratch:
    """A scratch folder.

    Attributes:
        folder: Its path.
        is_needed: Whether it holds finished or earlier results that could not be moved, so that it must stay.
    """

    folder: Path
    is_needed: bool = False

    @property
    def unfinished(self) -> Path:
        """Folder of results that are being written."""
        return self.folder / UNFINISHED

    @property
    def finished(self) -> Path:
        """Folder of finished results."""
        return self.folder / FINISHED

    @property
    def earlier(self) -> Path:
        """Folder of results that are being replaced."""
        return self.folder / EARLIER


def scratch_prefix(name: str) -> str:
    """Begin the names of all scratch folders of results of this name; the number of a process follows."""
    return f".{os.fsdecode(os.fsencode(name)[:LONGEST])}.shapae-"


@contextmanager
def scratch_folder(target: Path) -> Iterator[Scratch]:
    """Make a scratch folder from which results can be moved to their place; a byte is written to it.

    It is beside the place; if that can't be written to, or is on another file system, it is inside. Afterwards it is
    deleted, unless it is needed.

    Args:
        target: Folder or file of the results; missing parents are created.

    Raises:
        OutputError: Nothing can be written there.
    """
    _report_left_behind(target)
    made = [folder for folder in target.parents if not folder.exists()]
    scratch = None
    try:
        scratch = Scratch(_make(target))
        yield scratch
    finally:
        if scratch is not None and not scratch.is_needed:
            shutil.rmtree(scratch.folder, ignore_errors=True)
        for folder in made:  # from the innermost to the outermost
            with suppress(OSError):  # it has files, or was never made
                folder.rmdir()


def _make(target: Path) -> Path:
    homes = [target.parent, *([target] if target.is_dir() else [])]
    for home in homes:
        try:
            return _try(home, target)
        except OSError as error:
            if home == homes[-1]:
                raise OutputError(f"can't write to the folder {home}: {error.strerror or error}.") from error
    raise AssertionError  # the last home returns or raises


def _try(home: Path, target: Path) -> Path:
    """Make a scratch folder, write a byte to it, and move the file into ``target`` and away, if that is a folder."""
    home.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=home, prefix=f"{scratch_prefix(target.name)}{os.getpid()}-"))
    probe = moved = scratch / f"{scratch.name}.probe"
    try:
        probe.write_bytes(b"0")
        if target.is_dir():
            moved = target / probe.name
            probe.rename(moved)
        moved.unlink()
        (scratch / UNFINISHED).mkdir()
        return scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):
            moved.unlink()
        raise


def _report_left_behind(target: Path) -> None:
    """Warn of scratch folders whose process has ended."""
    prefix = scratch_prefix(target.name)
    for home in (target.parent, target):
        with suppress(OSError):  # not a folder
            for name in sorted(os.listdir(home)):
                process = name.removeprefix(prefix).partition("-")[0]
                if name.startswith(prefix) and process.isdecimal() and not is_running(int(process)):
                    warnings.warn(_describe(home / name, process), OutputWarning, stacklevel=2)


def _describe(scratch: Path, process: str) -> str:
    held = {
        "finished results": scratch / FINISHED,
        "the results that these were to replace": scratch / EARLIER,
    }
    found = [f"{noun} in {place}" for noun, place in held.items() if place.exists()]
    advice = f"It holds {', and '.join(found)}: move them" if found else "It holds no finished results: delete it"
    return f"an earlier run, process {process}, was killed and left the folder {scratch}. {advice}."
