"""Backends beside a reference and two controls, on models that are small."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config
from matplotlib import pyplot as plt

import shapae
from shapae import Autoencoder, Explainer, backends, compare, datasets, heads
from shapae.analysis.comparison import comparison as comparing
from shapae.analysis.comparison import metrics
from shapae.analysis.comparison.comparison import CONTROLS, RANDOM, RANDOMIZED
from shapae.analysis.comparison.evaluation import randomize_weights
from shapae.errors import DataError, UnknownName
from shapae.tables import background
from tests import cases

BACKENDS = ["deep", "exact", "gradient"]
UNCERTAIN = ["time (s)", "peak memory (MB)"]


def compared(make=cases.Question, d=cases.D, n=8, **settings):
    rows, background = cases.table(n, d, seed=1), cases.table(7, d, seed=2)
    return compare(cases.build(make, d), background, rows, **{"backends": BACKENDS, "probes": 4} | settings)


@pytest.fixture(scope="module")
def comparison():
    return compared()


@pytest.fixture(scope="module")
def failing():
    """``exact`` takes 12 features at most."""
    return compared(d=14, backends=["exact", "deep"], reference="deep")


def test_there_is_a_row_for_each_backend_and_each_control_and_no_error(comparison):
    assert comparison.table.index.tolist() == [*BACKENDS, *CONTROLS]
    assert (comparison.table["error"] == "").all()
    assert comparison.table.loc[BACKENDS].notna().all(axis=None)
    assert [*comparison.explanations] == [*comparison.agreement] == [*comparison.deletion] == [*comparison.table.index]


def test_units_are_in_the_names_of_the_columns(comparison):
    columns = comparison.table.columns.drop("error")
    assert columns.str.fullmatch(r".+ \((s|MB|score|score\^2|fraction|-1 to 1)\)").all()


def test_up_to_12_features_the_reference_is_exact_and_agrees_with_itself(comparison):
    assert comparison.reference_name == "exact"
    assert comparison.reference is comparison.explanations["exact"]
    assert comparison.reference_error == 0
    row = comparison.table.loc["exact"]
    assert row[["relative error (fraction)", "change over seeds (fraction)"]].tolist() == [0, 0]
    assert row[["rank correlation (-1 to 1)", "top 3 overlap (fraction)"]].tolist() == pytest.approx([1, 1])


def test_the_explanations_are_those_of_the_explainer_and_the_numbers_are_theirs(comparison):
    model, rows, background = cases.build(cases.Question), cases.table(8, seed=1), cases.table(7, seed=2)
    want = {name: Explainer(model, background, backend=name)(rows) for name in BACKENDS}
    for name, each in want.items():
        np.testing.assert_allclose(comparison.explanations[name].values, each.values, atol=1e-12)
        row = comparison.table.loc[name]
        assert row["largest residual (score)"] == pytest.approx(np.abs(each.residual).max(), abs=1e-12)
        assert row["mean standard error (score)"] == pytest.approx(each.standard_errors.mean())
        error = metrics.relative_error(each.values, want["exact"].values)
        assert row["relative error (fraction)"] == pytest.approx(error, abs=1e-12)
        assert comparison.agreement.loc[name, "exact"] == pytest.approx(row["rank correlation (-1 to 1)"])


def test_curves_go_from_the_scores_to_the_base_value_and_back():
    got = compared(probes=8, backends=["deep"])
    exact, deletion, insertion = got.reference, got.deletion.to_numpy(), got.insertion.to_numpy()
    scores, base = exact.scores.mean(), exact.base_values[0]
    np.testing.assert_allclose(deletion[[0, -1]], [[scores] * 3, [base] * 3])
    np.testing.assert_allclose(insertion[[0, -1]], [[base] * 3, [scores] * 3])
    assert got.deletion.index.tolist() == pytest.approx(np.arange(7) / 6)
    area = np.trapezoid(got.deletion["deep"], got.deletion.index)
    assert got.table.loc["deep", "deletion area (score)"] == pytest.approx(area)


def test_of_a_linear_autoencoder_deepshap_is_exact():
    table = compared(cases.Linear, backends=["deep", "exact"]).table
    one, other = table.loc["deep"].drop([*UNCERTAIN, "error"]), table.loc["exact"].drop([*UNCERTAIN, "error"])
    np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=1e-8, atol=1e-10)


def test_half_the_distance_of_two_halves_is_the_standard_error_over_the_background():
    """Over many rows and backgrounds, in the mean of squares; of a backend that goes through all of the background."""
    found = []
    for seed in range(4):
        rows, background = cases.table(30, seed=20 + seed), cases.table(60, seed=seed)
        model = cases.build(cases.Linear)
        got = compare(model, background, rows, backends=["deep"], reference="deep", probes=30, seed=seed)
        explanation = got.explanations["deep"]
        expected = np.linalg.norm(explanation.standard_errors) / np.linalg.norm(explanation.values)
        found.append(got.table.loc["deep", "change over backgrounds (fraction)"] / expected)
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(1, abs=0.4)


def test_random_values_find_a_known_support_no_better_than_chance():
    """The true support of a latent; and they agree with nothing, while all backends find it."""
    block = datasets.block_autoencoder(n=220, seed=1)
    rows, background = block.X[:200], block.X[200:]
    got = compare(block.model, background, rows, head="latent:1", backends=["deep", "gradient"], reference="deep")
    truth = np.tile(block.latents.loc["latent 1"], (200, 1))
    areas = {name: metrics.auroc(np.abs(each.values), truth) for name, each in got.explanations.items()}
    assert areas["deep"].min() == areas["gradient"].min() == 1
    interval = 2.6 * areas[RANDOM].std() / np.sqrt(200)  # 99 %
    assert abs(areas[RANDOM].mean() - 0.5) < interval < 0.05
    assert abs(got.table.loc[RANDOM, "rank correlation (-1 to 1)"]) < 2.6 / np.sqrt(200 * 11)
    assert got.table.loc[RANDOM, "relative error (fraction)"] == pytest.approx(np.sqrt(2), rel=0.1)


def test_randomised_weights_decorrelate():
    """Each with other weights: of 30 features, correlations of nothing have a standard deviation of 0.19 by seed."""
    found = []
    for seed in range(12):
        model, rows = cases.build(cases.Question, 30, seed=seed), cases.table(6, 30, seed=1)
        mine, strange = (
            Explainer(each, cases.table(7, 30, seed=2), head="reconstruction:0")(rows).values
            for each in (model, randomize_weights(model, seed))
        )
        found.append(metrics.rank_correlation(mine, strange))
    assert abs(np.mean(found)) < 2.6 * 0.19 / np.sqrt(12)


def test_the_change_over_seeds_is_the_standard_error_of_what_is_drawn():
    """Of expected gradients, whose standard errors are those of their draws."""
    rows, b = cases.table(60, seed=1), cases.table(20, seed=2)
    got = compare(cases.build(cases.Question), b, rows, backends=["gradient"], reference="deep", probes=60)
    drawn = got.explanations["gradient"]
    expected = np.linalg.norm(drawn.standard_errors) / np.linalg.norm(drawn.values)
    assert got.table.loc["gradient", "change over seeds (fraction)"] == pytest.approx(expected, rel=0.15)


def test_randomised_weights_are_as_large_and_the_model_keeps_its_own():
    model = cases.build(cases.Nested)
    before = cases.snapshot(model)
    strange = randomize_weights(model, seed=0)
    assert cases.snapshot(model) == before
    for mine, other in zip(model.parameters(), strange.model.parameters(), strict=True):
        assert mine.shape == other.shape
        assert torch.equal(mine, other) == (not mine.any())
    sparse = torch.nn.Linear(200, 200)
    torch.nn.init.eye_(sparse.weight)
    drawn = randomize_weights(sparse, seed=0).model.weight.detach()
    assert drawn.square().mean().sqrt() == pytest.approx(200**-0.5, rel=0.02)
    assert (drawn != 0).all()


def test_the_controls_do_worse_than_all_backends(comparison):
    table = comparison.table
    for column in ("relative error (fraction)", "infidelity (score^2)", "largest residual (score)"):
        assert table.loc[[*CONTROLS], column].min() > table.loc[BACKENDS, column].max()


def test_a_backend_that_fails_is_a_row_with_its_reason(failing):
    row = failing.table.loc["exact"]
    assert row["error"].startswith("TooLarge: the exact backend takes at most 12 features, got 14")
    assert row.drop("error").isna().all()
    assert failing.table.loc["deep", "error"] == ""
    assert "exact" not in failing.explanations
    assert failing.best() == "deep"
    failing.plot()


def test_by_default_all_backends_that_take_so_many_features_are_compared(monkeypatch):
    assert comparing.available_backends(12) == backends.names()
    assert comparing.available_backends(13) == [name for name in backends.names() if name != "exact"]
    monkeypatch.setattr(comparing, "names", lambda: ["exact", "deep"])  # the others take their time
    assert compared(backends=None, d=14, reference="deep").table.index.tolist() == ["deep", *CONTROLS]


def test_for_many_features_the_reference_draws_until_it_is_sure():
    got = compared(d=14, n=3, backends=["deep", "sampling"], tolerance=0.002)
    assert got.reference_name == "sampling"
    largest = np.abs(got.reference.values).max(axis=1, keepdims=True)
    assert (got.reference.standard_errors <= 0.002 * largest).all()
    assert 0 < got.reference_error < 0.005
    # Not the same draws, so that one can't be taken for the truth of the other.
    assert 0 < got.table.loc["sampling", "relative error (fraction)"] < 0.1
    assert got.best() == "sampling"
    agreement = got.agreement["sampling (reference)"]
    assert agreement["sampling (reference)"] == pytest.approx(1)
    pd.testing.assert_series_equal(
        agreement[["deep", *CONTROLS]],
        got.table.loc[["deep", *CONTROLS], "rank correlation (-1 to 1)"],
        check_names=False,
    )


def test_background_rows_count_by_their_weights():
    """As if those of weight 2 were there twice."""
    model, rows, b = cases.build(cases.Question), cases.table(5), cases.table(4, seed=2)
    settings = {"backends": ["exact", "deep"], "probes": 3}
    weighted = compare(model, background.weighted(b, [1, 2, 1, 2]), rows, **settings)
    twice = compare(model, b[[0, 1, 1, 2, 3, 3]], rows, **settings)
    columns = ["relative error (fraction)", "deletion area (score)"]
    pd.testing.assert_frame_equal(weighted.table[columns], twice.table[columns])
    assert weighted.table.loc["exact", "change over backgrounds (fraction)"] > 0


def test_a_backend_whose_library_is_missing_is_a_row_and_not_among_the_default(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("captum") or "captum" in name.rpartition(".")[2]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    assert comparing.available_backends(6) == [name for name in backends.names() if not name.startswith("captum")]
    got = compared(backends=["captum_deep", "deep"], reference="deep")
    assert got.table.loc["captum_deep", "error"].startswith("MissingPackage: backend 'captum_deep' needs captum")
    assert got.table.loc["deep", "error"] == ""


def test_an_operator_without_a_rule_is_a_row_too():
    class Sorting(cases.Question):
        def forward(self, rows):
            return super().forward(rows).sort(dim=1).values

    got = compared(Sorting, backends=["deep", "gradient"], reference="gradient")
    assert got.table.loc["deep", "error"].startswith("UnsupportedOperator: the model runs operators without")
    assert got.table.loc["gradient", "error"] == ""


def test_the_best_is_the_nearest_that_the_budget_allows(comparison):
    table = comparison.table.copy()
    table.loc[BACKENDS, "time (s)"] = [1.0, 30.0, 5.0]
    table.loc[BACKENDS, "relative error (fraction)"] = [0.2, 0.0, 0.1]
    timed = replace(comparison, table=table)
    assert [timed.best(), timed.best(30), timed.best(29), timed.best(4.9)] == ["exact", "exact", "gradient", "deep"]
    with pytest.raises(DataError, match=r"no backend took at most 0\.5 s; the fastest was deep, in 1 s\."):
        timed.best(0.5)


def test_if_all_fail_there_is_no_best(failing):
    broken = replace(failing, table=failing.table.assign(error="X"))
    with pytest.raises(DataError, match=r"all backends failed; see the column 'error'"):
        broken.best()


def test_the_same_seed_gives_the_same_numbers_and_jobs_change_nothing(comparison):
    with parallel_config(backend="threading"):
        again = compared(n_jobs=2).table
    other = compared(seed=1).table
    pd.testing.assert_frame_equal(again.drop(columns=UNCERTAIN), comparison.table.drop(columns=UNCERTAIN))
    assert (other["infidelity (score^2)"] != again["infidelity (score^2)"]).all()


def test_an_explanation_can_be_the_reference(comparison):
    reference = Explainer(cases.build(cases.Question), cases.table(7, seed=2), backend="exact")(cases.table(8, seed=1))
    got = compared(reference=reference)
    columns = ["relative error (fraction)", "rank correlation (-1 to 1)", "infidelity (score^2)"]
    pd.testing.assert_frame_equal(got.table[columns], comparison.table[columns])
    with pytest.raises(DataError, match=r"must explain one output of the same rows, got values of shape \(3, 6\)"):
        compared(reference=reference[:3])
    with pytest.raises(DataError, match=r"must explain one output of the same rows"):
        compared(reference=reference[::-1])


def test_a_reference_that_draws_says_how_sure_it_is():
    got = compared(reference="gradient", backends=["deep", "gradient"])
    errors, values = got.reference.standard_errors, got.reference.values
    assert got.reference_error == pytest.approx(np.linalg.norm(errors) / np.linalg.norm(values))


def test_what_cannot_be_compared_is_an_error_at_once():
    with pytest.raises(
        DataError, match=r"on one output, got 3 with head='latent'; choose one, such as head='latent:0'"
    ):
        compared(head="latent")
    with pytest.raises(UnknownName, match="no backend is called 'deeep'"):
        compared(backends=["deeep"])
    with pytest.raises(DataError, match="the rows must be finite"):
        compare(cases.build(cases.Question), cases.table(7), np.full((3, 6), np.nan), backends=["deep"])
    with pytest.raises(ValueError, match="at most 12 features") as raised:
        compared(d=14, reference="exact")
    assert raised.value.__notes__ == ["(this is the reference, 'exact', with which all others are to be compared)"]


@pytest.mark.parametrize("head", ["latent:1", heads.ReconstructionError(target="fixed"), cases.LatentEnergy()])
def test_other_heads_and_a_wrapped_model(head):
    model = cases.build(cases.Question)
    wrapped = Autoencoder(model, reconstruct=lambda m, x: m.decoder(m.encoder(x)), encode=lambda m, x: m.encoder(x))
    rows, background = pd.DataFrame(cases.table(3)), pd.DataFrame(cases.table(5, seed=2))
    got = compare(wrapped, background, rows, head=head, backends=["deep", "exact"], probes=2)
    assert (got.table["error"] == "").all()
    assert got.table.loc["deep", "largest residual (score)"] < 1e-12
    assert got.deletion.iloc[0].std() < 1e-12


def test_any_table_will_do():
    loaded = [torch.tensor(cases.table(n, seed=n)) for n in (20, 12)]
    loaders = [torch.utils.data.DataLoader(each, batch_size=4) for each in loaded]
    got = compare(cases.build(cases.Question), *loaders, backends=["deep", "exact"], probes=3)
    assert got.table.loc["exact", "relative error (fraction)"] == 0
    assert got.table.loc["deep", "largest residual (score)"] < 1e-12
    np.testing.assert_array_equal(got.explanations["deep"].data, got.reference.data)


def test_the_model_and_the_process_are_as_they_were():
    model = cases.build(cases.Nested).train()
    model.encoder.eval()
    before = cases.snapshot(model), cases.world()
    compare(model, cases.table(7), cases.table(3), backends=["deep", "shap_deep"], reference="deep", probes=2)
    assert (cases.snapshot(model), cases.world()) == before


def test_a_single_background_row_has_no_halves():
    got = compare(cases.build(cases.Question), cases.table(1), cases.table(3, seed=1), backends=["deep"], probes=2)
    assert got.table.loc["deep", "error"] == ""
    assert np.isnan(got.table.loc["deep", "change over backgrounds (fraction)"])


def test_the_picture_shows_the_numbers(comparison):
    figure = comparison.plot()
    agreement, costs, deletion, insertion = figure.axes[:4]
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    shown = [text.get_text() for text in agreement.get_yticklabels()]
    np.testing.assert_allclose(agreement.images[0].get_array(), comparison.agreement.loc[shown, shown])
    dots = np.concatenate([dot.get_offsets() for dot in costs.collections])
    want = comparison.table.loc[BACKENDS, ["time (s)", "relative error (fraction)"]]
    np.testing.assert_allclose(dots, want.clip(lower=[0, 1e-3], axis=1))
    for ax, curves in ((deletion, comparison.deletion), (insertion, comparison.insertion)):
        assert {line.get_label() for line in ax.lines} == {*comparison.table.index}
        for line in ax.lines:
            np.testing.assert_allclose(line.get_ydata(), curves[line.get_label()])
    order = [text.get_text() for text in deletion.get_legend().get_texts()]
    assert order == comparison.deletion.mean().sort_values().index.tolist()


def test_a_backend_has_the_same_colour_in_all_panels(comparison):
    _, costs, deletion, insertion = comparison.plot().axes[:4]
    lines = [{line.get_label(): line.get_color() for line in ax.lines} for ax in (deletion, insertion)]
    assert lines[0] == lines[1]
    named = {text.get_text(): text.get_color() for text in costs.texts if text.get_text() in BACKENDS}
    assert named == {name: lines[0][name] for name in BACKENDS}


def test_the_surface_names_the_function_not_a_module():
    assert callable(shapae.compare)
    assert RANDOMIZED in CONTROLS
