"""SIGTERM as an exit that cleans up: schedulers and container engines send it before they kill."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Exit status of a process that SIGTERM has ended, as shells have it.
STATUS = 128 + signal.SIGTERM


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit inside, so that workers end and scratch files go. For the main thread of a command.

    In other threads, where Python allows no handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit.

    Raises:
        SystemExit: Always.
    """
    raise SystemExit(STATUS)
