"""Tasks on the workers of this machine that joblib manages: processes of loky, or threads."""

import multiprocessing
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterator
from pickle import PicklingError
from typing import Any

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError
from joblib.parallel import get_active_backend

from shapae.errors import ModelError
from shapae.utils.parallel_errors import LostWorkers, Overtime, unreadable, unsendable
from shapae.utils.parallel_worker import Outcome, ready, run_task, start_worker


def run_on_joblib(
    function: Callable[..., Any],
    make_task: Callable[[int], tuple[Any, ...]],
    numbers: range,
    *,
    jobs: int,
    timeout: float | None,
) -> Generator[Outcome]:
    """Call ``function`` with the arguments of each task.

    Args:
        function: See ``parallel_map``.
        make_task: See ``parallel_map``.
        numbers: Numbers of the tasks.
        jobs: Number of workers.
        timeout: Seconds that a task may take; None for no limit.

    Yields:
        The outcomes, in the order of the tasks.

    Raises:
        LostWorkers: Workers died, or can't be started.
        ModelError: A task can't be pickled, or not be unpickled by a worker.
        Overtime: A task takes longer than ``timeout``; its worker was killed.
    """
    call, parent, failures = delayed(run_task), os.getpid(), list[Exception]()

    def calls() -> Iterator[Any]:
        for number in numbers:
            try:
                task = make_task(number)
            except Exception as error:  # joblib would not tell it from an error of a worker
                failures.append(error)
                return
            yield call(parent, function, task)

    try:
        yield from _consume(_workers(jobs, timeout)(calls()))
    except TerminatedWorkerError as error:
        codes = re.search(r"exit codes? of the workers? (?:is|are) \{(.*?)\}", str(error))
        raise LostWorkers(f"ended by {codes[1]}" if codes else "ended") from error
    except BrokenProcessPool as error:
        if "un-serialize" not in str(error):
            raise LostWorkers(_cause(error)) from error
        raise ModelError(unreadable(_cause(error))) from error
    except PicklingError as error:
        raise ModelError(unsendable(error.__cause__ or error)) from error
    except multiprocessing.TimeoutError as error:
        raise Overtime from error
    except (RuntimeError, OSError, MemoryError) as error:  # another thread has ended the workers, or none can start
        raise LostWorkers(f"{type(error).__name__}: {error}") from error
    if failures:
        raise failures[0]


def _workers(jobs: int, timeout: float | None) -> Parallel:
    """Make the workers. With a limit of time they have started already, and get one task at a time."""
    if getattr(get_active_backend()[0], "uses_threads", False):
        return Parallel(jobs, return_as="generator")
    worker: dict[str, Any] = {"initializer": start_worker, "initargs": (os.getpid(),)}
    if timeout is None:
        return Parallel(jobs, return_as="generator", **worker)
    several = max(jobs, 2)  # joblib has no pool of one process
    Parallel(several, **worker)(delayed(ready)() for _ in range(several))
    dispatched = 1 if jobs == 1 else f"2 * {jobs}"
    return Parallel(several, return_as="generator", batch_size=1, pre_dispatch=dispatched, timeout=timeout, **worker)


def _consume(outcomes: Generator[Outcome]) -> Generator[Outcome]:
    """Yield the outcomes. If not all are wanted, joblib ends its workers, and says so in a warning that is ignored."""
    try:
        for outcome in outcomes:  # noqa: UP028 (the outcomes are closed below, where warnings are ignored)
            yield outcome
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes.close()


def _cause(error: BrokenProcessPool) -> str:
    """Find the last error in the traceback of a worker."""
    text = str(error.__cause__ or error)
    found = re.findall(r"^[\w.]+(?:Error|Exception|Exit)\b.*$", text, flags=re.MULTILINE)
    return str(found[-1] if found else error).removesuffix("'''").rstrip(".")
