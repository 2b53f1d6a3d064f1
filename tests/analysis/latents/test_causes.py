"""Relations to known causes: closed forms, other libraries, planted truths."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_predict

import shapae
from shapae import Autoencoder
from shapae.analysis.latents import causes as module
from shapae.analysis.latents.causes import cross_validated_r2, mutual_information
from shapae.analysis.latents.covariates import Covariate
from shapae.errors import DataError
from tests import cases
from tests.analysis.latents import planted

ROWS, N = planted.rows(), 300
CAUSES = planted.causes().set_axis(ROWS.index)
KINDS = np.array(["low", "high"])[(CAUSES["cause 4"] > 0).astype(int)]


@pytest.fixture(scope="module")
def report():
    nothing = np.random.default_rng(5).normal(size=N)
    known = CAUSES.assign(nothing=nothing, kind=KINDS, coin=np.random.default_rng(6).choice(list("ht"), N))
    return shapae.latents(planted.vae(), ROWS, covariates=known)


def test_planted_causes_are_known_to_the_active_units_and_noise_is_not(report):
    r2 = report.causes.table["r2"]
    assert r2[CAUSES.columns].min() > 0.95
    assert r2[["nothing", "coin"]].abs().max() < 0.05
    assert 0.4 < r2["kind"] < 0.8  # 2 / pi for the sign of a normal number


def test_each_planted_unit_stands_for_its_cause_and_no_other(report):
    units = report.causes.units["r2"].unstack("covariate")
    for unit in planted.USED:
        line = units.loc[f"latent {unit}", CAUSES.columns]
        assert line[f"cause {unit}"] > 0.95
        assert line.drop(f"cause {unit}").abs().max() < 0.05
        assert report.table.loc[f"latent {unit}", "cause"] == f"cause {unit}"
        assert report.table.loc[f"latent {unit}", "cause_r2"] == line[f"cause {unit}"]
    assert report.causes.explained.min() > 0.95
    assert list(report.causes.explained.index) == report.active
    order = [(unit, name) for unit in report.active for name in report.causes.table.index]
    assert list(report.causes.units.index) == order


def test_r2_is_that_of_least_squares_on_the_other_rows():
    """Without collinearity the chosen penalty is small; folds are those of scikit-learn."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)) * [1, 10, 100, 0.1] + 5
    y = x @ rng.normal(size=(4, 3)) / [100, 10, 1] + 0.03 * rng.normal(size=(200, 3))
    folds = KFold(module.FOLDS, shuffle=True, random_state=7)
    predicted = cross_val_predict(LinearRegression(), x, y, cv=folds)
    centers = np.empty_like(y)
    for train, test in folds.split(x):
        centers[test] = y[train].mean(axis=0)
    squares = [((y - each) ** 2).sum(axis=0) for each in (predicted, centers)]
    np.testing.assert_allclose(cross_validated_r2(x, y, 7), 1 - squares[0] / squares[1], atol=2e-3)
    pooled = 1 - squares[0].sum() / squares[1].sum()
    np.testing.assert_allclose(cross_validated_r2(x, y, 7, pooled=True), [pooled], atol=2e-3)


def test_noise_is_not_predicted_from_more_units_than_rows():
    rng = np.random.default_rng(0)
    assert abs(cross_validated_r2(rng.normal(size=(60, 100)), rng.normal(size=(60, 1)), 0)[0]) < 0.15


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_mutual_information_of_normal_numbers_has_its_closed_form(rho):
    x, e = np.random.default_rng(0).normal(size=(2, 3000))
    y = rho * x + np.sqrt(1 - rho**2) * e
    got = mutual_information(x[:, None], Covariate("y", y), 0)
    np.testing.assert_allclose(got, [-0.5 * np.log(1 - rho**2)], atol=0.05)


def test_mutual_information_with_separate_groups_is_their_entropy():
    groups = np.random.default_rng(0).integers(0, 3, 2000)
    x = groups + 0.01 * np.random.default_rng(1).normal(size=2000)
    share = np.bincount(groups) / 2000
    got = mutual_information(x[:, None], Covariate("g", groups.astype(float), list("abc")), 0)
    np.testing.assert_allclose(got, [-(share * np.log(share)).sum()], atol=0.03)


def test_mutual_information_with_overlapping_groups_is_that_of_the_densities():
    """Two normal densities a deviation apart: the entropy of their mixture minus that of each, integrated on a grid."""
    groups, e = np.random.default_rng(0).integers(0, 2, 4000), np.random.default_rng(1).normal(size=4000)
    grid = np.linspace(-8, 9, 4000)
    one, other = (np.exp(-((grid - center) ** 2) / 2) / np.sqrt(2 * np.pi) for center in (0, 1.5))
    mixture = (one + other) / 2
    want = -(mixture * np.log(mixture)).sum() * (grid[1] - grid[0]) - np.log(2 * np.pi * np.e) / 2
    got = mutual_information((1.5 * groups + e)[:, None], Covariate("g", groups.astype(float), ["a", "b"]), 0)
    np.testing.assert_allclose(got, [want], atol=0.025)


def test_mutual_information_of_many_rows_comes_from_a_sample_of_them(monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 1000)
    x, e = np.random.default_rng(0).normal(size=(2, 5000))
    y = Covariate("y", 0.8 * x + 0.6 * e)
    got = mutual_information(x[:, None], y, 0)
    assert got != mutual_information(x[:, None], y, 1)
    np.testing.assert_allclose(got, [-0.5 * np.log(1 - 0.64)], atol=0.08)


