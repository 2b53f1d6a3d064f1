"""Gradients at coalitions against closed forms, enumeration, random orders, and their own standard errors."""

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Explainer, backends, heads
from shapae.backends._coalitions import Draws, average_draws, average_outputs
from shapae.backends.closed_form import ClosedForm
from shapae.backends.coalitions import FEW_PLAYERS, MAX_PAIRS, Coalitions
from shapae.deepshap import ManyOutputs
from shapae.errors import DataError, ModelError
from shapae.tables.background import weighted
from tests import cases

WIDE = cases.table(130, FEW_PLAYERS + 6, seed=5)


class Products(nn.Module):
    """Linear in each feature, so that the trapezoid rule is exact, and far from linear in all of them."""

    def forward(self, autoencoder, rows):
        return (1 + 0.5 * rows).prod(dim=1)


class CurvedProducts(nn.Module):
    """Quadratic in each feature: the trapezoid rule is exact, if both of its ends count the same."""

    def forward(self, autoencoder, rows):
        return (1 + 0.2 * rows + 0.1 * rows**2).prod(dim=1)


def forced(pairs=None):
    return Coalitions(pairs, min_players=0)


def explain(model, background, rows, backend, **settings):
    return Explainer(model, background, backend=backend, **settings)(rows)


@pytest.mark.parametrize(
    "settings",
    [
        {"groups": {"x": ["feature 0", "feature 3"], "y": ["feature 1", "feature 5"]}},
        {"head": heads.ReconstructionError(target="fixed")},
        {"head": "feature_error"},
        {"source": "latent"},
        {"source": "latent", "head": "reconstruction"},
    ],
    ids=str,
)
@pytest.mark.parametrize("pairs", [1, 3])
def test_quadratic_scores_have_the_values_of_the_enumeration(settings, pairs, rows, background):
    model = cases.build(cases.Linear)
    for table in (background, weighted(background, np.arange(1.0, len(background) + 1))):
        got, want = (explain(model, table, rows, each, **settings).values for each in (forced(pairs), "exact"))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("head", ["reconstruction", "feature_error"])
