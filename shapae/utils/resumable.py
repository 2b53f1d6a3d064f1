"""Folders of finished blocks, so that interrupted work continues where it was."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import gethostname
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from shapae.errors import OutputError
from shapae.utils.atomic import delete_scratch, place_first, put_file
from shapae.utils.records import checksum_of, plain, read_record, write_record
from shapae.utils.text import one_line

# Readers of tables in many files skip names that begin with an underscore.
MANIFEST, RECORDS = "_manifest.json", "_blocks"
# Number of the format, which a change of the files must raise.
FORMAT = 1
Arrays = Mapping[str, NDArray[Any]]


class BlockFiles(Protocol):
    """Files of blocks in one format."""

    def write(self, folder: Path, block: str, arrays: Arrays, facts: dict[str, Any]) -> list[Path]:
        """Write the arrays of a block, and what is known of it, over an earlier attempt; return its files."""

    def read(self, folder: Path, block: str) -> dict[str, NDArray[Any]]:
        """Read them again, with the same shapes and dtypes."""


class SafetensorFiles:
    """One safetensors file for each block."""

    def write(self, folder: Path, block: str, arrays: Arrays, facts: dict[str, Any]) -> list[Path]:
        """Write the arrays of a block."""
        path = folder / f"{block}.safetensors"
        put_file(path, lambda fresh: save_file(dict(arrays), fresh))
        return [path]

    def read(self, folder: Path, block: str) -> dict[str, NDArray[Any]]:
        """Read the arrays of a block."""
        arrays: dict[str, NDArray[Any]] = load_file(folder / f"{block}.safetensors")
        return arrays


class Resumable:
    """Finished blocks of a piece of work in a folder, each written as a whole or not at all.

    A block counts as finished when its record is there, with the checksums of its files, which are compared when the
    work is continued.

    Args:
        folder: New or empty folder, or the folder of the same work; None to keep nothing.
        task: Description of the work, which must be the same when it is continued.
        plan: Cut of the work into blocks. A folder of the same work has its own, see ``plan``.
        files: Format of the blocks.

    Attributes:
        plan: The plan of the folder, with which the work is continued.

    Raises:
        OutputError: The folder holds other files, or blocks of other work, or can't be written to.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        task: Mapping[str, Any],
        plan: Mapping[str, Any],
        files: BlockFiles | None = None,
    ) -> None:
        self.folder, self.plan, self._files = (
            None if folder is None else Path(folder),
            dict(plan),
            files or SafetensorFiles(),
        )
        if self.folder is None:
            return
        with _naming(self.folder):
            if not (self.folder / MANIFEST).exists():
                self._begin(self.folder, {"task": dict(task), "plan": dict(plan)})
            self.plan = self._continued(self.folder, dict(task))

    def _begin(self, folder: Path, entries: dict[str, dict[str, Any]]) -> None:
        """Make the folder, which another process may begin at the same time, or has begun before it was killed.

        Raises:
            OutputError: It holds other files.
        """
        folder.mkdir(parents=True, exist_ok=True)
        refuse_others(folder)
        (folder / RECORDS).mkdir(exist_ok=True)
        put_file(folder / MANIFEST, lambda fresh: _write_record(fresh, entries), place=place_first)

    def _continued(self, folder: Path, task: dict[str, Any]) -> dict[str, Any]:
        written = read_manifest(folder)
        before, plan = written["task"], written["plan"]
        differing = [name for name in {**before, **task} if not _same(before.get(name), task.get(name))]
        if differing:
            raise OutputError(
                f"{folder} holds the blocks of other work: {', '.join(differing)} differs. Give a new or "
                f"empty folder, or the same input as before."
            )
        self.sweep()
        return plan

    def sweep(self) -> None:
        """Delete scratch of processes of this machine that were killed."""
        for parent in () if self.folder is None else (self.folder, self.folder / RECORDS):
            delete_scratch(parent)

    def load(self, block: str) -> dict[str, NDArray[Any]] | None:
        """Load the arrays of a block; None if it is not finished, or its files are damaged."""
        if self.folder is None:
            return None
        try:
            return read_block(self.folder, block, self._files)[0]
        except OutputError:
            return None

    def is_finished(self, block: str) -> bool:
        """Return whether a block is there, and its files are whole."""
        if self.folder is None:
            return False
        try:
            check_files(self.folder, block, read_facts(self.folder, block))
        except OutputError:
            return False
        return True

    def save(self, block: str, arrays: Arrays, **facts: Any) -> None:
        """Write the arrays of a finished block.

        Args:
            block: Name of the block.
            arrays: Its arrays.
            facts: Further entries of its record, which JSON can hold.

        Raises:
            OutputError: The files can't be written.
        """
        if self.folder is None:
            return
        try:
            paths = self._files.write(self.folder, block, arrays, facts)
            sums = {path.relative_to(self.folder).as_posix(): checksum_of(path) for path in paths}
            record = {"sha256": sums, **facts}
            put_file(self.folder / RECORDS / f"{block}.json", lambda fresh: _write_record(fresh, record))
        except Exception as error:  # of the format
            raise OutputError(
                f"can't write a block to the folder {self.folder}: {one_line(error).rstrip('.')}. The finished "
                f"blocks are kept: the same call continues."
            ) from error

    def finish(self) -> None:
        """Delete the blocks after the whole work is done; files of others stay, and what can't be deleted."""
        if self.folder is None:
            return
        with suppress(OSError):  # the result of the work must not be lost
            for block in finished_blocks(self.folder):
                for name in read_facts(self.folder, block)["sha256"]:
                    (self.folder / name).unlink(missing_ok=True)
            shutil.rmtree(self.folder / RECORDS)
            (self.folder / MANIFEST).unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()