def test_means_per_group_are_those_of_pandas(report):
    table = pd.DataFrame(report.latents, columns=report.unit_names).groupby(KINDS)
    for kind in ("low", "high"):
        got = report.by_group.loc["kind"].xs(kind).loc[list(report.unit_names)]
        np.testing.assert_allclose(got["mean"], table.mean().loc[kind], atol=1e-12)
        np.testing.assert_allclose(got["mean_error"], table.sem().loc[kind], atol=1e-12)
        assert (got["rows"] == table.size()[kind]).all()


def test_pooled_means_are_weighted_by_inverse_variances_row_by_row(report):
    """Lu, Kim and Soljacic, 2020: the mean of a product of normal densities."""
    for kind in ("low", "high"):
        got = report.by_group.loc["kind"].xs(kind).loc[list(report.unit_names)]
        for unit in range(planted.UNITS):
            precision, mean = 0.0, 0.0
            for row in np.flatnonzero(kind == KINDS):
                new = 1 / np.exp(report.log_variances[row, unit])
                mean = (mean * precision + report.latents[row, unit] * new) / (precision + new)
                precision += new
            np.testing.assert_allclose(got["pooled_mean"].iloc[unit], mean, atol=1e-12)
            np.testing.assert_allclose(got["pooled_error"].iloc[unit], precision**-0.5, atol=1e-12)


def test_a_plain_autoencoder_has_no_pooled_means(model):
    report = shapae.latents(model, cases.table(40), covariates={"g": ["a", "b"] * 20})
    assert list(report.by_group) == ["rows", "mean", "mean_error"]
    assert np.isnan(
        shapae.latents(model, cases.table(40), covariates={"g": ["a"] + ["b"] * 39}).by_group["mean_error"][:3]
    ).all()


def test_rows_without_a_value_are_left_out_and_counted():
    """The rest has the results of a table without these rows."""
    known = CAUSES.assign(kind=KINDS).astype({"kind": object})
    gaps = known.mask(np.random.default_rng(1).random(known.shape) < [0.1, 0.0, 0.2, 0.3])
    report = shapae.latents(planted.vae(), ROWS, covariates=gaps)
    table = report.causes.table
    np.testing.assert_array_equal(table["missing"], gaps.isna().sum())
    np.testing.assert_array_equal(table["rows"], gaps.notna().sum())
    for name in gaps:
        kept = gaps[name].notna()
        alone = shapae.latents(planted.vae(), ROWS[kept], covariates=gaps.loc[kept, [name]])
        np.testing.assert_allclose(table["r2"][name], alone.causes.table["r2"][name], atol=1e-9)
        got, want = (each.causes.units.xs(name, level="covariate").loc[report.active] for each in (report, alone))
        np.testing.assert_allclose(got["r2"], want["r2"], atol=1e-9)
        if name == "kind":
            np.testing.assert_allclose(report.by_group["mean"], alone.by_group["mean"], atol=1e-12)


def test_covariates_that_say_nothing_have_a_reason_and_no_number(model):
    few = np.full(40, np.nan)
    few[:9] = range(9)
    known = {
        "one": np.ones(40),
        "same": ["x"] * 40,
        "few": few,
        "none": [None] * 40,
        "each": [f"c{i}" for i in range(40)],
        "good": cases.table(40)[:, 0],
    }
    report = shapae.latents(model, cases.table(40), covariates=known)
    table = report.causes.table
    assert table["note"].tolist()[:2] == ["the covariate is constant"] * 2
    assert table["note"].tolist()[2:] == ["fewer than 10 rows have a value"] * 2 + ["no two rows are in one group", ""]
    assert table["r2"].isna().tolist() == [True] * 5 + [False]
    units = report.causes.units
    assert units.drop("good", level="covariate").isna().all(axis=None)
    assert units.xs("good", level="covariate").notna().all(axis=None)


@pytest.mark.parametrize(("scale", "shift"), [(1e307, 0), (1e-300, 0), (1, 1e9), (-3, 2)])
def test_the_scale_of_a_covariate_does_not_matter(scale, shift):
    plain, scaled = (
        shapae.latents(planted.vae(), ROWS, covariates={"a": column.to_numpy()}).causes
        for column in (CAUSES["cause 1"], scale * CAUSES["cause 1"] + shift)
    )
    for part in ("table", "units"):
        np.testing.assert_allclose(getattr(plain, part)["r2"], getattr(scaled, part)["r2"], atol=1e-5)
    np.testing.assert_allclose(plain.units["mutual_information"], scaled.units["mutual_information"], atol=0.03)


def test_a_model_without_active_units_is_related_to_nothing(model):
    with torch.no_grad():
        for each in model.encoder.parameters():
            each.zero_()
    still = Autoencoder(model, encode="encoder", decode="decoder")
    report = shapae.latents(still, cases.table(40), covariates={"a": cases.table(40)[:, 0], "g": ["a", "b"] * 20})
    assert report.active == []
    assert report.causes.table["note"].tolist() == ["no unit is active"] * 2
    assert report.causes.units.empty
    assert len(report.by_group) == 6
    assert report.top().empty
    with pytest.raises(DataError, match="none of the 3 units is active, by variance above"):
        report.enrichment({"a": ["feature 0"]})


def test_a_report_without_covariates_says_how_to_give_them(model):
    with pytest.raises(DataError, match="no covariates. Give them: shapae.latents"):
        _ = shapae.latents(model, cases.table(40)).by_group
