"""Faults of workers: those that die, hang, or can't be started; and of the bar that shows their progress."""

import io
import resource
import sys
import threading
import types
from contextlib import nullcontext, redirect_stderr
from functools import partial

import numpy as np
import pytest
import torch
from joblib import parallel_config

from shapae import Explainer, rank_features
from shapae.errors import RankingWarning
from shapae.utils.parallel import parallel_map
from shapae.utils.parallel_worker import run_task
from tests import deaths
from tests.cases import Question, build, table
from tests.faults.table import Fault

# Another process: the one that runs a task with this parent takes itself for a worker.
ELSEWHERE = -1


def _values(**settings):
    return Explainer(build(Question), table(7), **settings)(table(5)).values


def _explain(backend="threading", jobs=2, **settings):
    """Explain within a configuration of joblib, and find the same bits as alone."""

    def cause(folder):
        with parallel_config(backend, n_jobs=jobs):
            got = _values(**settings)
        np.testing.assert_allclose(got, _values(), rtol=1e-12, atol=1e-15)

    return cause


def _map(function, total=6, n_jobs=2, backend="loky", **settings):
    """Call a function with the number of each task and a folder."""

    def cause(folder):
        with parallel_config(backend):
            got = parallel_map(
                function, lambda number: (number, folder), total, n_jobs=n_jobs, progress=False, **settings
            )
            assert [*got] == [10 * number for number in range(total)]

    return cause


class Seen(Question):
    """Counts the rows that it is called with."""

    rows = 0

    def forward(self, rows):
        self.rows += len(rows)
        return super().forward(rows)


def _refused_first(backend):
    """Explain 500 rows with workers that can't be had; the last call raises, before the rows are scored."""

    def cause(folder):
        model = build(Seen)
        explainer = Explainer(model, table(7), n_jobs=2)
        model.rows = 0
        try:
            with parallel_config(backend):
                explainer(table(500))
        finally:
            assert model.rows < 500

    return cause


def _in_worker(function):
    return lambda folder: run_task(ELSEWHERE, function, ()).unwrap()


class Torn(Exception):
    """An exception that can't be unpickled, also where a library has taught pickle to do without its arguments."""

    def __reduce__(self):
        return int, ("torn",)


def _tears():
    raise Torn("torn")


def _fills_memory():
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**34, before[1]))
    try:
        return np.ones(2**40)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Holding(Question):
    """Holds an object that may not be fit to be sent."""

    def __init__(self, held):
        super().__init__()
        self.held = held


def _held(make):
    """Send a model that holds an object; a file is closed afterwards."""

    def cause(folder):
        with make(folder) as held:
            Explainer(build(Holding, held), table(7), n_jobs=2)(table(5))

    return cause


def _open_file(folder):
    return (folder / "log").open("w")


def _sent_elsewhere(folder):
    """A model of a module that workers do not have."""
    module = types.ModuleType("only_here")
    sys.modules["only_here"] = module
    exec("from tests.cases import Question\nclass Here(Question): pass", vars(module))
    try:
        Explainer(build(module.Here), table(7), n_jobs=2)(table(5))
    finally:
        del sys.modules["only_here"]


def _local_class(folder):
    class Local(Question):
        def forward(self, rows):
            return (lambda each: self.decoder(self.encoder(each)))(rows)

    got = Explainer(build(Local), table(7), n_jobs=2)(table(5)).values
    np.testing.assert_allclose(got, _values(), rtol=1e-12, atol=1e-15)


def _reading_fails(kind):
    def make_task(number):
        if number == 3:
            raise kind("the file is gone")
        return number, None

    def cause(folder):
        got = []
        try:
            with parallel_config("threading"):
                got += parallel_map(deaths.tenfold, make_task, 6, n_jobs=2, progress=False)
        except kind:
            return
        raise AssertionError("no error")

    return cause


