"""Memory and workers: results that do not fit, outer joblib configurations, threads and processes."""

import os
import re
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed, parallel_config

from shapae import Autoencoder, Explainer, backends, heads
from shapae.errors import ModelError, TooLarge
from shapae.explainer.chunks import NUMBERS
from shapae.utils.memory import parse_bytes
from tests import cases

NAMES = list("abcdef")
every_backend = pytest.mark.parametrize("backend", backends.names())


def named(table):
    return pd.DataFrame(table, columns=NAMES)


def polars_frame(table):
    return pytest.importorskip("polars").DataFrame(table, schema=NAMES)


@pytest.mark.parametrize(
    ("head", "n", "memory"),
    [("reconstruction_error", 200, "15kB"), ("reconstruction", 100, "30kB"), ("latent:0", 5, 400)],
)
def test_a_result_that_does_not_fit_is_refused_with_two_ways_that_work(head, n, memory, model, background):
    rows = cases.table(n, seed=5)
    with pytest.raises(TooLarge, match=f"the values of {n} rows and their standard errors need .* only half") as error:
        Explainer(model, background, head=head, memory=memory)(rows)
    count = int(re.search(r"Explain at most (\d+) rows at a time", str(error.value))[1])
    advised = parse_bytes(re.search(r"set memory='(.*?)'", str(error.value))[1])
    outputs = 6 if head == "reconstruction" else 1
    per_row = 8 * (2 * 6 * outputs + 6 + NUMBERS * outputs) + 8  # values and errors, the row itself, scores; ``used``
    assert count == parse_bytes(memory) / 2 // per_row
    assert n * per_row <= advised / 2
    if n > 5:  # nothing else fits into 400 bytes
        Explainer(model, background, head=head, memory=memory)(rows[:count])
        Explainer(model, background, head=head, memory=advised)(rows)


def test_a_row_that_does_not_fit_is_refused_and_more_workers_have_less_room_each(model, rows, background):
    with pytest.raises(TooLarge, match=r"one row against one background row takes about .*Raise memory="):
        Explainer(model, background, backend="exact", memory=20_000)(rows)
    Explainer(model, background, backend="exact", memory=200_000)(rows)
    with pytest.raises(TooLarge, match=r"lower n_jobs="):
        Explainer(model, background, backend="exact", memory=200_000, n_jobs=8)(rows)


class Noting(heads.ReconstructionError):
    """Notes where it is run: process, thread, and with how many threads torch computes."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def forward(self, autoencoder, rows):
        with self.file.open("a") as notes:
            notes.write(f"{os.getpid()}\t{threading.current_thread().name}\t{torch.get_num_threads()}\n")
        return super().forward(autoencoder, rows)

    def notes(self):
        """(processes, threads, numbers of threads of torch), each as written."""
        return list(zip(*(line.split("\t") for line in self.file.read_text().splitlines()), strict=True))


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_an_outer_parallel_config_is_honoured(n_jobs, model, rows, background, tmp_path):
    head = Noting(tmp_path / "notes")
    with parallel_config(backend="threading", n_jobs=3):
        Explainer(model, background, head=head, n_jobs=n_jobs)(rows)
    processes, workers, _ = head.notes()
    assert {*processes} == {str(os.getpid())}
    assert len({*workers} - {threading.current_thread().name}) >= 2


def test_without_an_outer_parallel_config_there_is_one_worker(model, rows, background, tmp_path):
    head = Noting(tmp_path / "notes")
    Explainer(model, background, head=head)(rows)
    assert {*head.notes()[1]} == {threading.current_thread().name}


def test_processes_compute_with_one_thread_each_and_lambdas_reach_them(model, rows, background, tmp_path):
    before = torch.get_num_threads()
    Parallel(2)(delayed(torch.set_num_threads)(2) for _ in range(8))  # what they would do without us
    wrapped = Autoencoder(model, reconstruct=lambda m, x: m.decoder(m.encoder(x)), encode=lambda m, x: m.encoder(x))
    head = Noting(tmp_path / "notes")
    got = Explainer(wrapped, background, head=head, n_jobs=2)(rows)
    np.testing.assert_allclose(got.values, Explainer(model, background)(rows).values, rtol=0, atol=1e-12)
    processes, _, threads = head.notes()
    assert {count for pid, count in zip(processes, threads, strict=True) if pid != str(os.getpid())} == {"1"}
    assert torch.get_num_threads() == before


def test_a_model_that_keeps_results_reaches_other_processes(model, rows, background):
    other = cases.build(cases.Keeping)
    other.encoder.loss = other(torch.tensor(rows)).sum()
    got = Explainer(other, background, n_jobs=2)(rows)
    np.testing.assert_allclose(got.values, Explainer(model, background)(rows).values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_a_model_that_no_worker_can_receive_is_refused_with_two_ways_that_work(backend, rows, background):
    class Locked(cases.Question):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    model = cases.build(Locked)
    with pytest.raises(ModelError, match=r"can't be sent to worker processes: .* Use n_jobs=1, or threads"):
        Explainer(model, background, backend=backend, n_jobs=2)(rows)
    want = Explainer(model, background, backend=backend, n_jobs=1)(rows).values
    with parallel_config("threading", n_jobs=2):
        np.testing.assert_allclose(Explainer(model, background, backend=backend)(rows).values, want, rtol=1e-12)
