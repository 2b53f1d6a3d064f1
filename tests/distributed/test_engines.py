"""Dask, Ray and Spark with real processes: the same results as in one process, also when workers are lost."""

import os
import signal
import sys
import time

import numpy as np
import pytest

from shapae import Explainer
from shapae.errors import ModelError, WorkerError
from shapae.utils.parallel import parallel_map
from tests import deaths
from tests.cases import Question, build, table
from tests.distributed.engines import ENGINES, IGNORED

pytestmark = [pytest.mark.filterwarnings(each) for each in IGNORED]


@pytest.fixture(scope="module", params=["dask", "ray", "spark"])
def engine(request):
    with ENGINES[request.param]() as engine:
        yield engine


def results(function, total=6, folder=None, **settings):
    return parallel_map(function, lambda number: (number, folder), total, n_jobs=None, progress=False, **settings)


def test_values_are_those_of_one_process(engine):
    rows, background = table(24, seed=1), table(7, seed=2)
    explainer = Explainer(build(Question), background)
    got = explainer(rows).values
    np.testing.assert_allclose(
        got, Explainer(build(Question), background, n_jobs=1)(rows).values, rtol=1e-12, atol=1e-15
    )


def test_the_work_is_done_in_other_processes(engine):
    processes = {*parallel_map(os.getpid, lambda number: (), 4, n_jobs=None, progress=False)}
    assert os.getpid() not in processes


def test_a_killed_worker_loses_nothing(engine, tmp_path):
    assert [*results(deaths.dies_once, folder=tmp_path)] == [10 * number for number in range(6)]
    assert len([*tmp_path.iterdir()]) == len(deaths.ONCE)


def test_a_worker_is_killed_by_its_number_in_the_middle(engine):
    got = parallel_map(pid_and_square, lambda number: (number,), 12, n_jobs=None, progress=False)
    pid, first = next(got)
    os.kill(pid, signal.SIGKILL)
    assert [first, *(square for _, square in got)] == [number**2 for number in range(12)]


def pid_and_square(number):
    time.sleep(0.2)
    return os.getpid(), number**2


def test_a_task_that_kills_each_worker_is_named(engine):
    got = results(deaths.dies)
    assert [next(got), next(got)] == [0, 10]
    with pytest.raises(WorkerError, match=r"the workers died .* in tasks? 3 .*n_jobs= or memory="):
        next(got)


def test_results_before_a_hung_task_are_given_and_its_worker_is_ended(engine):
    got = results(deaths.sleeps, timeout=3)
    assert [next(got), next(got)] == [0, 10]
    with pytest.raises(WorkerError, match="task 3 of 6 took longer than timeout=3 seconds"):
        next(got)
    assert [*results(deaths.tenfold)] == [10 * number for number in range(6)]


def test_a_module_that_workers_do_not_have_is_a_clear_error(engine, monkeypatch):
    import types

    module = types.ModuleType("only_here")
    exec("def square(number): return number**2", vars(module))
    module.square.__module__ = "only_here"
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(ModelError, match="can't read the model.*No module named 'only_here'"):
        [*parallel_map(module.square, lambda number: (number,), 4, n_jobs=None, progress=False)]


def test_a_scheduler_of_dask_that_retires_a_worker_loses_nothing():
    with ENGINES["dask"]() as client:
        got = parallel_map(pid_and_square, lambda number: (number,), 12, n_jobs=None, progress=False)
        first = next(got)[1]
        client.retire_workers([next(iter(client.ncores()))])
        assert [first, *(square for _, square in got)] == [number**2 for number in range(12)]
        assert len(client.ncores()) <= 2
