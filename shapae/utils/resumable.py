"""Folders of finished blocks, so that interrupted work continues where it was."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from shapae.errors import OutputError
from shapae.utils.text import one_line

MANIFEST = "manifest.json"
SUFFIX = ".block"


class Resumable:
    """Finished blocks of a piece of work in a folder, each written as a whole or not at all.

    Args:
        folder: New or empty folder, or the folder of the same work; None to keep nothing.
        task: Description of the work, which must be the same when it is continued.
        plan: Cut of the work into blocks. A folder of the same work has its own, see ``plan``.

    Attributes:
        plan: The plan of the folder, with which the work is continued.

    Raises:
        OutputError: The folder holds other files, or blocks of other work, or can't be written to.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, task: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        self.folder, self.plan = None if folder is None else Path(folder), dict(plan)
        if self.folder is None:
            return
        manifest = self.folder / MANIFEST
        if manifest.exists():
            self.plan = self._continued(manifest, dict(task))
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise OutputError(f"{folder} holds other files. Give a new or empty folder.")
            self._put(MANIFEST, lambda path: path.write_text(json.dumps({"task": task, "plan": plan}, indent=1)))
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"can't write to the folder {folder}: {error.strerror or error}.") from error

    def _continued(self, manifest: Path, task: dict[str, Any]) -> dict[str, Any]:
        try:
            written = json.loads(manifest.read_text(encoding="utf-8"))
            before, plan = written["task"], dict(written["plan"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{manifest} can't be read: {error}. Give a new or empty folder.") from error
        differing = [name for name in {**before, **task} if before.get(name) != json.loads(json.dumps(task.get(name)))]
        if differing:
            raise OutputError(
                f"{manifest.parent} holds the blocks of other work: {', '.join(differing)} differs. Give a new or "
                f"empty folder, or the same input as before."
            )
        return plan

    def load(self, block: str) -> dict[str, NDArray[Any]] | None:
        """Load the arrays of a block; None if it is not finished, or its file is damaged."""
        if self.folder is None:
            return None
        try:
            return load_file(self.folder / f"{block}{SUFFIX}")
        except (OSError, SafetensorError):
            return None

    def save(self, block: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the arrays of a finished block.

        Raises:
            OutputError: The file can't be written.
        """
        if self.folder is None:
            return
        try:
            self._put(f"{block}{SUFFIX}", lambda path: save_file(dict(arrays), path))
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"can't write a block to the folder {self.folder}: {one_line(error).rstrip('.')}. The finished "
                f"blocks are kept: the same call continues."
            ) from error

    def finish(self) -> None:
        """Delete the blocks after the whole work is done; files of others stay, and what can't be deleted."""
        if self.folder is None:
            return
        with suppress(OSError):  # the result of the work must not be lost
            for path in (*self.folder.glob(f"*{SUFFIX}"), self.folder / MANIFEST):
                path.unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                shutil.rmtree(self.folder, ignore_errors=True)

    def _put(self, name: str, write: Any) -> None:
        """Write a file beside its place, and then move it there."""
        assert self.folder is not None
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".") as scratch:
            path = Path(scratch) / name
            write(path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(self.folder / name)
