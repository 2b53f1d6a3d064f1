"""Tasks that end or stop their worker. A worker that imports them imports little."""

import os
import signal
import time

# Ways of a worker to end, by the number of the task.
ONCE = {1: signal.SIGKILL, 4: signal.SIGTERM}


def tenfold(number, folder=None):
    return 10 * number


def dies_once(number, folder):
    """Two tasks end their worker, each once: a note is left."""
    note = folder / f"note {number}"
    if number in ONCE and not note.exists():
        note.touch()
        os.kill(os.getpid(), ONCE[number])
        time.sleep(60)
    return 10 * number


def dies(number, folder=None):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * number


def exits(number, folder=None):
    os._exit(3)


def sleeps(number, folder=None):
    if number == 2:
        time.sleep(1e6)
    return 10 * number


def turns(number, folder=None):
    while number == 1:
        pass
    return 10 * number
