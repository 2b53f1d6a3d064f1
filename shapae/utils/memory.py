"""Memory: batches of rows, and numbers of bytes."""

import re
from collections.abc import Callable
from math import log10

import torch
from torch import Tensor

from shapae.errors import DataError

# Rows are cut into this many blocks where they can be, enough to tell the time left, or into so many for each worker,
# enough to share out evenly. What a backend does once for each block should be little against the rest.
MIN_BLOCKS = 8


BLOCKS_PER_WORKER = 4


# Bytes of a chunk's result, with its copies, where the chunks stay in this process: it is copied while in the cache,
# and what is done once for each chunk is little against it.
CHUNK_BYTES = 2**27


UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def batches(total: int, size: int) -> list[slice]:
    """``total`` things in pieces of ``size``, the last of which may be smaller."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def bytes_per_row(function: Callable[[Tensor], Tensor], rows: Tensor) -> int:
    """Bytes that autograd keeps for each row that ``function`` is run on, by running it on two and on one.

    Args:
        function: From rows (n, d) to (n, k).
        rows: (2 or more, d).

    Returns:
        At least the bytes of the row itself. What does not grow with the rows, as the parameters, cancels out.
    """
    kept = _bytes_saved(function, rows[:2]) - _bytes_saved(function, rows[:1])
    return max(kept, 0) + rows[:1].nbytes


def _bytes_saved(function: Callable[[Tensor], Tensor], rows: Tensor) -> int:
    kept = [0]

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor.nbytes)
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        kept.append(function(rows.detach().clone().requires_grad_()).nbytes)
    return sum(kept)


def parse_bytes(memory: str | float) -> float:
    """Number of bytes: "1GB", "512 MiB", or the number itself.

    >>> parse_bytes("1.5GB"), parse_bytes("2 KiB"), parse_bytes(1000)
    (1500000000.0, 2048.0, 1000.0)

    Raises:
        DataError: It is neither, or not positive.
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
    """Bytes for a person to read.

    >>> format_bytes(950), format_bytes(3_520_000_000)
    ('950 bytes', '3.52 GB')
    """
    power = min(int(log10(max(size, 1)) // 3), 4)
    return f"{size / 1000**power:.4g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
