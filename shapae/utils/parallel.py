"""One function for many tasks, on joblib's workers, with a progress bar."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pickle import PicklingError
from typing import Any, TypeVar

import torch
from joblib import Parallel, delayed, effective_n_jobs
from tqdm.auto import tqdm

from shapae.errors import ModelError
from shapae.utils.context import torch_threads

T = TypeVar("T")
# Seconds before a bar appears: shorter work needs none.
DELAY = 1.0


def parallel_map(
    function: Callable[..., T],
    make_task: Callable[[int], tuple[Any, ...]],
    total: int,
    *,
    n_jobs: int | None,
    progress: bool | None,
    timeout: float | None = None,
    label: str = "explaining",
) -> Iterator[T]:
    """Call ``function`` with the arguments of each task, on workers.

    Each worker process computes with one torch thread, so that the workers share the cores.

    Args:
        function: It must be picklable, as must the arguments.
        make_task: Function of the number of a task, from 0, that makes its arguments. It is called when a worker is
            ready for the task, and again when the task was lost.
        total: Number of tasks.
        n_jobs: Number of workers, as in joblib.
        progress: See ``progress_bar``.
        timeout: Seconds that a task may take; None for no limit.
        label: Text of the bar.

    Returns:
        The results, in the order of the tasks.
    """
    if effective_n_jobs(n_jobs) == 1:
        return progress_bar((function(*make_task(number)) for number in range(total)), total, progress, label)
    call, parent = delayed(_call), os.getpid()
    results: Iterator[T] = Parallel(n_jobs, return_as="generator", timeout=timeout)(
        call(parent, function, make_task(number)) for number in range(total)
    )
    return progress_bar(_picklable(results), total, progress, label)


def _picklable(results: Iterator[T]) -> Iterator[T]:
    """Yield the results of joblib.

    Raises:
        ModelError: A task can't be sent to the workers.
    """
    try:
        yield from results
    except PicklingError as error:
        cause = next((line for line in str(error.__cause__).splitlines()[::-1] if "Error" in line), error)
        raise ModelError(
            f"the model, the head or the backend can't be sent to worker processes: {cause}. Use n_jobs=1, or threads: "
            f"joblib.parallel_config('threading')."
        ) from error


def _call(parent: int, function: Callable[..., T], task: tuple[Any, ...]) -> T:
    with torch_threads(torch.get_num_threads() if os.getpid() == parent else 1):
        return function(*task)


def progress_bar(items: Iterable[T], total: int, progress: bool | None, label: str = "explaining") -> Iterator[T]:
    """Show a bar with an estimate of the time left while the items are consumed.

    Args:
        items: Items that take time.
        total: Number of items.
        progress: Whether the bar is shown. None: a terminal or a notebook shows it after a second.
        label: Text of the bar.

    Yields:
        The items.
    """
    # tqdm itself takes a notebook for a file that nobody looks at.
    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    delay, shown = (DELAY, seen) if progress is None else (0.0, progress)
    with tqdm(items, total=total, desc=label, disable=not shown, delay=delay, leave=False) as bar:
        yield from bar
