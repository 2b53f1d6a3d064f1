"""Measurement of the time and memory that a computation takes."""

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from shapae.explainer.record import versions
from shapae.utils.rounding import matmul_precision

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


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Describe what the time of a computation depends on. Nothing tells which machine it is.

    Args:
        device: Device of the computation.

    Returns:
        Numbers of cores, of those that this process may use, and of threads; how idle threads wait; the device, and the
        precision of its matrix products; the mean number of busy processes in the last minute; versions. What the
        system does not tell is None.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    captum = {"captum": version("captum")} if find_spec("captum") else {}
    return {
        "cores": os.cpu_count(),
        "cores of this process": usable,
        "threads": torch.get_num_threads(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "float32 matmul precision": matmul_precision(),
        "load average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **versions(),
        **captum,
    }


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
