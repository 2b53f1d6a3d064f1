"""One task in a worker: what came of it, and an end with the process that has started the worker."""

import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from shapae.errors import ModelError, TooLarge
from shapae.utils.context import torch_threads
from shapae.utils.parallel_errors import unreadable

# Seconds between two looks of a worker at the process that has started it.
LOOK = 0.5
# Parts of messages of allocations that fail: of torch's RuntimeError on a processor.
NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a task, or the error that it raised.

    Errors of the user's code travel as results, so that any other error is one of the workers.
    """

    result: Any = None
    error: BaseException | None = None

    def unwrap(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result


def start_worker(parent: int) -> None:
    """Let this process end soon after the process that has started it, which may be killed."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


def ready() -> None:
    """Take a moment, so that several workers start for several of these."""
    time.sleep(0.1)


def run_task(parent: int, function: Callable[..., Any], task: tuple[Any, ...]) -> Outcome:
    """Call ``function`` with the arguments ``task``. A process other than ``parent`` computes with one torch thread.

    Raises:
        SystemExit: Ray ends this worker.
    """
    inside = os.getpid() == parent
    try:
        with nullcontext() if inside else torch_threads(1):
            return Outcome(function(*task))
    except SystemExit as error:
        if hasattr(error, "ray_terminate_msg"):  # ray's own, when its worker gets SIGTERM: ray tries the task again
            raise
        return Outcome(
            error=ModelError(f"the model, the head or the backend ends its process: sys.exit({error.code!r}).")
        )
    except BaseException as error:
        return Outcome(error=error if inside else _for_another_process(error))


def run_pickled(parent: int, pickled: bytes) -> bytes:
    """Unpickle a function and its arguments, call it, and pickle its outcome: Ray gives arrays that are read-only."""
    return pickle.dumps(_run_pickled(parent, pickled))


def _run_pickled(parent: int, pickled: bytes) -> Outcome:
    try:
        function, task = pickle.loads(pickled)
    except BaseException as error:
        return Outcome(error=ModelError(unreadable(f"{type(error).__name__}: {error}")))
    return run_task(parent, function, task)


def _for_another_process(error: BaseException) -> BaseException:
    """Return an error that another process can unpickle, with the traceback of this process as a note."""
    if isinstance(error, MemoryError) or any(part in str(error) for part in NO_MEMORY):
        error = TooLarge(f"a worker process gets no more memory from the system: {error}. Lower n_jobs= or memory=.")
    try:
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ModelError(f"the model, the head or the backend raised {type(error).__name__} in a worker: {error}")
    return error
