"""Memory: batches of rows, numbers of bytes, and the sizes of blocks on each device."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf, log10
from typing import Protocol

import torch
from torch import Tensor

from shapae.errors import DataError, TooLarge
from shapae.utils.torch_trace import result_bytes_per_row

# Minimum number of blocks that rows are cut into, so that a progress bar can tell the time left; and minimum number of
# blocks for each worker, so that the workers get equal shares. More blocks would repeat what is computed once a block.
MIN_BLOCKS = 8
BLOCKS_PER_WORKER = 4
# Bytes of the result of a chunk, with its copies, if the chunk stays in this process: the result is copied while it is
# in the cache, and the fixed cost of a chunk is small beside it.
CHUNK_BYTES = 2**27
# Blocks are chosen for the caches of a processor. Other devices have no such caches, and a call takes as long there as
# some million multiplications: they compute this many times as much at once.
DEVICE_FACTOR = 32
# Number of values of the size of a block that are held at once.
HELD_BLOCKS = 8
_bound = ContextVar("bound", default=inf)
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def on_processor(like: Tensor) -> bool:
    """Tell whether a tensor is where caches count, and not calls."""
    return like.device.type == "cpu"


def device_factor(like: Tensor) -> int:
    """How many times as much as on a processor is computed at once on the device of a tensor."""
    return 1 if on_processor(like) else DEVICE_FACTOR


def block_bytes(size: int, like: Tensor) -> int:
    """Choose the number of bytes of a block on the device of a tensor.

    A processor always gets the same blocks, so that sums come out with the same digits for any ``memory``.

    Args:
        size: Number of bytes that stay in the caches of a processor.
        like: Any tensor on the device.

    Returns:
        ``size`` on a processor. Elsewhere ``DEVICE_FACTOR`` times as many, but within the ``memory_bound``.
    """
    return size if on_processor(like) else int(min(DEVICE_FACTOR * size, _bound.get() / HELD_BLOCKS))


def block_rows(size: int, rows: Tensor) -> int:
    """Choose the number of rows of a block, from the number ``size`` for a processor, see ``block_bytes``."""
    row_bytes = max(1, rows[:1].nbytes)
    return max(1, block_bytes(size * row_bytes, rows) // row_bytes)


@contextmanager
def memory_bound(size: float) -> Iterator[None]:
    """Bound the blocks of this thread to so many bytes, on devices other than a processor."""
    token = _bound.set(size)
    try:
        yield
    finally:
        _bound.reset(token)


class Sliceable(Protocol):
    """Rows of which some can be taken as a tensor."""

    def __len__(self) -> int:
        """n."""

    def __getitem__(self, rows: slice, /) -> Tensor:
        """(m, d)."""


def batches(total: int, size: int) -> list[slice]:
    """Slices of ``size`` items that cover ``total`` items; the last slice may be shorter.

    >>> batches(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def batched(function: Callable[[Tensor], Tensor], rows: Sliceable, size: int) -> Tensor:
    """Call ``function`` on batches of rows.

    Args:
        function: From rows (m, d) to results (m, ...), row by row.
        rows: (n, d).
        size: Number of rows per batch.

    Returns:
        (n, ...), the results of all batches. Where a device has too little memory, the batches are smaller.

    Raises:
        TooLarge: The device has too little memory for one row.
    """
    try:
        return torch.cat([function(rows[batch]) for batch in batches(len(rows), size)])
    except torch.cuda.OutOfMemoryError as error:
        if size == 1:
            raise TooLarge(f"the device runs out of memory for a single row: {error}") from error
    return batched(function, rows, size // 2)  # not within the except clause, whose traceback holds tensors


def bytes_per_row(function: Callable[[Tensor], Tensor], rows: Tensor) -> int:
    """Measure the bytes that ``function`` takes for each row: the row itself, and the results of all operators.

    Args:
        function: From rows (n, d) to (n, k).
        rows: (1 or more, d).
    """
    return sum(result_bytes_per_row(function, rows).values()) + rows[:1].nbytes


def parse_bytes(memory: str | float) -> float:
    """Parse a number of bytes: "1GB", "512 MiB", or the number itself.

    >>> parse_bytes("1.5GB"), parse_bytes("2 KiB"), parse_bytes(1000)
    (1500000000.0, 2048.0, 1000.0)

    Raises:
        DataError: It is not a number of bytes, or not positive.
    """
    found = re.fullmatch(r"([\d.]+(?:e[+-]?\d+)?)\s*([kmgt]?i?)(?:b|bytes)?", str(memory).strip().lower())
    try:
        size = float(found[1]) * UNITS[found[2]] if found else 0.0
    except (ValueError, KeyError):
        size = 0.0
    if size <= 0:
        raise DataError(f"memory must be a positive number of bytes such as '1GB' or 10**9, got {memory!r}.")
    return size


def format_bytes(size: float) -> str:
    """Format a number of bytes for people.

    >>> format_bytes(950), format_bytes(3_520_000_000)
    ('950 bytes', '3.52 GB')
    """
    power = min(int(log10(max(size, 1)) // 3), 4)
    return f"{size / 1000**power:.4g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
