"""Files that are in place as a whole or not at all, and the scratch of processes that were killed."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from typing import Any


def put_file(path: Path, write: Callable[[Path], Any], place: Callable[[Path, Path], Any] = Path.replace) -> None:
    """Write a file beside its place, and then move it there by ``place``."""
    with scratch_in(path.parent) as scratch:
        fresh = scratch / path.name
        write(fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        place(fresh, path)


def place_first(fresh: Path, path: Path) -> None:
    """Move a file to its place, unless another process was faster: its file stays."""
    if path.exists():
        return
    try:
        os.link(fresh, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        fresh.replace(path)


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
    """Make a hidden folder, which is deleted afterwards; its name says which process made it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{gethostname()}-{os.getpid()}-") as scratch:
        yield Path(scratch)


def delete_scratch(folder: Path) -> None:
    """Delete what ``scratch_in`` left behind in processes of this machine that were killed."""
    for path in folder.glob(f".{gethostname()}-*"):
        process = path.name.removeprefix(f".{gethostname()}-").partition("-")[0]
        if process.isdecimal() and not is_running(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def is_running(process: int) -> bool:
    """Return whether there is a process of this number; also True where this can't be told."""
    if os.name != "posix":  # elsewhere, signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