class Broken(io.StringIO):
    """A stream that can't be written."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def _closed():
    stream = io.StringIO()
    stream.close()
    return stream


def _shown(make, progress):
    def cause(folder):
        with redirect_stderr(make()):
            got = _values(progress=progress)
        np.testing.assert_allclose(got, _values(), rtol=1e-12, atol=1e-15)

    return cause


def _ranking_fails(error):
    def fit(model, rows):
        raise error

    def cause(folder):
        with pytest.warns(RankingWarning, match=f"'retraining' is left out .*{type(error).__name__}: {error}"):
            got = rank_features(
                build(Question), table(8), methods=["weights:gedeon", "retraining"], fit=fit, repeats=1, progress=False
            )
        assert [*got.raw] == ["weights:gedeon"]

    return cause


STREAMS = {
    "is None": lambda: None,
    "is closed": _closed,
    "is full": lambda: Broken(OSError(28, "No space left on device")),
    "is a broken pipe": lambda: Broken(BrokenPipeError(32, "Broken pipe")),
    "takes ASCII only": lambda: Broken(UnicodeEncodeError("ascii", "█", 0, 1, "ordinal not in range(128)")),
    "raises": lambda: Broken(RuntimeError("of the user's stream")),
}
REFUSED = "refused before the rows are scored"
SAME = "the same results as in one process"

FAULTS = [
    *(
        Fault("workers", f"n_jobs={jobs!r}", lambda folder, jobs=jobs: _values(n_jobs=jobs), "n_jobs", REFUSED)
        for jobs in (0, "2", 1.5, True, [2], float("nan"))
    ),
    *(
        Fault("workers", f"n_jobs={jobs!r}", _explain(backend, jobs=1, n_jobs=jobs), None, SAME)
        for jobs, backend in ((-1000, "loky"), (np.int64(2), "threading"), (np.int8(1), "loky"), (-1, "threading"))
    ),
    *(
        Fault(
            "workers", f"timeout={limit!r}", _map(deaths.tenfold, timeout=limit), "timeout must be a positive", REFUSED
        )
        for limit in (True, "5", 0, -1, float("nan"), float("inf"), [1], 1j)
    ),
    Fault("workers", "joblib's multiprocessing", _refused_first("multiprocessing"), "waits for ever", REFUSED),
    *(
        Fault(
            "workers",
            f"a limit of time for joblib's {backend}, n_jobs={jobs}",
            _map(deaths.tenfold, n_jobs=jobs, backend=backend, timeout=5),
            "takes worker processes, which can be ended",
            REFUSED,
        )
        for backend, jobs in (("threading", 2), ("threading", 1), ("sequential", 1), ("multiprocessing", 1))
    ),
    *(
        Fault("workers", f"joblib's {backend}", _explain(backend), None, SAME)
        for backend in ("threading", "sequential")
    ),
    Fault("workers", "one worker is killed by SIGKILL, and another by SIGTERM", _map(deaths.dies_once), None, SAME),
    Fault(
        "workers",
        "a task ends each worker by SIGKILL",
        _map(deaths.dies),
        r"died 3 times in a row in tasks? 3 .*SIGKILL.*n_jobs= or memory=",
        "the results before it were given; an error that names the tasks",
    ),
    Fault(
        "workers",
        "a task sleeps for ever",
        _map(deaths.sleeps, timeout=1),
        r"task 3 of 6 took longer than .*1 sec",
        "ended",
    ),
    Fault(
        "workers",
        "the only task at a time never returns",
        _map(deaths.turns, n_jobs=1, timeout=1),
        r"task 2 of 6 took longer than .*1 sec",
        "ended",
    ),
    Fault("workers", "the model calls sys.exit", _in_worker(partial(sys.exit, 4)), r"sys\.exit\(4\)", "an error"),
    Fault(
        "workers",
        "the model calls sys.exit in a thread",
        _map(lambda *_: sys.exit(), backend="threading"),
        "sys.exit",
        "an error",
    ),
    Fault(
        "workers", "an error that can't be unpickled", _in_worker(_tears), "raised Torn in a worker: torn", "an error"
    ),
    Fault(
        "workers", "numpy gets no memory in a worker", _in_worker(_fills_memory), "no more memory.*n_jobs=", "an error"
    ),
    Fault(
        "workers",
        "torch gets no memory in a worker",
        _in_worker(lambda: torch.ones(2**50)),
        "no more memory.*n_jobs=",
        "an error",
    ),
    *(
        Fault(
            "workers", f"the model holds {what}", _held(make), "can't be sent to worker processes.*n_jobs=1", "an error"
        )
        for what, make in {
            "a lock": lambda folder: nullcontext(threading.Lock()),
            "an open file": _open_file,
            "a generator": lambda folder: nullcontext(each for each in ()),
        }.items()
    ),
    Fault("workers", "a worker has no module of the model", _sent_elsewhere, "No module named 'only_here'", "an error"),
    Fault("workers", "a class within a function", _local_class, None, SAME),
    *(
        Fault("workers", f"making a task raises {kind.__name__}", _reading_fails(kind), None, "the error as it is")
        for kind in (OSError, TimeoutError, RuntimeError)
    ),
    *(
        Fault("workers", f"the stream of errors {state}, progress={progress}", _shown(make, progress), None, SAME)
        for state, make in STREAMS.items()
        for progress in (True, None)
    ),
    *(
        Fault(
            "workers",
            f"progress={progress!r}",
            lambda folder, progress=progress: _values(progress=progress),
            "progress",
            REFUSED,
        )
        for progress in (1, "yes", 0.5)
    ),
    *(
        Fault(
            "workers",
            f"one of two ranking methods raises {type(error).__name__}",
            _ranking_fails(error),
            None,
            "the other is kept; a warning with name and reason",
        )
        for error in (ZeroDivisionError("of the user"), MemoryError("of the user"), TypeError("of the user"))
    ),
]
