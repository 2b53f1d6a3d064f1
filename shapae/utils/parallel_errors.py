"""Ends of workers: those after which work may go on, and the messages of those that end it."""

# Number of times that workers may die before a new result has come.
ATTEMPTS = 3


class LostWorkers(Exception):
    """Workers died, and their tasks are lost.

    Attributes:
        reason: What is known of the end of the workers.
        again: Whether the tasks may be tried again. Some engines have done so themselves.
    """

    def __init__(self, reason: str, again: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.again = reason, again


class Overtime(Exception):
    """A task took too long, and its worker was ended."""


def dead(lost: LostWorkers, tasks: str) -> str:
    """Describe workers that die again and again."""
    if "ModuleNotFoundError" in lost.reason:
        return (
            f"the workers can't begin with {tasks}: {lost.reason}. Install shapae and the module of the model where "
            f"they run, in the same versions. Spark takes the Python that PYSPARK_PYTHON names."
        )
    times = f"{ATTEMPTS} times in a row" if lost.again else "in each attempt"
    return (
        f"the workers died {times} in {tasks}, without a new result: {lost.reason}. If the system ended them as memory "
        f"ran out, lower n_jobs= or memory=. With n_jobs=1 the work is done in this process, which shows an error of "
        f"the model itself."
    )


def hung(timeout: float, tasks: str) -> str:
    """Describe a task that takes too long."""
    return (
        f"{tasks} took longer than timeout={timeout:g} seconds, so its worker was ended. If the model needs the time, "
        f"pass a larger timeout=. If it hangs, its forward has to be mended."
    )


def unsendable(error: BaseException) -> str:
    """Describe a task that can't be pickled."""
    lines = [line for line in str(error).strip().splitlines()[::-1] if "Error" in line]
    cause = lines[0] if lines else f"{type(error).__name__}: {error}"
    return (
        f"the model, the head or the backend can't be sent to worker processes: {cause}. Use n_jobs=1, or threads: "
        f"joblib.parallel_config('threading')."
    )


def unreadable(cause: str) -> str:
    """Describe a task that a worker can't make of its pickle."""
    return (
        f"a worker process can't read the model, the head or the backend that it was sent: {cause}. Install the module "
        f"of the class where the workers run, put its folder on PYTHONPATH, or send the class itself: "
        f"cloudpickle.register_pickle_by_value(module). With n_jobs=1 nothing is sent."
    )