def test_all_outputs_at_once_have_the_averages_of_backward_passes(head):
    model, table = cases.build(cases.Question, d=24), torch.tensor(cases.table(70, 24))
    explainer = Explainer(model, table[:60], head=head)
    game, rows = explainer._game, table[60:64]
    outputs = ManyOutputs(game.score, game.background)
    variances = []
    for seed in range(20):
        draws = Draws(game, 3, range(10 * seed, 10 * seed + 4))
        once, one_by_one = average_outputs(draws, outputs, rows), average_draws(draws, rows, batch_size=500)
        np.testing.assert_allclose(once.mean, one_by_one.mean, rtol=0, atol=1e-10)
        variances.append([once.variance, one_by_one.variance])
    once, one_by_one = np.array(variances).mean(axis=(0, 2))
    assert np.sqrt(once.sum() / one_by_one.sum()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("b", [1, 3, 40])
def test_intervals_of_all_outputs_at_once_cover_their_mean(b):
    """Also for one background row, whose variance one deviation alone would not tell."""
    model = cases.build(cases.Question, d=24)
    game = Explainer(model, cases.table(b, 24), head="reconstruction")._game
    rows = torch.tensor(cases.table(1, 24, seed=3)).expand(100, -1)
    found = average_outputs(Draws(game, 128 // b, range(100)), ManyOutputs(game.score, game.background), rows)
    deviations = (found.mean - found.mean.mean(dim=0)).abs()
    assert 0.92 <= (deviations <= 1.96 * found.variance.sqrt()).double().mean() <= 0.98


def test_one_pair_has_the_same_spread_for_any_way_to_compute_the_outputs():
    """Parts of a weighted background have different shares, which are no spread."""
    model = cases.build(cases.Question, d=24)
    table = weighted(cases.table(60, 24), np.repeat([1.0, 50.0], 30))
    game, rows = Explainer(model, table, head="reconstruction")._game, torch.tensor(cases.table(40, 24, seed=3))
    draws = Draws(game, 1, range(40))
    once = average_outputs(draws, ManyOutputs(game.score, game.background), rows)
    one_by_one = average_draws(draws, rows, batch_size=500)
    assert float(once.variance.sum() / one_by_one.variance.sum()) ** 0.5 == pytest.approx(1, abs=0.2)


def test_activations_that_the_closed_form_is_wrong_for_are_left_to_sampling(monkeypatch):
    """The tails of a normal distribution mislead it where one feature dominates the argument of exp."""

    weights = torch.tensor([4.0] + [0.5] * 12, dtype=torch.float64)

    def head(model, rows):
        return torch.exp(rows @ weights)

    model, table = nn.Identity(), cases.table(7, 13)
    got = explain(model, table[:5], table[5:], "coalitions", head=head)
    monkeypatch.setattr("shapae.backends.exact.MAX_PLAYERS", 13)
    want = explain(model, table[:5], table[5:], "exact", head=head)
    assert np.linalg.norm(got.values - want.values) < 0.3 * np.linalg.norm(want.values)


def test_one_hidden_layer_has_its_closed_form_unless_pairs_or_a_tolerance_are_given():
    model = cases.build(cases.Question, d=WIDE.shape[1])

    def record(backend, **settings):
        return explain(model, WIDE[:50], WIDE[50:52], backend, **settings).made_by

    assert record("coalitions", head="latent")["quantity"] == ClosedForm.quantity
    others = [Coalitions(2), "coalitions", "coalitions"], [{"head": "latent"}, {"head": "latent", "tolerance": 0.5}, {}]
    for backend, settings in zip(*others, strict=True):
        assert record(backend, **settings)["quantity"] == Coalitions.quantity


def test_the_closed_form_agrees_with_many_coalitions():
    model = cases.build(cases.Question, d=WIDE.shape[1])
    got, want, deep = (
        explain(model, WIDE[:50], WIDE[50:53], backend, head="latent").values
        for backend in ("coalitions", Coalitions(64), "deep")
    )
    errors = [np.linalg.norm(each - want) / np.linalg.norm(want) for each in (got, deep)]
    assert errors[0] < 0.03
    assert errors[0] < errors[1] / 3


@pytest.fixture(scope="module")
def products():
    """Explanations of 100 rows by enumeration, and by coalitions with several seeds."""
    model, rows, background = nn.Identity(), cases.table(100, 10, seed=4), cases.table(20, 10, seed=2)

    def run(backend, seed=0):
        return explain(model, background, rows, backend, head=Products(), seed=seed)

    return run("exact").values, [run(forced(8), seed) for seed in range(12)]


def test_intervals_cover_the_shapley_values(products):
    want, runs = products
    inside = [np.abs(run.values - want) <= 1.96 * run.standard_errors for run in runs]
    assert 0.93 <= np.mean(inside) <= 0.985


def test_standard_errors_are_the_spread_over_seeds(products):
    _, runs = products
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    errors = np.mean([run.standard_errors for run in runs], axis=0)
    assert np.sqrt((spread**2).sum() / (errors**2).sum()) == pytest.approx(1, abs=0.2)


def test_the_error_falls_with_the_square_root_of_the_number_of_pairs(products):
    want, runs = products
    model, rows, background = nn.Identity(), cases.table(100, 10, seed=4), cases.table(20, 10, seed=2)
    more = explain(model, background, rows, forced(128), head=Products())
    errors = [np.linalg.norm(run.values - want) for run in (runs[0], more)]
    assert errors[1] / errors[0] == pytest.approx(1 / 4, abs=0.1)


def test_both_ends_of_the_trapezoid_count_the_same():
    """Without weights, members count as often as they are drawn, and the values are biased."""
    rows, background = cases.table(20, 10, seed=4), cases.table(10, 10, seed=2)
    got, want = (
        explain(nn.Identity(), background, rows, each, head=CurvedProducts()) for each in (forced(1000), "exact")
    )
    assert np.linalg.norm(got.values - want.values) / np.linalg.norm(want.values) < 0.012
    assert np.mean(np.abs(got.values - want.values) <= 1.96 * got.standard_errors) > 0.93


def test_errors_over_backgrounds_are_those_of_the_enumeration(products):
    """Apart from the draws: those of the enumeration have no draws."""
    _, runs = products
    model, rows, background = nn.Identity(), cases.table(100, 10, seed=4), cases.table(20, 10, seed=2)
    want = explain(model, background, rows, "exact", head=Products()).standard_errors
    got = explain(model, background, rows, forced(MAX_PAIRS), head=Products()).background_errors
    assert np.sqrt((got**2).sum() / (want**2).sum()) == pytest.approx(1, abs=0.15)
    assert runs[0].background_errors.shape == runs[0].values.shape


def test_one_pair_has_the_spread_of_draws_and_background_together(products):
    model, rows, background = nn.Identity(), cases.table(100, 10, seed=4), cases.table(20, 10, seed=2)
    got = explain(model, background, rows, forced(1), head=Products())
    assert got.background_errors is None
    over_backgrounds = explain(model, background, rows, "exact", head=Products()).standard_errors
    assert (got.standard_errors**2).sum() > (over_backgrounds**2).sum()


def test_features_that_equal_the_background_get_exactly_zero(rows, background):
    background, rows = background.copy(), rows.copy()
    background[:, 2] = rows[:, 2] = 1.5
    got = explain(cases.build(cases.Question), background, rows, forced())
    np.testing.assert_array_equal(got.values[:, 2], 0)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


def test_many_features_agree_with_random_orders_within_both_errors():
    model = cases.build(cases.Question, d=WIDE.shape[1])
    got, want = (explain(model, WIDE[:50], WIDE[50:54], each) for each in (Coalitions(16), "sampling"))
    z = (got.values - want.values) / np.hypot(got.standard_errors, want.standard_errors)
    assert np.sqrt((z**2).mean()) < 1.2
    assert got.made_by["samples"] == "1600 gradients a row"


@pytest.mark.parametrize(("features", "backend"), [(12, "exact"), (13, "sampling"), (FEW_PLAYERS, "sampling")])
def test_few_players_are_left_to_the_backend_with_the_smaller_error(features, backend):
    model, table = cases.build(cases.Question, d=features), cases.table(30, features)
    got, want = (explain(model, table[:20], table[20:22], each) for each in ("coalitions", backend))
    np.testing.assert_array_equal(got.values, want.values)
    assert got.made_by["backend"] == "coalitions"
    assert got.made_by["quantity"] == want.made_by["quantity"] == backends.named(backend).quantity


def test_groups_are_counted_as_players():
    names = [f"feature {column}" for column in range(WIDE.shape[1])]
    groups = {"all": names[:60]}
    got = explain(cases.build(cases.Question, d=len(names)), WIDE[:20], WIDE[50:52], "coalitions", groups=groups)
    assert got.made_by["quantity"] == backends.named("exact").quantity


class Rounded(nn.Module):
    """Has no gradient."""

    def forward(self, rows):
        return torch.tanh(rows).round()


def test_gradients_that_are_cut_are_refused_for_many_features_only():
    explain(Rounded(), WIDE[:20, :5], WIDE[50:52, :5], "coalitions")
    with pytest.raises(ModelError, match="no gradient, although the score changes"):
        explain(Rounded(), WIDE[:20], WIDE[50:52], "coalitions")


def test_operators_without_a_rule_are_explained():
    class Sorted(nn.Module):
        def forward(self, rows):
            return torch.sort(rows, dim=1).values.roll(1, 1) * rows.sign() + rows

    got = explain(Sorted(), WIDE[:20], WIDE[50:52], "coalitions")
    np.testing.assert_allclose(got.residual, 0, atol=1e-10)


def test_a_tolerance_takes_ever_more_pairs():
    model = cases.build(cases.Question, d=WIDE.shape[1])
    got = explain(model, WIDE[:50], WIDE[50:53], "coalitions", tolerance=0.02)
    errors, largest = got.standard_errors.max(axis=1), np.abs(got.values).max(axis=1)
    assert (errors <= 0.02 * largest).all()
    assert (got.used >= 400).all()


def test_the_memory_makes_no_difference():
    model = cases.build(cases.Question, d=WIDE.shape[1])
    one, other = (explain(model, WIDE[:50], WIDE[50:53], "coalitions", memory=m) for m in ("1GB", "400kB"))
    np.testing.assert_allclose(one.values, other.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(one.standard_errors, other.standard_errors, rtol=0, atol=1e-12)


def test_few_players_with_weights_and_a_tolerance_are_sampled():
    model, table = cases.build(cases.Question, d=6), cases.table(30, 6)
    background = weighted(table[:20], np.arange(1.0, 21))
    got, want = (explain(model, background, table[20:22], each, tolerance=0.1) for each in ("coalitions", "sampling"))
    np.testing.assert_array_equal(got.values, want.values)


@pytest.mark.parametrize("players", [None, "few", 2.5, True])
def test_a_number_of_players_that_is_none_is_refused(players):
    with pytest.raises(DataError, match=r"min_players must be an integer, at least 0, got"):
        Coalitions(min_players=players)


@pytest.mark.parametrize("pairs", [0, -1, 1.5, "many", True])
def test_a_number_of_pairs_that_is_none_is_refused(pairs):
    with pytest.raises(DataError, match="pairs must be an integer, at least 1, or None, got"):
        Coalitions(pairs)


def test_an_explanation_says_how_sure_it_is():
    model = cases.build(cases.Question, d=WIDE.shape[1])
    got = explain(model, WIDE[:50], WIDE[50:53], Coalitions(4))
    share = got.standard_errors.max() / np.abs(got.values).max()
    lines = [line.strip() for line in repr(got).splitlines()]
    assert "Shapley values by coalitions, 400 gradients a row" in lines
    assert f"standard errors up to {share:.2%} of the largest value" in lines


def test_the_record_names_the_gradients_that_a_tolerance_took():
    model = cases.build(cases.Question, d=WIDE.shape[1])
    got = explain(model, WIDE[:50], WIDE[50:53], "coalitions", tolerance=0.01)
    low, high = got.used.min(), got.used.max()
    assert got.made_by["samples"] == (f"{low} to {high}" if low < high else str(low)) + " gradients a row"
