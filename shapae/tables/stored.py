"""Rows that stay in a file, and are read block by block: a table larger than memory is never held as a whole."""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shapae.errors import DataError
from shapae.utils.optional import is_instance_of
from shapae.utils.text import one_line

# Bytes of a dense table, in float64, above which the rows of a path stay in the file.
LARGE = 2**26
# Bytes of rows that are read from an array at once and kept for the next block; and the most, if its chunks are larger.
SLAB, LARGEST_SLAB = 2**22, 2**27
# Files that describe a Zarr array or group; and the largest number of folders of chunks whose changes are noticed.
DESCRIPTIONS, WATCHED = ("zarr.json", ".zarray", ".zgroup"), 1000


def is_large(shape: tuple[int, ...]) -> bool:
    """Return whether a table of this shape is not to be held as a whole."""
    return 8 * int(np.prod(shape, dtype=np.int64)) > LARGE


class StoredRows(ABC):
    """Rows of a table in a file.

    Args:
        shape: (n, d).
        dtype: dtype of all rows.
        where: Name of the file, for messages.
        state: From nothing to the state of the file; another result tells that the file has changed.
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: Any, where: str, state: Callable[[], Any] = tuple) -> None:
        self.shape, self.dtype, self.where = shape, np.dtype(dtype), where
        self._state, self._opened = state, state()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[Any]) -> NDArray[Any]:
        """(m, d), a copy of a block of rows, or of rows by their positions in increasing order."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self._checked(start, max(start, stop))
        return self._chosen(np.asarray(rows))

    def _chosen(self, rows: NDArray[Any]) -> NDArray[Any]:
        result = np.empty((len(rows), self.shape[1]), self.dtype)
        slabs = rows // max(1, SLAB // (8 * self.shape[1]))
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(slabs)) + 1) if len(rows) else ():
            first = int(rows[part[0]])
            result[part] = self._checked(first, int(rows[part[-1]]) + 1)[rows[part] - first]
        return result

    def _checked(self, start: int, stop: int) -> NDArray[Any]:
        """Read rows, and check that the file is as it was.

        Raises:
            DataError: It is not, or can't be read.
        """
        with self._lock:
            try:
                block = self._read(start, stop)
                changed = self._state() != self._opened
            except DataError:
                raise
            except Exception as error:  # of the package that reads the file
                reason = getattr(error, "strerror", None) or one_line(error).rstrip(".")
                raise DataError(
                    f"can't read rows {start} to {stop} of {self.where}: {reason}. If the file was cut short or "
                    f"replaced, write it again."
                ) from error
        if changed or block.shape != (stop - start, self.shape[1]):
            raise DataError(
                f"{self.where} has changed since it was opened, so that its rows would come from two tables. Leave "
                f"it as it is until the work is done, and start again."
            )
        return block

    @abstractmethod
    def _read(self, start: int, stop: int) -> NDArray[Any]:
        """(stop - start, d), dense."""


class StoredArray(StoredRows):
    """An array of h5py or zarr, read in slabs of whole chunks; the last slab is kept for the next block."""

    def __init__(self, array: Any, where: str, state: Callable[[], Any] = tuple) -> None:
        super().__init__(array.shape, array.dtype, where, state)
        chunk, row_bytes = (array.chunks or (1,))[0], max(1, self.shape[1] * self.dtype.itemsize)
        self._height = max(1, min(chunk * max(1, SLAB // (chunk * row_bytes)), LARGEST_SLAB // row_bytes))
        self._array, self._slab, self._start = array, np.empty((0, self.shape[1]), self.dtype), 0

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        result, end = np.empty((stop - start, self.shape[1]), self.dtype), start
        while end < stop:
            if not self._start <= end < self._start + len(self._slab):
                first = end - end % self._height
                self._slab = self._slab[:0]  # two slabs are never held
                self._slab, self._start = np.asarray(self._array[first : first + self._height]), first
            last = min(stop, self._start + len(self._slab))
            result[end - start : last - start] = self._slab[end - self._start : last - self._start]
            end = last
        return result


class StoredSparse(StoredRows):
    """A sparse matrix that is compressed by rows, in a group of h5py or zarr, as AnnData writes them.

    Args:
        group: Group with the arrays data, indices and indptr.
        shape: (n, d).
        where: Name of the file, for messages.
        state: See ``StoredRows``.
    """

    def __init__(self, group: Any, shape: tuple[int, int], where: str, state: Callable[[], Any] = tuple) -> None:
        super().__init__((int(shape[0]), int(shape[1])), group["data"].dtype, where, state)
        self._group, self._bounds = group, np.asarray(group["indptr"][:], dtype=np.int64)

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        bounds = self._bounds[start : stop + 1]
        data, indices = (self._group[name][bounds[0] : bounds[-1]] for name in ("data", "indices"))
        block = csr_array((data, indices, bounds - bounds[0]), (stop - start, self.shape[1]))
        return np.asarray(block.toarray())


class SelectedRows(StoredRows):
    """A selection of stored rows that is too large to be held.

    Args:
        rows: (n, d), stored.
        chosen: Positions of m of its rows, in increasing order.
    """

    def __init__(self, rows: StoredRows, chosen: NDArray[Any]) -> None:
        super().__init__((len(chosen), rows.shape[1]), rows.dtype, rows.where)
        self._rows, self._positions = rows, chosen

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        return self._rows[self._positions[start:stop]]


def file_state(path: Path) -> tuple[int, int]:
    """Return the size and the time of the last change of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _folder_state(folder: Path) -> list[Any]:
    """Return the state of the description of a Zarr array, and of the folders of its chunks if these are not too many.

    A chunk that is gone would read as zeros.
    """
    chunks = folder / "c" if (folder / "c").is_dir() else folder
    folders = [chunks, *(Path(each) for each in os.scandir(chunks) if each.is_dir())]
    described = [each for each in map(folder.joinpath, DESCRIPTIONS) if each.is_file()]
    watched = folders if len(folders) <= WATCHED else folders[:1]
    return [folder.exists(), len(folders), *map(file_state, [*described, *watched])]


def as_stored(array: Any) -> Any:
    """Return an array of h5py or zarr with two axes as stored rows; anything else unchanged."""
    is_array = is_instance_of(array, "h5py", "Dataset") or is_instance_of(array, "zarr", "Array")
    if not is_array or len(array.shape) != 2:
        return array
    return StoredArray(array, *_place(array))


def as_stored_sparse(matrix: Any) -> StoredSparse | None:
    """Return a large sparse matrix in a file of AnnData as stored rows; None if it can't be read by rows."""
    if matrix.format != "csr" or not is_large(matrix.shape):
        return None
    return StoredSparse(matrix.group, matrix.shape, *_place(matrix.group))


def _place(array: Any) -> tuple[str, Callable[[], Any]]:
    """Return the file of an array or a group of h5py or zarr, and a function that returns the state of the file.

    A file that is open for writing, and a store that is no folder, has no state.
    """
    if hasattr(array, "file"):
        path = Path(array.file.filename)
        return str(path), partial(file_state, path) if array.file.mode == "r" else tuple
    root = getattr(array.store, "root", None) or getattr(array.store, "path", None)
    folder = Path(root or "", array.path)
    return (str(folder), partial(_folder_state, folder)) if root else (str(array.store), tuple)
