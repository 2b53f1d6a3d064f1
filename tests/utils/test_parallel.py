"""One function for many tasks, and a bar for long work."""

import os

import pytest
import torch

from shapae.utils.parallel import parallel_map, progress_bar


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


def power(base, exponent):
    return base**exponent


def process_and_threads():
    return os.getpid(), torch.get_num_threads()


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_results_come_in_the_order_of_the_tasks(n_jobs):
    tasks = ((base, 2) for base in range(20))
    assert consume(parallel_map(power, tasks, 20, n_jobs=n_jobs, progress=False)) == [base**2 for base in range(20)]


def test_worker_processes_compute_with_one_thread_and_this_process_with_its_own():
    before = torch.get_num_threads()
    (here,) = parallel_map(process_and_threads, [()], 1, n_jobs=1, progress=False)
    workers = {*parallel_map(process_and_threads, [()] * 4, 4, n_jobs=2, progress=False)}
    assert here == (os.getpid(), before)
    assert {threads for _, threads in workers} == {1}
    assert os.getpid() not in {process for process, _ in workers}
    assert torch.get_num_threads() == before
