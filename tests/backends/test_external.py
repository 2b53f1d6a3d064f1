"""Other libraries through shapae: against exact values, closed forms, and these libraries by hand."""

import sys

import numpy as np
import pytest
import shap
import torch
from torch import nn

from shapae import Explainer, backends
from shapae.backends import Game
from shapae.backends.external import captum_shapley, shap_partition
from shapae.backends.external.shap_kernel import ShapKernel
from shapae.errors import AdditivityWarning, MissingPackage
from tests import cases
from tests.backends.test_sampling import assert_unbiased, every_game, game_of
from tests.closed_forms import CLOSED, moving_error, shapley_values

ADAPTED = [
    *("shap_kernel", "shap_permutation", "shap_partition", "captum_deep", "captum_gradient_shap", "captum_shapley"),
]
QUADRATIC = pytest.mark.parametrize("backend", ["shap_kernel", "shap_permutation", "shap_partition", "captum_deep"])
weighted_or_fixed = pytest.mark.parametrize(
    ("head", "weighted"), [("reconstruction_error", True), ("latent", True), ("fixed", False), ("fixed", True)]
)


def values(backend, game, rows):
    """(n, d, k), with seeds by position."""
    return cases.attribution(backends.named(backend), game)(torch.tensor(rows), seeds=range(len(rows))).mean


@QUADRATIC
@pytest.mark.parametrize("head", CLOSED)
def test_a_linear_autoencoder_has_the_values_of_the_closed_form(backend, head, rows, background):
    """Of quadratic scores; any order, any clusters and the rescale rule are right for these."""
    model = cases.build(cases.Linear)
    got = Explainer(model, background, head=head, backend=backend)(rows)
    np.testing.assert_allclose(got.values, CLOSED[head](model, rows, background), rtol=0, atol=1e-10)


@QUADRATIC
@weighted_or_fixed
def test_weights_and_anchors_are_honoured(backend, head, weighted, rows, background):
    game = game_of(background, head=head, weighted=weighted, make=cases.Linear)
    want = [shapley_values(game, row) for row in torch.tensor(rows)]
    np.testing.assert_allclose(values(backend, game, rows), want, rtol=0, atol=1e-10)


@every_game
def test_all_coalitions_of_the_kernel_are_exact(head, weighted, grouped, rows, background):
    game = game_of(background, head=head, weighted=weighted, grouped=grouped)
    want = [shapley_values(game, row) for row in torch.tensor(rows)]
    np.testing.assert_allclose(values("shap_kernel", game, rows), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
def test_the_kernel_is_exact_for_eight_features(head):
    model, rows, background = (
        cases.build(cases.Question, 8),
        cases.table(3, 8, seed=1),
        cases.table(4, 8, seed=2),
    )
    got, want = (Explainer(model, background, head=head, backend=name)(rows) for name in ("shap_kernel", "exact"))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-10)


def test_the_kernel_keeps_more_than_ten_features():
    """shap's own choice since 0.47 is to keep ten."""
    model, rows, background = (
        cases.build(cases.Linear, 14),
        cases.table(2, 14, seed=1),
        cases.table(3, 14, seed=2),
    )
    got = Explainer(model, background, backend="shap_kernel")(rows)
    assert (got.values != 0).all()
    want = moving_error(model, rows, background)
    np.testing.assert_allclose(got.values, want, rtol=0, atol=0.01 * np.abs(want).max())


@pytest.mark.parametrize("head", ["latent", "fixed"])
def test_orders_of_permutation_are_unbiased(head, rows, background):
    game, row = game_of(background, head=head), torch.tensor(rows[0])
    found = cases.attribution(backends.named("shap_permutation"), game)(row.expand(60, -1), seeds=range(60)).mean
    z = (found.mean(axis=0) - shapley_values(game, row)) / (found.std(axis=0, ddof=1) / np.sqrt(60))
    assert np.abs(z).max() < 4


def by_hand(model):
    """The squared error as shap takes it."""

    def function(rows):
        with torch.no_grad():
            rows = torch.tensor(rows)
            return ((model(rows) - rows) ** 2).mean(dim=1).numpy()

    return function


def test_permutation_is_what_shap_itself_returns(model, rows, background):
    masker = shap.maskers.Independent(background)
    seeds = [int(each.generate_state(1)[0]) for each in np.random.SeedSequence(0).spawn(len(rows))]
    got = Explainer(model, background, backend="shap_permutation")(rows)
    with np_state():
        want = [
            shap.PermutationExplainer(by_hand(model), masker, seed=seed)(row[None], max_evals=10 * 13).values[0]
            for row, seed in zip(rows, seeds, strict=True)
        ]
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-12)


class np_state:
    """numpy's global generator, given back: shap seeds it."""

    def __enter__(self):
        self.before = np.random.get_state()

    def __exit__(self, *_):
        np.random.set_state(self.before)


FLAT = np.array([[0, 1, 1, 2], [2, 3, 1, 2], [4, 5, 1, 2], [6, 7, 2, 4], [8, 9, 3, 6]], dtype=float)


@pytest.mark.parametrize("clusters", ["by correlation", "by hand"])
@pytest.mark.parametrize("coalitions", [500, 12])
def test_partition_is_what_shap_itself_returns(clusters, coalitions, model, rows, background, monkeypatch):
    if clusters == "by hand":
        monkeypatch.setattr(shap_partition, "_clusters", lambda background: FLAT)
    monkeypatch.setattr(shap_partition, "COALITIONS", max(coalitions, 24))
    got = Explainer(model, background, backend="shap_partition")(rows)
    with np_state():
        masker = shap.maskers.Partition(background, clustering=FLAT if clusters == "by hand" else "correlation")
        want = shap.PartitionExplainer(by_hand(model), masker)(rows, max_evals=max(coalitions, 24)).values
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-12)
    assert np.abs(got.values - Explainer(model, background, backend="exact")(rows).values).max() > 1e-6


