"""Faults, and what must be true after each: nothing lost, nothing silent, nothing raw, nothing hung, nothing left."""

import os
import random
import re
import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from joblib.externals.loky import reusable_executor
from tqdm import tqdm

from shapae.errors import ShapaeError

# Seconds after which a fault counts as hung, on a busy machine.
LIMIT = 120
# Largest number of characters of a message that people read.
LONGEST = 1200
# Foreign words that no message passes on: advice to load files unsafely, tracebacks, addresses of objects.
RAW = re.compile(r"weights_only=False|weights_only.*False|Traceback|object at 0x|\bINTERNAL ASSERT\b")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: Kind of the fault, such as "files".
        name: The fault in words, unique among its kind, such as "the output is a fifo".
        cause: Function of an empty folder that brings it about. It asserts what must be true afterwards; where the
            work must be refused, its last call is the one that raises.
        says: Regular expression that the message of the error holds; None where the work must succeed.
        after: What must be true afterwards, in words, for the table of the documentation.
    """

    kind: str
    name: str
    cause: Callable[[Path], Any]
    says: str | None
    after: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def check(fault: Fault, folder: Path) -> None:
    """Bring about a fault, and check what must be true after every one."""
    before = _state()
    with _time_limit(str(fault)):
        if fault.says is None:
            fault.cause(folder)
        else:
            with pytest.raises(ShapaeError) as caught:
                fault.cause(folder)
            _check_message(str(caught.value), fault.says)
    assert _state() == before, "global state has changed"
    assert _left_behind(folder) == []


def _check_message(message: str, says: str) -> None:
    assert re.search(says, message), f"{message!r} does not say {says!r}"
    assert not RAW.search(message), f"{message!r} is raw"
    assert 20 < len(message) < LONGEST, f"{message!r} has {len(message)} characters"


def _state() -> list[Any]:
    """Global generators, threads, and the modes of torch."""
    legacy = np.random.get_state()
    modes = [torch.get_num_threads(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
    return [random.getstate(), legacy[1].tolist(), legacy[2], torch.get_rng_state().tolist(), modes]


def _left_behind(folder: Path) -> list[str]:
    """List scratch files, shared memory and processes of this process that are still there."""
    if reusable_executor._executor is not None:  # its idle workers are meant to stay
        reusable_executor._executor.terminate(kill_workers=True)  # with the folder that joblib keeps for them
    children = [" ".join(each.cmdline()) for each in psutil.Process().children(recursive=True) if each.is_running()]
    workers = [line for line in children if line and not re.search("resource_tracker|forkserver", line)]
    scratch = [str(path.relative_to(folder)) for path in folder.rglob(".*")]
    return workers + scratch + _shared_memory() + _locks()


def _locks() -> list[str]:
    """List the locks of tqdm that another thread can't take: its bars would wait for ever."""
    free: list[Any] = []

    def take() -> None:
        for lock in tqdm.get_lock().locks:
            if lock.acquire(True, 1):
                lock.release()
                free.append(lock)

    other = threading.Thread(target=take)
    other.start()
    other.join()
    return [str(lock) for lock in tqdm.get_lock().locks if lock not in free]


def _shared_memory() -> list[str]:
    """List the files in shared memory; joblib keeps an empty folder for each of its calls until its process ends."""
    found = [*Path("/dev/shm").glob(f"*_{os.getpid()}_*")]
    return [str(each) for path in found for each in (path, *path.rglob("*")) if each.is_file()]


@contextmanager
def _time_limit(name: str):
    def stop(*_):
        raise AssertionError(f"{name} hung for {LIMIT} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
