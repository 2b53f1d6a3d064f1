"""Memory: batches of rows, and numbers of bytes."""

import re
from collections.abc import Callable
from math import inf, log10
from typing import Any, Protocol

import torch
from torch import Tensor

from shapae.utils.blocks import current_room
from shapae.utils.constraints import CONSTRAINTS, check_arguments
from shapae.utils.torch_trace import result_bytes_per_row

# Minimum number of blocks that rows are cut into, so that a progress bar can tell the time left; and minimum number of
# blocks for each worker, so that the workers get equal shares. More blocks would repeat what is computed once a block.
MIN_BLOCKS = 8
BLOCKS_PER_WORKER = 4
# Bytes of the result of a chunk, with its copies, if the chunk stays in this process: the result is copied while it is
# in the cache, and the fixed cost of a chunk is small beside it.
CHUNK_BYTES = 2**27
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class ByteCount:
    """A positive number of bytes, with or without a unit."""

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is such a number."""
        return 0 < _bytes(given) < inf

    def __str__(self) -> str:
        return "a positive number of bytes such as '1GB' or 10**9"


CONSTRAINTS["memory"] = ByteCount()


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
        torch.cuda.OutOfMemoryError: The device has too little memory for one row.
    """
    try:
        return torch.cat([function(rows[batch]) for batch in batches(len(rows), size)])
    except torch.cuda.OutOfMemoryError as error:
        if size == 1:
            raise
        current_room().say(error)
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
    check_arguments(memory=memory)
    return _bytes(memory)


def _bytes(memory: Any) -> float:
    """Read a number of bytes; 0 if there is none."""
    found = re.fullmatch(r"([\d.]+(?:e[+-]?\d+)?)\s*([kmgt]?i?)(?:b|bytes)?", str(memory).strip().lower())
    try:
        return float(found[1]) * UNITS[found[2]] if found else 0.0
    except (ValueError, KeyError):  # "1.2.3", and integers of more digits than Python reads
        return 0.0


def format_bytes(size: float) -> str:
    """Format a number of bytes for people.

    >>> format_bytes(950), format_bytes(3_520_000_000)
    ('950 bytes', '3.52 GB')
    """
    power = min(int(log10(max(size, 1)) // 3), 4)
    return f"{size / 1000**power:.4g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
