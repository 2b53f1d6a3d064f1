"""How long a piece of work took, and how much memory."""

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

# Seconds between two looks at the memory.
INTERVAL = 0.002
_STATUS = Path("/proc/self/statm")


@dataclass
class Usage:
    """What was taken; filled in when the work is done.

    Attributes:
        seconds: By the clock.
        bytes: By how much the resident memory of this process rose at most above what it was, looked at every two
            milliseconds; on a GPU, the same of what torch holds there. What other processes take is not seen, nor, if
            the C library is not glibc, what was free before and is used again. NaN where the system does not tell.
    """

    seconds: float = float("nan")
    bytes: float = float("nan")


@contextmanager
def measure_usage(device: torch.device) -> Iterator[Usage]:
    """Measure what is done inside.

    Args:
        device: Where it is done.

    Yields:
        What will be filled in.
    """
    taken = Usage()
    with _on_gpu(taken, device) if device.type == "cuda" else _resident(taken):
        start = time.perf_counter()
        try:
            yield taken
        finally:
            taken.seconds = time.perf_counter() - start


@contextmanager
def _on_gpu(taken: Usage, device: torch.device) -> Iterator[None]:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    yield
    torch.cuda.synchronize(device)
    taken.bytes = torch.cuda.max_memory_allocated(device) - before


@contextmanager
def _resident(taken: Usage) -> Iterator[None]:
    _give_back()
    before = largest = _bytes()
    done = threading.Event()

    def look() -> None:
        nonlocal largest
        while not done.wait(INTERVAL):
            largest = max(largest, _bytes())

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()
    taken.bytes = max(largest, _bytes()) - before


def _give_back() -> None:
    """Free memory goes back to the system, so that it is seen when it is used again."""
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _bytes() -> float:
    """Resident memory of this process."""
    try:
        return float(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return float("nan")
