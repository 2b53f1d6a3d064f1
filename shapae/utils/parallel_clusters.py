"""Tasks on clusters: Dask, Ray and Spark, by their own futures.

The backends of joblib for them wait for ever when a worker dies or can't import a task (Dask), or give no result
before all are there (Ray, Spark). Here a task is pickled first, and a worker unpickles it within a function that raises
nothing, so that each error has its place.
"""

import os
import pickle
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

import cloudpickle

from shapae.errors import ModelError
from shapae.utils.parallel_errors import LostWorkers, Overtime, unsendable
from shapae.utils.parallel_worker import Outcome, ready, run_pickled

# Tasks of each worker that are sent at once: one that it computes, and one that waits for it.
AHEAD = 2
# Seconds between two looks for workers, and number of looks without one after which the tasks are lost.
LOOK, LOOKS = 5.0, 12


class Cluster(Protocol):
    """Workers on one machine or several.

    Attributes:
        again: Whether lost tasks have to be tried again; if not, the cluster has done so itself.
    """

    again: bool

    def submit(self, *call: Any) -> Any:
        """Start a function with its arguments, and return a future: ``result(timeout)``."""

    def start(self, jobs: int) -> list[Any]:
        """Let each worker import shapae, and return futures."""

    def works(self) -> bool:
        """Tell whether some worker computes something."""

    def cancel(self, futures: list[Any], *, running: bool) -> None:
        """Cancel tasks, also those that are running if ``running``."""


def run_on_cluster(
    cluster: Cluster,
    function: Callable[..., Any],
    make_task: Callable[[int], tuple[Any, ...]],
    numbers: range,
    *,
    jobs: int,
    timeout: float | None,
) -> Generator[Outcome]:
    """Call ``function`` with the arguments of each task; see ``run_on_joblib``.

    Raises:
        ModelError: A task can't be pickled.
        Overtime: A task takes longer than ``timeout``; its worker was ended.
    """
    left, futures, parent = iter(numbers), deque[Any](), os.getpid()
    try:
        if timeout is not None:
            futures += cluster.start(jobs)
            while futures:
                _wait(cluster, futures[0], None)
                futures.popleft()
        while True:
            for number in left:
                futures.append(cluster.submit(run_pickled, parent, _pickle(function, make_task(number))))
                if len(futures) == AHEAD * jobs:
                    break
            if not futures:
                return
            outcome = _wait(cluster, futures[0], timeout)
            futures.popleft()
            yield pickle.loads(outcome)
    except Overtime:
        cluster.cancel([futures.popleft()], running=True)
        raise
    finally:
        if futures:
            cluster.cancel([*futures], running=False)


def _pickle(*call: Any) -> bytes:
    """Pickle a function and its arguments.

    Raises:
        ModelError: They can't be pickled.
    """
    try:
        return bytes(cloudpickle.dumps(call))
    except Exception as error:
        raise ModelError(unsendable(error)) from error


def _wait(cluster: Cluster, future: Any, timeout: float | None) -> Any:
    """Wait for a result.

    Raises:
        LostWorkers: The worker died, or the task was cancelled, or no worker takes it.
        Overtime: It takes longer than ``timeout``.
    """
    looks, left = 0, timeout
    while True:
        try:
            return future.result(LOOK if left is None else min(LOOK, left))
        except TimeoutError as error:
            left = None if left is None else left - LOOK
            if left is not None and left <= 0:
                raise Overtime from error
        except CancelledError as error:
            raise LostWorkers("their tasks were cancelled") from error
        except Exception as error:
            absent = isinstance(error, ImportError) or "ModuleNotFoundError" in str(error)
            raise LostWorkers(_reason(error), cluster.again and not absent) from error
        looks = 0 if cluster.works() else looks + 1
        if looks == LOOKS:
            raise LostWorkers(f"for {LOOK * LOOKS:.0f} seconds the cluster had no worker for them")


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "Error:" in line or "exited" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {told[:300].rstrip('.')}"


class Dask:
    """The workers of the ``dask.distributed.Client`` of joblib's backend."""

    again = False

    def __init__(self, backend: Any) -> None:
        self.client = backend.client

    def submit(self, *call: Any) -> Any:
        """See ``Cluster``. The task goes to the scheduler, which starts it again if a worker is lost."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            return self.client.submit(*call, pure=False)

    def start(self, jobs: int) -> list[Any]:
        """See ``Cluster``."""
        return [self.submit(ready) for _ in range(jobs)]

    def works(self) -> bool:
        """See ``Cluster``."""
        return any(self.client.processing().values())

    def cancel(self, futures: list[Any], *, running: bool) -> None:
        """See ``Cluster``. A worker that computes a task is started anew, which takes a nanny."""
        keys = {future.key for future in futures}
        busy = [name for name, tasks in self.client.processing().items() if keys & {*tasks}] if running else []
        self.client.cancel(futures)
        if busy:
            with suppress(Exception):  # without a nanny, a worker goes on
                self.client.run(_kill, workers=busy, nanny=True)


def _kill(dask_worker: Any) -> None:
    """Kill the worker of a nanny, which starts another. When told to restart a worker that hangs, it may lose it."""
    os.kill(dask_worker.pid, signal.SIGKILL)


class Ray:
    """Tasks of ray."""

    again = False

    def __init__(self, backend: Any) -> None:
        self.ray, self.options = sys.modules["ray"], backend.ray_remote_args or {}
        self.references: dict[Any, Any] = {}

    def submit(self, *call: Any) -> Any:
        """See ``Cluster``. Ray starts a task again if its worker is lost, three times."""
        function, *arguments = call
        reference = self.ray.remote(function).options(**{"max_retries": 3, **self.options}).remote(*arguments)
        future = reference.future()
        self.references[future] = reference
        future.add_done_callback(self.references.pop)
        return future

    def start(self, jobs: int) -> list[Any]:
        """See ``Cluster``."""
        return [self.submit(ready) for _ in range(jobs)]

    def works(self) -> bool:
        """See ``Cluster``."""
        return bool(self.ray.cluster_resources().get("CPU", 0))

    def cancel(self, futures: list[Any], *, running: bool) -> None:
        """See ``Cluster``."""
        for future in futures:
            if future in self.references:
                self.ray.cancel(self.references[future], force=running)


class Spark:
    """Jobs of the active Spark session, each of one task."""

    again = True

    def __init__(self, backend: Any) -> None:
        from pyspark.sql import SparkSession

        self.context = SparkSession.builder.getOrCreate().sparkContext
        self.group = f"shapae-{id(self):x}"
        self.threads = ThreadPoolExecutor(64)

    def submit(self, *call: Any) -> Future[Any]:
        """See ``Cluster``."""
        return self.threads.submit(self._collect, *call)

    def _collect(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self.context.setJobGroup(self.group, "shapae", interruptOnCancel=True)
        return self.context.parallelize([0], 1).map(lambda _: function(*arguments)).collect()[0]

    def start(self, jobs: int) -> list[Any]:
        """See ``Cluster``."""
        return [self.submit(ready) for _ in range(jobs)]

    def works(self) -> bool:
        """See ``Cluster``."""
        return bool(self.context.defaultParallelism)

    def cancel(self, futures: list[Any], *, running: bool) -> None:
        """See ``Cluster``. The jobs of a group end together."""
        for future in futures:
            future.cancel()
        self.context.cancelJobGroup(self.group)


# By the names of joblib's backends: their classes are in packages that need not be there.
CLUSTERS: dict[str, Callable[[Any], Cluster]] = {
    "DaskDistributedBackend": Dask,
    "RayBackend": Ray,
    "SparkDistributedBackend": Spark,
}
