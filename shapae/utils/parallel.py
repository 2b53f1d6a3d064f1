"""One function for many tasks, on the workers that joblib is set to."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from joblib import effective_n_jobs
from joblib.parallel import get_active_backend

from shapae.errors import WorkerError
from shapae.utils.constraints import check_optional
from shapae.utils.parallel_clusters import CLUSTERS, run_on_cluster
from shapae.utils.parallel_errors import ATTEMPTS, LostWorkers, Overtime, dead, hung
from shapae.utils.parallel_joblib import run_on_joblib
from shapae.utils.parallel_worker import Outcome
from shapae.utils.progress import progress_bar
from shapae.utils.torch_modules import pickle_torch_modules_by_name

T = TypeVar("T")
MakeTask = Callable[[int], tuple[Any, ...]]
Run = Callable[[MakeTask, range], Generator[Outcome]]


def parallel_map(
    function: Callable[..., T],
    make_task: MakeTask,
    total: int,
    *,
    n_jobs: int | None,
    progress: bool | None,
    timeout: float | None = None,
    label: str = "explaining",
) -> Iterator[T]:
    """Call ``function`` with the arguments of each task, on workers.

    Each worker process computes with one torch thread, so that the workers share the cores. If a worker dies, the tasks
    without a result are made again, for new workers.

    Args:
        function: It must be picklable, as must the arguments.
        make_task: Function of the number of a task, from 0, that makes its arguments. It is called when a worker is
            ready for the task, and again when the task was lost.
        total: Number of tasks.
        n_jobs: Number of workers, as in joblib.
        progress: See ``progress_bar``.
        timeout: Seconds that a task may take; None for no limit. With a limit all work is done in other processes.
        label: Text of the bar.

    Returns:
        The results, in the order of the tasks. Its iteration raises WorkerError where workers die again and again, or
        a task takes longer than ``timeout``; and ModelError where a task can't be pickled, or not be unpickled.

    Raises:
        DataError: An argument is invalid.
        WorkerError: The workers can't be started or stopped.
    """
    check_optional(progress=progress)
    pickle_torch_modules_by_name()
    jobs = count_workers(n_jobs, timeout=timeout)
    backend = get_active_backend()[0]
    cluster = CLUSTERS.get(type(backend).__name__)
    if timeout is None and (n_jobs == 1 if cluster else jobs == 1):  # a cluster may have one worker, or one for now
        return progress_bar((function(*make_task(number)) for number in range(total)), total, progress, label)
    on_workers = run_on_joblib if cluster is None else partial(run_on_cluster, cluster(backend))
    run = partial(on_workers, function, jobs=jobs, timeout=timeout)
    return progress_bar(_run_all(run, make_task, total, timeout), total, progress, label)


def _run_all(run: Run, make_task: MakeTask, total: int, timeout: float | None) -> Iterator[Any]:
    """Run all tasks. Those without a result are run again after workers were lost, as long as new results come.

    Raises:
        WorkerError: See ``parallel_map``.
    """
    done, made, losses = 0, 0, 0

    def make(number: int) -> tuple[Any, ...]:
        nonlocal made
        made = max(made, number + 1)
        return make_task(number)

    while done < total:
        made = before = done
        try:
            with closing(run(make, range(done, total))) as outcomes:
                for outcome in outcomes:
                    done, losses = done + 1, 0
                    yield outcome.unwrap()
        except Overtime as error:
            raise WorkerError(hung(timeout or 0, f"task {done + 1} of {total}")) from error.__cause__
        except LostWorkers as lost:
            losses += 1
            if losses == ATTEMPTS or not (lost.again or done > before):  # a cluster has tried often by itself
                raise WorkerError(dead(lost, _range(done, made, total))) from lost.__cause__


def _range(done: int, made: int, total: int) -> str:
    """Name the tasks that were started and have no result."""
    return f"task {done + 1} of {total}" if made <= done + 1 else f"tasks {done + 1} to {made} of {total}"


def count_workers(n_jobs: int | None, *, timeout: float | None = None) -> int:
    """Count the workers of ``parallel_map``, before the work.

    Args:
        n_jobs: Number of workers, as in joblib: None for what ``joblib.parallel_config`` says, and for 1 outside of
            one; -1 for one worker per core.
        timeout: Seconds that a task may take; None for no limit.

    Raises:
        DataError: An argument is invalid.
        WorkerError: There are no such workers: their backend has none, gives no results one after the other, or can't
            stop a task.
    """
    check_optional(n_jobs=n_jobs, timeout=timeout)
    backend = get_active_backend()[0]
    name = type(backend).__name__
    try:
        jobs = int(effective_n_jobs(n_jobs))
    except Exception as error:
        raise WorkerError(
            f"joblib's {name} has no workers: {type(error).__name__}: {error}. Start them first, or leave "
            f"joblib.parallel_config()."
        ) from error
    if name not in CLUSTERS:
        _check_backend(backend, jobs, timeout)
    return jobs


def _check_backend(backend: Any, jobs: int, timeout: float | None) -> None:
    name, threads = type(backend).__name__, getattr(backend, "uses_threads", False)
    if jobs > 1 and not backend.supports_return_generator:
        raise WorkerError(
            f"joblib's {name} gives no results one after the other, and waits for ever if a worker dies. Use "
            f"joblib.parallel_config('loky'), 'threading', 'dask', 'ray' or 'spark', or none of them."
        )
    if timeout is not None and (threads or effective_n_jobs(2) == 1 or not backend.supports_return_generator):
        raise WorkerError(
            f"timeout={timeout!r} takes worker processes, which can be ended, but joblib's {name} has "
            f"{'threads' if threads else 'none here'}. Use joblib.parallel_config('loky'), or pass timeout=None."
        )