def test_a_constant_feature_and_a_single_background_row_are_clustered(model, rows, background):
    background[:, 2] = 1.5
    for few in (background, background[:1]):
        got = Explainer(model, few, backend="shap_partition")(rows)
        np.testing.assert_allclose(got.residual, 0, atol=1e-12)


@pytest.mark.parametrize("head", ["reconstruction_error", "feature_error", "latent"])
@pytest.mark.parametrize("make", [cases.Question, cases.Nested])
def test_captum_deep_has_the_values_of_deep_where_everything_is_a_module(head, make, rows, background):
    model = cases.build(make)
    got, want = (Explainer(model, background, head=head, backend=name)(rows) for name in ("captum_deep", "deep"))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@weighted_or_fixed
def test_captum_deep_weighs_and_anchors_as_deep(head, weighted, rows, background):
    game = game_of(background, head=head, weighted=weighted)
    np.testing.assert_allclose(values("captum_deep", game, rows), values("deep", game, rows), rtol=0, atol=1e-12)


def test_the_residual_tells_what_captum_does_not_see(rows, background):
    """captum's own rule for softmax would mix the background rows, and not add up either."""
    model = cases.build(lambda: nn.Sequential(nn.Linear(6, 4), nn.Softmax(dim=1), nn.Linear(4, 6)))
    with pytest.warns(AdditivityWarning, match="captum sees .* Use backend='deep'"):
        whole = Explainer(model, background, backend="captum_deep")(rows)
    parts = []
    for b in background:
        with pytest.warns(AdditivityWarning):
            parts.append(Explainer(model, b[None], backend="captum_deep")(rows).values)
    np.testing.assert_allclose(whole.values, np.mean(parts, axis=0), rtol=0, atol=1e-12)


def test_the_residual_tells_that_shap_takes_softmax_for_elementwise(rows, background):
    """With shap's own rule the values would add up, and be wrong."""
    model = cases.build(lambda: nn.Sequential(nn.Linear(6, 4), nn.Softmax(dim=1), nn.Linear(4, 6)))
    with pytest.warns(AdditivityWarning, match="shap sees .* Use backend='deep'"):
        Explainer(model, background, head="reconstruction", backend="shap_deep")(rows)


def test_a_weighted_background_is_resampled_as_its_weights_say():
    """Each row is there to the nearest whole number, and exactly so on average over the seeds."""
    weights = np.random.default_rng(0).exponential(size=8)
    game = Game(nn.Identity(), torch.arange(8.0)[:, None], torch.tensor(weights / weights.mean()))
    counts = np.stack([np.bincount(game.resample(30, seed)[:, 0].int(), minlength=8) for seed in range(2000)])
    want = 30 * weights / weights.sum()
    assert (np.abs(counts - want) < 1).all()
    assert (np.abs(counts.mean(axis=0) - want) < 4 * counts.std(axis=0) / 2000**0.5 + 1e-12).all()
    assert Game(nn.Identity(), torch.ones(3, 1)).resample(30, 0).shape == (3, 1)


@weighted_or_fixed
def test_captum_gradient_shap_is_unbiased_for_quadratic_scores(head, weighted, rows, background):
    game = game_of(background, head=head, weighted=weighted, make=cases.Linear)
    assert_unbiased(backends.named("captum_gradient_shap"), game, torch.tensor(rows[0]))


@every_game
def test_captum_shapley_is_unbiased(head, weighted, grouped, rows, background):
    game = game_of(background, head=head, weighted=weighted, grouped=grouped)
    assert_unbiased(backends.named("captum_shapley"), game, torch.tensor(rows[0]), runs=60)


@pytest.mark.parametrize("most", [1, 40])
def test_captum_shapley_in_pieces_has_the_same_values(most, rows, background, monkeypatch):
    game = game_of(background, head="latent", weighted=True, grouped=True)
    want = values("captum_shapley", game, rows)
    monkeypatch.setattr(captum_shapley, "MAX_VALUES", most)
    np.testing.assert_allclose(values("captum_shapley", game, rows), want, rtol=0, atol=1e-7)


@pytest.mark.parametrize("backend", ADAPTED)
def test_nothing_is_said(backend, model, rows, capfd, caplog):
    """Not even by shap's log, which warns of more than 100 background rows; warnings are errors here."""
    Explainer(model, cases.table(101, seed=2), backend=backend)(rows[:1])
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_kernel_draws_from_its_seed_where_there_are_too_many_coalitions(rows, background, monkeypatch):
    monkeypatch.setattr(ShapKernel, "n_samples", 20)
    game, twins = game_of(background), torch.tensor(rows[:1]).expand(3, -1)
    first, again, other = cases.attribution(ShapKernel(), game)(twins, seeds=[4, 4, 5]).mean
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_a_missing_library_is_an_error_that_says_how_to_get_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("captum") or "captum" in name.rpartition(".")[2]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(MissingPackage, match=r"backend 'captum_deep' needs captum: pip install 'shapae\[captum\]'"):
        Explainer(cases.build(cases.Question), cases.table(3), backend="captum_deep")
    assert "captum_deep" in backends.names()
