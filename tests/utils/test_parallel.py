"""One function for many tasks, and a bar for long work."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from tqdm import tqdm

from shapae.utils.parallel import parallel_map
from shapae.utils.parallel_worker import run_task
from shapae.utils.progress import progress_bar


def consume(items):
    return list(items)


@pytest.mark.parametrize("shown", [True, False, None])
def test_items_pass_through(shown):
    assert consume(progress_bar(iter("abc"), 3, shown)) == ["a", "b", "c"]


@pytest.mark.parametrize(("shown", "seen"), [(True, True), (False, False), (None, False)])
def test_a_bar_is_seen_where_it_is_asked_for_and_nobody_else_is_bothered(shown, seen, capsys):
    consume(progress_bar(iter("abc"), 3, shown))
    written = capsys.readouterr()
    assert written.out == ""
    assert ("explaining" in written.err and "/3" in written.err) == seen


def test_an_interruption_passes_through():
    def items():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume(progress_bar(items(), 3, True))


class Full:
    """A stream on a full disk, which fails at each write but the first few."""

    encoding = "utf-8"

    def __init__(self, writes):
        self.writes = writes

    def write(self, text):
        self.writes -= 1
        if self.writes < 0:
            raise OSError(28, "No space left on device")

    def flush(self):
        pass


def bars_are_free():
    """Whether this thread can take the locks of tqdm."""
    taken = [lock for lock in tqdm.get_lock().locks if lock.acquire(True, 0.1)]
    for lock in taken:
        lock.release()
    return len(taken) == len(tqdm.get_lock().locks)


@pytest.mark.parametrize("writes", range(8))
def test_other_threads_may_draw_bars_after_a_stream_has_failed(writes, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full(writes))
    assert consume(progress_bar(iter("abc"), 3, True)) == ["a", "b", "c"]
    with ThreadPoolExecutor(1) as other:
        assert other.submit(bars_are_free).result()


def power(base, exponent):
    time.sleep(0.5 * (base == 0))  # the first task ends after others
    return base**exponent


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_results_come_in_the_order_of_the_tasks(n_jobs):
    squares = parallel_map(power, lambda base: (base, 2), 20, n_jobs=n_jobs, progress=False)
    assert consume(squares) == [base**2 for base in range(20)]


@pytest.fixture
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_worker_processes_compute_with_one_thread_and_this_process_with_its_own():
    """A process with another parent is a worker; torch itself may use more threads there."""
    assert run_task(os.getpid(), torch.get_num_threads, ()).unwrap() == 2
    assert run_task(os.getppid(), torch.get_num_threads, ()).unwrap() == 1
    assert torch.get_num_threads() == 2


def test_work_is_done_in_other_processes():
    processes = {*parallel_map(os.getpid, lambda number: (), 4, n_jobs=2, progress=False)}
    assert os.getpid() not in processes
    assert {*parallel_map(os.getpid, lambda number: (), 1, n_jobs=1, progress=False)} == {os.getpid()}


MAIN = """
from tests import deaths
from shapae.utils.parallel import parallel_map
from shapae.utils.signals import exit_on_signals

with exit_on_signals():
    for result in parallel_map(deaths.sleeps, lambda number: (number,), 6, n_jobs=2, progress=False, timeout={timeout}):
        print(result, flush=True)
"""
ENDS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: None, None: 1}


def _as_in_a_terminal():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it


@pytest.mark.parametrize("number", ENDS, ids=lambda number: getattr(number, "name", "by an error"))
def test_a_main_process_that_ends_leaves_no_worker_and_no_shared_memory(number):
    """Task 2 sleeps for ever; its worker can't finish by itself."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", MAIN.format(timeout=None if number else 1)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
        preexec_fn=_as_in_a_terminal,
    ) as main:
        assert main.stdout.readline() == b"0\n"
        workers = psutil.Process(main.pid).children(recursive=True)
        assert len(workers) >= 2
        if number:
            main.send_signal(number)
        status = main.wait(30)
    _, alive = psutil.wait_procs(workers, 15)
    assert alive == []
    own = f"[-_]{main.pid}[-_]*"
    assert [*Path("/dev/shm").glob(f"*{own}"), *Path("/tmp").glob(f"*loky*{own}")] == []
    assert ENDS[number] in {status, None}
