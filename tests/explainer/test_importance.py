"""Averages over many rows, against the explanation of all rows."""

import numpy as np
import pandas as pd
import pytest
import torch

from shapae import Autoencoder, Explainer, backends
from shapae.errors import AdditivityWarning, DataError, TooLarge, UnknownName
from shapae.explainer.chunks import plan_chunks
from shapae.explainer.importance import Importance, average_over_rows
from tests import cases

NAMES = list("abcdef")


@pytest.mark.parametrize("head", ["reconstruction_error", "latent:1", "latent", "reconstruction", "feature_error"])
@pytest.mark.parametrize("backend", backends.names())
def test_a_summary_has_the_averages_of_the_explanation(backend, head, model, rows, background):
    explainer = Explainer(model, background, head=head, backend=backend, feature_names=NAMES)
    got, explanation = explainer.summarize(rows), explainer(rows)
    values = explanation.values.reshape(5, 6, -1)
    for found, want in ((got.mean, values), (got.mean_abs, np.abs(values))):
        np.testing.assert_allclose(found, want.mean(axis=0), rtol=0, atol=1e-12)
    for found, want in ((got.mean_error, values), (got.mean_abs_error, np.abs(values))):
        np.testing.assert_allclose(found, want.std(axis=0, ddof=1) / np.sqrt(5), rtol=0, atol=1e-12)
    pd.testing.assert_frame_equal(got.table, Importance.of(explanation).table, rtol=1e-10, atol=1e-12)
    assert got.rows == 5
    np.testing.assert_allclose(got.residual, explanation.residual.reshape(5, -1).mean(axis=0), rtol=0, atol=1e-12)


def test_a_summary_that_does_not_add_up_is_a_warning(rows, background):
    model = Autoencoder(cases.build(cases.Linear), reconstruct=lambda m, x: torch.tanh(m(x)))  # seen by no hook
    with pytest.warns(AdditivityWarning, match="values of 5 of 5 rows do not add up to their scores: the resid"):
        Explainer(model, background, backend="shap_deep").summarize(rows)


@pytest.mark.parametrize("memory", ["1GB", "60kB"])
def test_a_summary_does_not_depend_on_how_the_rows_are_cut(memory, model):
    rows, background = cases.table(150, seed=3), cases.table(9)
    want = np.abs(Explainer(model, background, head="reconstruction")(rows).values)
    got = Explainer(model, background, head="reconstruction", memory=memory).summarize(rows)
    np.testing.assert_allclose(got.mean_abs, want.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.mean_abs_error, want.std(axis=0, ddof=1) / np.sqrt(150), rtol=0, atol=1e-12)


def test_a_summary_is_made_where_the_values_would_not_fit_and_the_refusal_says_so(model):
    explainer = Explainer(model, cases.table(9), head="reconstruction", memory="60kB")
    with pytest.raises(TooLarge, match=r"If averages over rows are enough, summarize\(X\) needs no such array"):
        explainer(cases.table(150))
    explainer.summarize(cases.table(150))
    with pytest.raises(TooLarge, match=r"the averages over the rows need 4\.608 kB, .* set memory='13\.82 kB'"):
        Explainer(model, cases.table(9), head="reconstruction", memory="9kB").summarize(cases.table(2))


def test_the_background_may_be_cut_too(model, monkeypatch):
    """Sizes of sums are not sums of sizes, so each row meets all parts of the background before its size is taken."""
    rows, background = cases.table(4, seed=3), cases.table(40)
    want = np.abs(Explainer(model, background)(rows).values).mean(axis=0)
    got = Explainer(model, background, memory="25kB")
    assert len(plan_chunks(got._backend, got._game, 4, got._settings, reserved=0).parts) > 1
    np.testing.assert_allclose(got.summarize(rows).mean_abs[:, 0], want, rtol=0, atol=1e-12)


def test_standard_errors_cover_the_truth():
    draws = np.random.default_rng(0).standard_normal((1000, 60, 1, 1)) + 0.3
    averages = [average_over_rows(each) for each in draws]
    errors = np.array([each.values.standard_error.item() for each in averages])
    means = np.array([each.values.mean.item() for each in averages])
    assert 0.93 <= (np.abs(means - 0.3) <= 1.96 * errors).mean() <= 0.97


@pytest.fixture
def importance():
    values = np.array([[[1.0, -5.0], [-2.0, 0.0], [0.5, 1.0]], [[3.0, 5.0], [-4.0, 2.0], [0.5, -1.0]]])
    return Importance(average_over_rows(values), ["x", "y", "z"], ["p", "q"])


def test_the_table_of_one_output_has_the_most_important_feature_first(importance):
    table = importance.output("p")
    assert list(table.index) == ["y", "x", "z"]
    assert table.loc["y"].tolist() == [3, 1, -3, 1]
    assert table.loc["x"].tolist() == [2, 1, 2, 1]
    with pytest.raises(UnknownName, match="no output is called 'r'; there are: p, q"):
        importance.output("r")


def test_the_top_features_of_all_outputs_stand_below_each_other(importance):
    top = importance.top(2)
    assert top.index.tolist() == [("p", "y"), ("p", "x"), ("q", "x"), ("q", "y")]
    assert top["mean_abs_value"].tolist() == [3, 2, 5, 1]
    assert importance.table.loc["z"].tolist() == [0.5, 1]


def test_a_single_row_has_no_standard_error(model, background):
    table = Explainer(model, background).summarize(cases.table(1)).table
    assert table["mean_abs_value_error"].isna().all()
    np.testing.assert_array_equal(table["mean_abs_value"], table["mean_value"].abs())


def test_workers_find_the_same(model, background):
    rows = torch.tensor(cases.table(40, seed=2))
    one, two = (Explainer(model, background, head="latent", n_jobs=jobs).summarize(rows) for jobs in (1, 2))
    np.testing.assert_allclose(one.mean_abs, two.mean_abs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["deep", "gradient", "sampling"])
def test_a_summary_leaves_a_model_in_train_mode_as_it_was(backend):
    model = cases.build(
        lambda: torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 6))
    )
    before, world = cases.snapshot(model.train()), cases.world()
    Explainer(model, cases.table(8), backend=backend).summarize(cases.table(4, seed=1))
    assert cases.snapshot(model) == before
    assert cases.world() == world


@pytest.mark.parametrize("other", [3, None, [], "part-0"])
def test_only_importances_are_merged(other, model, rows, background):
    part = Explainer(model, background).summarize(rows)
    for parts in ((part, other), (other, part), (other,)):
        with pytest.raises(DataError, match=r"each part must be an Importance \(a list of them is merge\(\*parts\)\)"):
            Importance.merge(*parts)
