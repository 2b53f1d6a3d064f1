"""Benchmarks of backends on small models: their columns against explanations made by hand."""

import os

import numpy as np
import pytest
import torch

from shapae import Explainer
from shapae.analysis.comparison import benchmark as benchmarking
from shapae.analysis.comparison.benchmark import BACKENDS, COLUMNS, benchmark
from shapae.analysis.comparison.metrics import relative_error
from shapae.errors import DataError, UnknownName
from tests import cases

pytestmark = pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")  # of captum


def run(make=cases.Question, d=cases.D, n=14, **settings):
    rows, background = cases.table(n, d, seed=1), cases.table(7, d, seed=2)
    return benchmark(cases.build(make, d), background, rows, **{"repeats": 1} | settings)


def explain(backend, d=cases.D, n=14, **settings):
    rows, background = cases.table(n, d, seed=1), cases.table(7, d, seed=2)
    return Explainer(cases.build(cases.Question, d), background, backend=backend, **settings)(rows)


@pytest.fixture(scope="module")
def found():
    return run()


def test_there_is_a_row_for_each_backend_of_shapae_and_its_like_in_shap_and_captum(found):
    assert found.table.index.tolist() == [*BACKENDS]
    assert found.table.columns.tolist() == COLUMNS
    assert (found.table["error"] == "").all()
    assert found.table.notna().all(axis=None)


@pytest.mark.parametrize("backend", ["deep", "gradient", "captum_gradient_shap"])
def test_residuals_and_errors_are_those_of_the_explanation(found, backend):
    want, exact, row = explain(backend), explain("exact"), found.table.loc[backend]
    assert row["largest residual (score)"] == np.abs(want.residual).max()
    assert row["relative error (fraction)"] == pytest.approx(relative_error(want.values[:10], exact.values[:10]))


def test_the_reference_is_exact_for_few_features_and_so_are_coalitions(found):
    assert (found.task["reference"], found.task["relative error of the reference"]) == ("exact", 0)
    assert found.task["rows of the reference"] == 10
    assert found.table.loc["coalitions", "relative error (fraction)"] < 1e-10
    assert found.table.loc["deep", "relative error (fraction)"] > 1e-4


def test_the_reference_for_many_features_states_its_error():
    found = run(d=14, n=4, backends=["deep"])
    assert (found.task["reference"], found.task["rows of the reference"]) == ("coalitions", 4)
    assert 0 < found.task["relative error of the reference"] < 0.03
    sure = run(d=14, n=4, backends=["deep"], tolerance=0.001)
    assert sure.task["relative error of the reference"] < found.task["relative error of the reference"] / 2


def test_seconds_are_medians_of_the_repeats(monkeypatch):
    seconds = iter([9.0, 90.0, 1.0, 10.0, 2.0, 20.0])  # both backends in turn, three times
    measure = benchmarking.Setup.explain_and_measure

    def slow(self, backend):
        usage, explanation = measure(self, backend)
        if backend != "exact":  # the reference
            usage.seconds, usage.bytes = next(seconds), 5e6
        return usage, explanation

    monkeypatch.setattr(benchmarking.Setup, "explain_and_measure", slow)
    table = run(backends=["deep", "shap_deep"], repeats=3).table
    assert table["time (s)"].tolist() == [2, 20]
    assert table["time per row (s)"].tolist() == [2 / 14, 20 / 14]
    assert table["time / time of deep"].tolist() == [1, 10]
    assert table["peak memory (MB)"].tolist() == [5, 5]


def test_a_failed_backend_is_a_row_with_its_reason_and_is_not_tried_again(monkeypatch):
    tried, measure = [], benchmarking.Setup.explain_and_measure
    monkeypatch.setattr(
        benchmarking.Setup, "explain_and_measure", lambda self, name: tried.append(name) or measure(self, name)
    )
    found = run(d=14, n=3, backends=["exact", "gradient"], repeats=2).table
    assert tried == ["exact", "gradient", "gradient"]
    assert found.loc["exact", "error"].startswith("TooLarge: the exact backend takes at most 12 features, got 14")
    assert found.loc["exact"].drop("error").isna().all()
    assert found.loc["gradient", "error"] == ""
    assert found.loc["gradient"].drop("time / time of deep").notna().all()


def test_a_failed_reference_leaves_the_times(monkeypatch):
    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(benchmarking, "explain_reference", fail)
    found = run(backends=["deep"])
    assert found.task["reference"] == "failed: MemoryError: no room"
    assert found.task["relative error of the reference"] is None
    assert np.isnan(found.table.loc["deep", "relative error (fraction)"])
    assert found.table.loc["deep", "time (s)"] > 0


def test_mistakes_are_errors():
    with pytest.raises(DataError, match="repeats must be an integer, at least 1, got 0"):
        run(repeats=0)
    with pytest.raises(DataError, match="tolerance must be a positive number, such as 0.05, got 0"):
        run(tolerance=0)
    with pytest.raises(DataError, match="Choose one, such as 'latent 0': head='latent:0'"):
        run(head="latent")
    with pytest.raises(UnknownName, match="no backend is called 'deeep'"):
        run(backends=["deeep"])


def test_the_machine_is_described_and_not_named(found):
    assert found.machine["threads"] == torch.get_num_threads()
    assert (found.machine["cores"], found.machine["device"]) == (os.cpu_count(), "cpu")
    assert found.machine["torch"] == torch.__version__
    assert 0 <= found.machine["load average"] < 1e3
    assert os.uname().nodename not in [str(each) for each in found.machine.values()]
