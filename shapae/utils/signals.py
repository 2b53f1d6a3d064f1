"""Signals that end a process, as exits that clean up: schedulers and terminals send them before they kill."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP is that of a terminal that is closed; Windows has none.
SIGNALS = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let the signals raise SystemExit inside, so that workers end and scratch files go. It is for commands.

    Signals that are ignored, as by nohup, stay ignored. In other threads than the main one, where Python allows no
    handlers, nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        defaults = {number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL}
        before = {number: signal.signal(number, _exit) for number in defaults}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit with the status that shells give to a process that a signal has ended.

    Raises:
        SystemExit: Always.
    """
    raise SystemExit(128 + number)
