"""Metrics of backends and of the two controls, against closed forms and known standard errors."""

import numpy as np
import pandas as pd
import pytest
import torch

from shapae import Autoencoder, Explainer, compare, datasets, heads
from shapae.analysis.comparison import metrics
from shapae.analysis.comparison.comparison import CONTROLS, RANDOM
from shapae.analysis.comparison.evaluation import randomize_weights
from shapae.tables import background
from tests import cases
from tests.analysis.comparison.small import BACKENDS, MEASURED, compare_small


def test_explanations_and_metrics_match_the_explainer(comparison):
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


def test_curves_connect_the_mean_score_and_the_base_value():
    got = compare_small(probes=8, backends=["deep"])
    exact, deletion, insertion = got.reference, got.deletion.to_numpy(), got.insertion.to_numpy()
    scores, base = exact.scores.mean(), exact.base_values[0]
    np.testing.assert_allclose(deletion[[0, -1]], [[scores] * 3, [base] * 3])
    np.testing.assert_allclose(insertion[[0, -1]], [[base] * 3, [scores] * 3])
    assert got.deletion.index.tolist() == pytest.approx(np.arange(7) / 6)
    area = np.trapezoid(got.deletion["deep"], got.deletion.index)
    assert got.table.loc["deep", "deletion area (score)"] == pytest.approx(area)


def test_deepshap_is_exact_for_a_linear_autoencoder():
    table = compare_small(cases.Linear, backends=["deep", "exact"]).table
    deep, exact = (table.loc[name].drop([*MEASURED, "error"]).astype(float) for name in ("deep", "exact"))
    np.testing.assert_allclose(deep, exact, rtol=1e-8, atol=1e-10)


def test_the_change_over_backgrounds_is_the_standard_error_over_the_background():
    """Root mean square over many rows and backgrounds, for a backend that uses every background row."""
    ratios = []
    for seed in range(4):
        rows, background = cases.table(30, seed=20 + seed), cases.table(60, seed=seed)
        model = cases.build(cases.Linear)
        got = compare(model, background, rows, backends=["deep"], reference="deep", probes=30, seed=seed)
        explanation = got.explanations["deep"]
        expected = np.linalg.norm(explanation.standard_errors) / np.linalg.norm(explanation.values)
        ratios.append(got.table.loc["deep", "change over backgrounds (fraction)"] / expected)
    assert np.sqrt(np.mean(np.square(ratios))) == pytest.approx(1, abs=0.4)


def test_random_values_find_a_known_support_no_better_than_chance():
    """The support is of a latent; all backends find it. Random values correlate with nothing."""
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


def test_attributions_with_randomised_weights_are_uncorrelated():
    """The standard deviation over seeds of a correlation of independent values is 0.19 for 30 features."""
    correlations = []
    for seed in range(12):
        model, rows = cases.build(cases.Question, 30, seed=seed), cases.table(6, 30, seed=1)
        original, randomized = (
            Explainer(each, cases.table(7, 30, seed=2), head="reconstruction:0")(rows).values
            for each in (model, randomize_weights(model, seed))
        )
        correlations.append(metrics.rank_correlation(original, randomized))
    assert abs(np.mean(correlations)) < 2.6 * 0.19 / np.sqrt(12)


def test_the_change_over_seeds_is_the_standard_error_of_random_samples():
    """For expected gradients: their standard errors are over their random samples."""
    rows, b = cases.table(60, seed=1), cases.table(20, seed=2)
    got = compare(cases.build(cases.Question), b, rows, backends=["gradient"], reference="deep", probes=60)
    gradient = got.explanations["gradient"]
    expected = np.linalg.norm(gradient.standard_errors) / np.linalg.norm(gradient.values)
    assert got.table.loc["gradient", "change over seeds (fraction)"] == pytest.approx(expected, rel=0.15)


def test_randomised_weights_keep_their_size_and_the_model_keeps_its_weights():
    model = cases.build(cases.Nested)
    before = cases.snapshot(model)
    randomized = randomize_weights(model, seed=0)
    assert cases.snapshot(model) == before
    for original, other in zip(model.parameters(), randomized.model.parameters(), strict=True):
        assert original.shape == other.shape
        assert torch.equal(original, other) == (not original.any())
    sparse = torch.nn.Linear(200, 200)
    torch.nn.init.eye_(sparse.weight)
    weights = randomize_weights(sparse, seed=0).model.weight.detach()
    assert weights.square().mean().sqrt() == pytest.approx(200**-0.5, rel=0.02)
    assert (weights != 0).all()


def test_the_controls_are_worse_than_all_backends(comparison):
    table = comparison.table
    for column in ("relative error (fraction)", "infidelity (score^2)", "largest residual (score)"):
        assert table.loc[[*CONTROLS], column].min() > table.loc[BACKENDS, column].max()


def test_a_background_row_of_weight_two_counts_as_two_rows():
    model, rows, b = cases.build(cases.Question), cases.table(5), cases.table(4, seed=2)
    settings = {"backends": ["exact", "deep"], "probes": 3}
    weighted = compare(model, background.weighted(b, [1, 2, 1, 2]), rows, **settings)
    twice = compare(model, b[[0, 1, 1, 2, 3, 3]], rows, **settings)
    columns = ["relative error (fraction)", "deletion area (score)"]
    pd.testing.assert_frame_equal(weighted.table[columns], twice.table[columns])
    assert weighted.table.loc["exact", "change over backgrounds (fraction)"] > 0


@pytest.mark.parametrize("head", ["latent:1", heads.ReconstructionError(target="fixed"), cases.LatentEnergy()])
def test_other_heads_and_a_wrapped_model_are_evaluated(head):
    model = cases.build(cases.Question)
    wrapped = Autoencoder(model, reconstruct=lambda m, x: m.decoder(m.encoder(x)), encode=lambda m, x: m.encoder(x))
    rows, background = pd.DataFrame(cases.table(3)), pd.DataFrame(cases.table(5, seed=2))
    got = compare(wrapped, background, rows, head=head, backends=["deep", "exact"], probes=2)
    assert (got.table["error"] == "").all()
    assert got.table.loc["deep", "largest residual (score)"] < 1e-12
    assert got.deletion.iloc[0].std() < 1e-12


def test_the_change_over_backgrounds_of_a_single_background_row_is_nan():
    got = compare(cases.build(cases.Question), cases.table(1), cases.table(3, seed=1), backends=["deep"], probes=2)
    assert got.table.loc["deep", "error"] == ""
    assert np.isnan(got.table.loc["deep", "change over backgrounds (fraction)"])
