"""Measurement of the time and memory that a computation takes."""

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

# Seconds between two samples of the resident memory: short, so that brief peaks are seen.
INTERVAL = 0.002
_STATUS = Path("/proc/self/statm")


@dataclass
class Usage:
    """Time and memory of a computation; set when it ends.

    Attributes:
        seconds: Wall-clock time.
        bytes: Maximum increase of the resident memory of this process, sampled every two milliseconds; on a GPU, of
            the memory allocated by torch there. Other processes are not measured. Without glibc, reused free memory is
            not seen. NaN if the system does not report it.
    """

    seconds: float = float("nan")
    bytes: float = float("nan")


@contextmanager
def measure_usage(device: torch.device) -> Iterator[Usage]:
    """Measure the time and memory of the enclosed computation.

    Args:
        device: Device of the computation.

    Yields:
        The usage, which is set at the end.
    """
    usage = Usage()
    with _gpu_memory(usage, device) if device.type == "cuda" else _resident_memory(usage):
        start = time.perf_counter()
        try:
            yield usage
        finally:
            usage.seconds = time.perf_counter() - start


@contextmanager
def _gpu_memory(usage: Usage, device: torch.device) -> Iterator[None]:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    yield
    torch.cuda.synchronize(device)
    usage.bytes = torch.cuda.max_memory_allocated(device) - before


@contextmanager
def _resident_memory(usage: Usage) -> Iterator[None]:
    _release_free_memory()
    before = peak = _resident_bytes()
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(INTERVAL):
            peak = max(peak, _resident_bytes())

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield
    finally:
        done.set()
        sampler.join()
    usage.bytes = max(peak, _resident_bytes()) - before


def _release_free_memory() -> None:
    """Return free memory to the system, so that its reuse raises the resident memory."""
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> float:
    """Read the resident memory of this process."""
    try:
        return float(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return float("nan")