def refuse_others(folder: Path) -> None:
    """Check, before any work, that a folder is new or empty, or that of blocks.

    Raises:
        OutputError: It holds other files, or is no folder.
    """
    with _naming(folder):
        if not folder.exists() or (folder / MANIFEST).exists():
            return
        begun = f".{gethostname()}-"
        others = [path for path in folder.iterdir() if path.name != RECORDS and not path.name.startswith(begun)]
        if (others or finished_blocks(folder)) and not (folder / MANIFEST).exists():  # another process began it by now
            raise OutputError(f"{folder} holds other files. Give a new or empty folder.")


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Say of which folder an error is.

    Raises:
        OutputError: The folder can't be read or written.
    """
    try:
        yield
    except OutputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"can't write to the folder {folder}: {reason}.") from error


def nearly(numbers: list[float], within: float) -> dict[str, Any]:
    """Describe numbers that may differ by a fraction ``within`` of themselves, and of the largest of them."""
    return {"numbers": numbers, "within": within}


def _same(before: Any, now: Any) -> bool:
    """Return whether an entry of a task, read from a manifest, is the one of now."""
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys() == nearly([], 0).keys():
        one, other = np.array(before["numbers"]), np.array(now["numbers"])
        bound = now["within"] * (np.abs(other) + np.abs(other).max(initial=0))
        return one.shape == other.shape and bool((np.abs(one - other) <= bound).all())
    return bool(before == plain(now))


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the ``task`` and the ``plan`` of a folder of blocks.

    Raises:
        OutputError: There is none that can be read, or it is of another version.
    """
    try:
        written = _read(folder / MANIFEST, "task", "plan")
    except OSError as error:
        raise OutputError(f"{folder} holds no blocks that can be read: {one_line(error)}") from error
    return {name: written[name] for name in ("task", "plan")}


def read_block(folder: Path, block: str, files: BlockFiles) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the arrays of a finished block, and its record.

    Args:
        folder: Folder of a ``Resumable``.
        block: Name of the block.
        files: Format of the blocks.

    Raises:
        OutputError: The block is not finished, or its files are damaged.
    """
    record = read_facts(folder, block)
    check_files(folder, block, record)
    try:
        return files.read(folder, block), record
    except Exception as error:  # of the format
        raise OutputError(f"block {block} of {folder} is damaged: {one_line(error)}") from error


def check_files(folder: Path, block: str, record: Mapping[str, Any]) -> None:
    """Check the files of a block against the checksums of its record.

    Raises:
        OutputError: Some are missing or damaged.
    """
    for name, known in record["sha256"].items():
        try:
            found = checksum_of(folder / name)
        except OSError as error:
            raise OutputError(f"block {block} of {folder} is damaged: {name}: {error.strerror or error}.") from error
        if found != known:
            raise OutputError(f"block {block} of {folder} is damaged: {name} is not as it was written.")


def read_facts(folder: Path, block: str) -> dict[str, Any]:
    """Read the record of a block.

    Raises:
        OutputError: The block is not finished, or its record is damaged.
    """
    path = folder / RECORDS / f"{block}.json"
    if not path.exists():
        raise OutputError(f"block {block} of {folder} is not finished: the call that wrote it continues.")
    try:
        record = _read(path, "sha256")
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in record["sha256"]):
            raise OutputError("it names files of other folders.")
        return record
    except OSError as error:
        raise OutputError(f"the record of block {block} of {folder} is damaged: {one_line(error)}") from error


def _read(path: Path, *objects: str) -> dict[str, Any]:
    """Read a record that has some entries which are objects.

    Raises:
        OutputError: It is damaged, or something else.
        OSError: It can't be read.
    """
    record = read_record(path, format=FORMAT, files=())
    missing = [name for name in objects if not isinstance(record.get(name), dict)]
    if missing:
        raise OutputError(f"{path.name} is damaged, or not of shapae: it has no {' and no '.join(missing)}.")
    return record


def finished_blocks(folder: Path) -> set[str]:
    """List the names of the blocks that have a record."""
    return {path.stem for path in (folder / RECORDS).glob("*.json")}


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    write_record(path, plain(record), format=FORMAT, files=())
