"""Comparisons of backends with a reference and two controls, on small models."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from torch import nn

import shapae
from shapae import Explainer, backends, compare
from shapae.analysis.comparison import comparison as comparing
from shapae.analysis.comparison.comparison import CONTROLS, RANDOMIZED
from shapae.backends import Coalitions
from shapae.errors import DataError, ReferenceWarning, UnknownName
from tests import cases
from tests.analysis.comparison.small import BACKENDS, MEASURED, compare_small


@pytest.fixture(scope="module")
def failing():
    """``exact`` takes 12 features at most."""
    return compare_small(d=14, backends=["exact", "deep"], reference="deep")


def test_there_is_a_row_for_each_backend_and_each_control_and_no_error(comparison):
    assert comparison.table.index.tolist() == [*BACKENDS, *CONTROLS]
    assert (comparison.table["error"] == "").all()
    assert comparison.table.loc[BACKENDS].notna().all(axis=None)
    assert [*comparison.explanations] == [*comparison.agreement] == [*comparison.deletion] == [*comparison.table.index]


def test_units_are_in_the_names_of_the_columns(comparison):
    columns = comparison.table.columns.drop("error")
    assert columns.str.fullmatch(r".+ \((s|MB|score|score\^2|fraction|-1 to 1)\)").all()


def test_the_reference_for_12_features_or_fewer_is_exact_and_agrees_with_itself(comparison):
    assert comparison.reference_name == "exact"
    assert comparison.reference is comparison.explanations["exact"]
    assert comparison.reference_error == 0
    row = comparison.table.loc["exact"]
    assert row[["relative error (fraction)", "change over seeds (fraction)"]].tolist() == [0, 0]
    assert row[["rank correlation (-1 to 1)", "top 3 overlap (fraction)"]].tolist() == pytest.approx([1, 1])


def test_a_failed_backend_is_a_row_with_its_reason(failing):
    row = failing.table.loc["exact"]
    assert row["error"].startswith("TooLarge: the exact backend takes at most 12 features, got 14")
    assert row.drop("error").isna().all()
    assert failing.table.loc["deep", "error"] == ""
    assert "exact" not in failing.explanations
    assert failing.best() == "deep"
    failing.plot()


def test_by_default_all_backends_that_take_the_number_of_features_are_compared(monkeypatch):
    assert comparing.available_backends(12) == backends.names()
    assert comparing.available_backends(13) == [name for name in backends.names() if name != "exact"]
    monkeypatch.setattr(comparing, "names", lambda: ["exact", "deep"])  # the others are slow
    assert compare_small(backends=None, d=14, reference="deep").table.index.tolist() == ["deep", *CONTROLS]


def test_the_reference_for_many_features_samples_until_its_standard_errors_are_small():
    got = compare_small(d=14, n=3, backends=["deep", "sampling"], tolerance=0.002)
    assert got.reference_name == "coalitions"
    largest = np.abs(got.reference.values).max(axis=1, keepdims=True)
    assert (got.reference.standard_errors <= 0.002 * largest).all()
    assert 0 < got.reference_error < 0.005
    # The reference has samples of its own: sampling is not compared with itself.
    assert 0 < got.table.loc["sampling", "relative error (fraction)"] < 0.1
    assert got.best() == "sampling"
    agreement = got.agreement["coalitions (reference)"]
    assert agreement["coalitions (reference)"] == pytest.approx(1)
    pd.testing.assert_series_equal(
        agreement[["deep", *CONTROLS]],
        got.table.loc[["deep", *CONTROLS], "rank correlation (-1 to 1)"],
        check_names=False,
    )


def test_a_sampled_reference_is_checked_by_contributions_that_need_no_gradients():
    got = compare_small(d=66, n=4, backends=["deep"])
    check = got.reference_check
    assert got.reference.made_by["quantity"] == "Shapley values by coalitions"
    assert check["row"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    largest = np.abs(got.reference.values[0]).argmax()
    assert check["feature"][0] == got.reference.feature_names[largest]
    assert check["reference (score)"][0] == got.reference.values[0, largest]
    z = (check["reference (score)"] - check["marginal contribution (score)"]) / check["standard error (score)"]
    assert 0.1 < np.sqrt((z**2).mean()) < 2


def test_a_reference_that_marginal_contributions_contradict_is_a_warning(monkeypatch):
    def wrong(self, *arguments, seeds, really=Coalitions._attribute):
        moments = really(self, *arguments, seeds=seeds)
        return replace(moments, mean=moments.mean[:, ::-1].copy())

    monkeypatch.setattr(Coalitions, "_attribute", wrong)
    with pytest.warns(ReferenceWarning, match="'coalitions', differs from sampled marginal contributions of"):
        compare_small(d=66, n=2, backends=["deep"])


class Rounding(nn.Module):
    def forward(self, rows):
        return torch.round(4 * rows) / 4 + 0.1


def test_scores_without_gradients_have_a_reference_of_random_orders():
    table = cases.table(20, 66)
    got = compare(Rounding(), table[:10], table[10:12], backends=["shap_permutation"], probes=1, tolerance=0.5)
    assert got.reference_name == "sampling"
    assert got.reference_check is None


def test_a_backend_without_its_package_is_a_row_with_its_reason_and_no_default(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("captum") or "captum" in name.rpartition(".")[2]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    assert comparing.available_backends(6) == [name for name in backends.names() if not name.startswith("captum")]
    got = compare_small(backends=["captum_deep", "deep"], reference="deep")
    assert got.table.loc["captum_deep", "error"].startswith("MissingPackage: backend 'captum_deep' needs captum")
    assert got.table.loc["deep", "error"] == ""


def test_an_operator_without_a_rule_is_a_row_with_its_reason():
    class Sorting(cases.Question):
        def forward(self, rows):
            result = super().forward(rows)
            return result.gather(1, result.argsort(dim=1))

    got = compare_small(Sorting, backends=["deep", "gradient"], reference="gradient")
    assert got.table.loc["deep", "error"].startswith("UnsupportedOperator: the model runs operators without")
    assert got.table.loc["gradient", "error"] == ""


def test_the_best_backend_is_the_most_accurate_within_the_budget(comparison):
    table = comparison.table.copy()
    table.loc[BACKENDS, "time (s)"] = [1.0, 30.0, 5.0]
    table.loc[BACKENDS, "relative error (fraction)"] = [0.2, 0.0, 0.1]
    timed = replace(comparison, table=table)
    assert [timed.best(), timed.best(30), timed.best(29), timed.best(4.9)] == ["exact", "exact", "gradient", "deep"]
    with pytest.raises(DataError, match=r"no backend took at most 0\.5 s\. The fastest was deep, in 1 s\."):
        timed.best(0.5)


def test_without_a_working_backend_there_is_no_best(failing):
    broken = replace(failing, table=failing.table.assign(error="X"))
    with pytest.raises(DataError, match=r"all backends failed\. See the reasons in comparison\.table\['error'\]"):
        broken.best()


def test_results_are_a_function_of_the_random_seed_and_not_of_the_number_of_workers(comparison):
    with parallel_config(backend="threading"):
        again = compare_small(n_jobs=2).table
    other = compare_small(seed=1).table
    pd.testing.assert_frame_equal(again.drop(columns=MEASURED), comparison.table.drop(columns=MEASURED))
    assert (other["infidelity (score^2)"] != again["infidelity (score^2)"]).all()


def test_an_explanation_can_be_the_reference(comparison):
    reference = Explainer(cases.build(cases.Question), cases.table(7, seed=2), backend="exact")(cases.table(8, seed=1))
    got = compare_small(reference=reference)
    columns = ["relative error (fraction)", "rank correlation (-1 to 1)", "infidelity (score^2)"]
    pd.testing.assert_frame_equal(got.table[columns], comparison.table[columns])
    with pytest.raises(DataError, match=r"its values have shape \(3, 6\), the rows \(8, 6\)\. It must explain one"):
        compare_small(reference=reference[:3])
    with pytest.raises(DataError, match=r"must explain one output of the same rows"):
        compare_small(reference=reference[::-1])


def test_the_error_of_a_sampled_reference_is_its_relative_standard_error():
    got = compare_small(reference="gradient", backends=["deep", "gradient"])
    errors, values = got.reference.standard_errors, got.reference.values
    assert got.reference_error == pytest.approx(np.linalg.norm(errors) / np.linalg.norm(values))


def test_invalid_arguments_are_errors():
    with pytest.raises(
        DataError, match=r"head='latent' has 3 outputs\. .* Choose one, such as 'latent 0': head='latent:0'"
    ):
        compare_small(head="latent")
    with pytest.raises(UnknownName, match="no backend is called 'deeep'"):
        compare_small(backends=["deeep"])
    with pytest.raises(DataError, match="the rows must be finite"):
        compare(cases.build(cases.Question), cases.table(7), np.full((3, 6), np.nan), backends=["deep"])
    with pytest.raises(ValueError, match="at most 12 features") as raised:
        compare_small(d=14, reference="exact")
    assert raised.value.__notes__ == ["(this backend is the reference, 'exact', with which all others are compared)"]


def test_data_loaders_are_tables_of_a_comparison():
    loaded = [torch.tensor(cases.table(n, seed=n)) for n in (20, 12)]
    loaders = [torch.utils.data.DataLoader(each, batch_size=4) for each in loaded]
    got = compare(cases.build(cases.Question), *loaders, backends=["deep", "exact"], probes=3)
    assert got.table.loc["exact", "relative error (fraction)"] == 0
    assert got.table.loc["deep", "largest residual (score)"] < 1e-12
    np.testing.assert_array_equal(got.explanations["deep"].data, got.reference.data)


def test_the_model_and_the_process_are_left_as_they_were():
    model = cases.build(cases.Nested).train()
    model.encoder.eval()
    before = cases.snapshot(model), cases.world()
    compare(model, cases.table(7), cases.table(3), backends=["deep", "shap_deep"], reference="deep", probes=2)
    assert (cases.snapshot(model), cases.world()) == before


def test_the_plot_shows_the_numbers(comparison):
    ax = comparison.plot()
    agreement, costs, deletion, insertion = ax.figure.axes[:4]
    assert ax is agreement
    assert ax._repr_png_().startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    shown = [text.get_text() for text in agreement.get_yticklabels()]
    np.testing.assert_allclose(agreement.images[0].get_array(), comparison.agreement.loc[shown, shown])
    want = comparison.table.loc[BACKENDS, ["time (s)", "relative error (fraction)"]].clip(lower=[0, 1e-3], axis=1)
    assert sorted(dot.get_label() for dot in costs.collections) == sorted(BACKENDS)
    for dot in costs.collections:
        np.testing.assert_allclose(dot.get_offsets(), want.loc[[dot.get_label()]])
    for ax, curves in ((deletion, comparison.deletion), (insertion, comparison.insertion)):
        assert {line.get_label() for line in ax.lines} == {*comparison.table.index}
        for line in ax.lines:
            np.testing.assert_allclose(line.get_ydata(), curves[line.get_label()])
    order = [text.get_text() for text in deletion.get_legend().get_texts()]
    assert order == comparison.deletion.mean().sort_values().index.tolist()


def test_a_backend_has_the_same_colour_in_all_panels(comparison):
    _, costs, deletion, insertion = comparison.plot().figure.axes[:4]
    lines = [{line.get_label(): line.get_color() for line in ax.lines} for ax in (deletion, insertion)]
    assert lines[0] == lines[1]
    dots = {dot.get_label(): to_hex(dot.get_facecolor()[0]) for dot in costs.collections}
    assert dots == {name: to_hex(lines[0][name]) for name in BACKENDS}


def test_shapae_compare_is_a_function_not_a_module():
    assert callable(shapae.compare)
    assert RANDOMIZED in CONTROLS
