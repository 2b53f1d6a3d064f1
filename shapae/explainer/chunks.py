"""Work cut into chunks that fit the memory: blocks of rows x background rows."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from shapae.errors import TooLarge
from shapae.utils.memory import BLOCKS_PER_WORKER, CHUNK_BYTES, MIN_BLOCKS, batches, format_bytes

# What a row needs beside the tensors that autograd keeps of it: gradients, differences and the copies of hooks.
COPIES = 4
# Where one process does it all, no block is so small that all its rows together hold less than this: what is done once
# for a block would be much against the rest, and there is little time left to be told.
WORTH_A_BLOCK = 2**30


@dataclass(frozen=True)
class Chunk:
    """A block of rows x background rows, the unit of parallel work."""

    rows: slice
    background: slice


def plan(n: int, b: int, held: Callable[[int], float], result: float, room: float, *, jobs: int = 1) -> list[Chunk]:
    """Cut ``n`` rows x ``b`` background rows.

    The background is cut only where one row against all of it does not fit.

    Args:
        n: Number of rows.
        b: Number of background rows.
        held: From a number of background rows to the bytes that one row against them takes; does not fall.
        result: Bytes that the result of one row takes.
        room: Bytes that a chunk may take.
        jobs: Number of workers.

    Returns:
        Chunks that cover each pair once, those of the same rows one after the other.

    Raises:
        TooLarge: Not even one row against one background row fits.
    """
    width = bisect_right(range(1, b + 1), room, key=held)
    if width == 0:
        raise TooLarge(
            f"one row against one background row takes about {format_bytes(held(1))}, but there is room for "
            f"{format_bytes(room)}; "
            f"raise memory=, lower n_jobs=, or explain fewer outputs."
        )
    height = -(-n // max(MIN_BLOCKS, BLOCKS_PER_WORKER * jobs))
    if jobs == 1:
        room, height = min(room, CHUNK_BYTES), max(height, int(WORTH_A_BLOCK // held(b)))
    height = max(1, min(height, n, int(room // result)))
    return [Chunk(rows, part) for rows in batches(n, height) for part in batches(b, width)]
