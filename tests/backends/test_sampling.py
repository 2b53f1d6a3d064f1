"""Drawn Shapley values against all orders, all coalitions, closed forms and their own standard errors."""

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Explainer, heads
from shapae.backends import Game, sampling
from shapae.backends.sampling import Sampling
from shapae.tables.players import Players
from tests import cases
from tests.closed_forms import CLOSED, moving_error, shapley_values

WEIGHTS = torch.tensor([0.0, 2.5, 0.5, 1.0, 0.25, 2.0, 0.75], dtype=torch.float64)
PLAYERS = Players([*"abcd"], np.array([[0, 1, 2, 3, 4, 5], [0, 1, 0, 2, 1, 3]]))


def game_of(background, *, head="reconstruction_error", weighted=False, grouped=False, make=cases.Question):
    """A game of the background, seven rows."""
    head = heads.ReconstructionError(target="fixed") if head == "fixed" else head
    score = Explainer(cases.build(make), background, head=head)._score
    return Game(score, torch.tensor(background), WEIGHTS if weighted else None, PLAYERS if grouped else None)


def assert_unbiased(backend, game, row, *, runs=200):
    """The mean of many runs is as far from the Shapley values as their standard errors say."""
    found = cases.attribution(backend, game)(row.expand(runs, -1), seeds=range(runs))
    errors = np.sqrt((found.standard_error**2).mean(axis=0) / runs)
    z = (found.mean.mean(axis=0) - shapley_values(game, row)) / errors
    assert np.abs(z).max() < 4
    ratio = found.mean.var(axis=0, ddof=1).sum() / (found.standard_error**2).mean(axis=0).sum()
    assert np.sqrt(ratio) == pytest.approx(1, abs=2.2 / np.sqrt(runs))


every_game = pytest.mark.parametrize(
    ("head", "weighted", "grouped"),
    [
        *(("reconstruction_error", False, False), ("latent", False, True), ("fixed", False, False)),
        *(("reconstruction_error", True, False), ("latent", True, True), ("fixed", True, True)),
    ],
)


@every_game
def test_values_are_unbiased(head, weighted, grouped, rows, background):
    assert_unbiased(
        Sampling(), game_of(background, head=head, weighted=weighted, grouped=grouped), torch.tensor(rows[0])
    )


@pytest.mark.parametrize("b", [20, 110])
def test_values_cover_the_exact_ones_as_their_standard_errors_say(b):
    """1000 of them, a 95 % interval; with more background rows than pairs of draws, and with fewer."""
    model, rows, background = (
        cases.build(cases.Question, 8),
        cases.table(125, 8, seed=1),
        cases.table(b, 8, seed=2),
    )
    got, want = (Explainer(model, background, backend=backend)(rows) for backend in ("sampling", "exact"))
    inside = np.abs(got.values - want.values) <= 1.96 * got.standard_errors
    assert 0.93 <= inside.mean() <= 0.97


@every_game
@pytest.mark.parametrize("draws", [4, 9, 30])
def test_values_add_up_however_few_are_drawn(head, weighted, grouped, draws, rows, background, monkeypatch):
    monkeypatch.setattr(Sampling, "n_samples", draws)
    game, x = game_of(background, head=head, weighted=weighted, grouped=grouped), torch.tensor(rows)
    weights = game.background_weights / game.background_weights.sum()
    with torch.no_grad():
        base = [weights @ game.score.anchored_at(row)(game.background) for row in x]
        want = game.score(x) - torch.stack(base)
    got = cases.attribution(Sampling(), game)(x, seeds=range(len(x)))
    np.testing.assert_allclose(got.mean.sum(axis=1), want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("head", CLOSED)
def test_a_linear_autoencoder_has_the_values_of_the_closed_form(head, rows, background):
    """Of quadratic scores, forwards and backwards are right in any order; each background row is drawn as often."""
    model = cases.build(cases.Linear)
    got = Explainer(model, background, head=head, backend="sampling")(rows)
    np.testing.assert_allclose(got.values, CLOSED[head](model, rows, background), rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.standard_errors, 0, atol=1e-14)


def test_many_features_and_background_rows_have_the_closed_form_within_their_standard_errors():
    model, rows, background = (
        cases.build(cases.Linear, 60),
        cases.table(6, 60, seed=1),
        cases.table(350, 60),
    )
    got = Explainer(model, background, backend="sampling")(rows)
    z = (got.values - moving_error(model, rows, background)) / got.standard_errors
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("b", [1, 7, 60, 200, 300])
@pytest.mark.parametrize("weighted", [False, True])
def test_up_to_300_background_rows_are_all_drawn_in_twos_and_count_what_they_weigh(b, weighted):
    counts = np.random.default_rng(1).exponential(size=b) if weighted else np.ones(b)
    twos, part = sampling.sample_background(counts, Sampling.n_samples // 2, np.random.default_rng(0))
    assert 300 <= twos.size <= 900
    np.testing.assert_array_equal(twos[:, 0], twos[:, 1])
    np.testing.assert_allclose(np.bincount(twos[:, 0], part, minlength=b), counts / counts.sum(), rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_more_background_rows_are_drawn_in_proportion_to_their_weights(weighted):
    counts = np.random.default_rng(1).exponential(size=700) if weighted else np.ones(700)
    counts[::5] = 0
    drawn = np.stack([
        sampling.sample_background(counts, Sampling.n_samples // 2, np.random.default_rng(seed))[0]
        for seed in range(400)
    ])
    assert drawn.shape[1:] == (200, 2)
    share = np.bincount(drawn.ravel(), minlength=700) / drawn.size
    np.testing.assert_allclose(share, counts / counts.sum(), atol=1e-3)
    assert (share[::5] == 0).all()


def test_whole_weights_are_rows_that_are_there_as_often(rows, background):
    """A background row of weight 3 is as good as three of it: the same draws, but for how they are cut."""
    game, weights = game_of(background), torch.tensor([1.0, 3, 0, 1, 1, 2, 6], dtype=torch.float64)
    x, seeds = torch.tensor(rows), range(len(rows))
    repeated = Game(game.score, game.background.repeat_interleave(weights.int(), dim=0))
    got, want = (
        cases.attribution(Sampling(), each)(x, seeds=seeds).mean
        for each in (Game(game.score, game.background, weights / weights.mean()), repeated)
    )
    np.testing.assert_allclose(got, want, rtol=0, atol=0.02 * np.abs(want).max())
    exact = [shapley_values(repeated, row) for row in x]
    np.testing.assert_allclose(got, exact, rtol=0, atol=0.02 * np.abs(want).max())


def test_pieces_make_no_difference(rows, background, monkeypatch):
    game = game_of(background, head="latent", weighted=True, grouped=True)
    want = cases.attribution(Sampling(), game)(torch.tensor(rows), seeds=range(5))
    monkeypatch.setattr(sampling, "BATCH_ROWS", 6)
    got = cases.attribution(Sampling(), game)(torch.tensor(rows), seeds=range(5))
    np.testing.assert_allclose(got.mean, want.mean, rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.sum_of_squares, want.sum_of_squares, rtol=1e-10)


class Counting(nn.Module):
    """The largest number of rows that it was ever run on."""

    most = 0

    def forward(self, rows):
        Counting.most = max(Counting.most, len(rows))
        return rows.tanh()


def test_no_more_rows_are_scored_at_once_than_are_said_to_be_held(monkeypatch):
    monkeypatch.setattr(sampling, "BATCH_ROWS", 40)
    x = cases.table(3, 30)
    explainer = Explainer(Counting(), x, head="reconstruction:3", backend="sampling")
    Counting.most = 0
    explainer(x[:1])
    assert Counting.most <= Sampling().rows_in_memory(3, 30)


def explained(function, rows, background):
    """Explanation by sampling of a function from rows (n, d) to numbers (n,)."""
    explainer = Explainer(nn.Identity(), background, head=lambda model, x: function(x), backend="sampling")
    return explainer(rows)


def conjunction(x):
    """1 if all features are positive: in each order one player, the last, gets all of it."""
    return (x > 0).all(dim=1).to(x)


def test_an_effect_that_was_never_sampled_is_not_certain(monkeypatch):
    """200 features share 1: about 100 orders and their reverses miss many of them, whose values are 1/200."""
    monkeypatch.setattr(Sampling, "n_samples", 100)
    d = 200
    got = explained(conjunction, torch.ones(1, d).double(), -torch.ones(3, d).double())
    missed = got.values[0] == 0
    assert missed.sum() > 20
    assert (np.abs(got.values - 1 / d) <= 1.96 * got.standard_errors)[0, missed].all()
    assert (got.standard_errors[0, missed] <= got.standard_errors[0, ~missed].min() * (1 + 1e-9)).all()


def test_a_rare_background_row_that_was_never_sampled_is_in_the_standard_errors_of_all_features():
    """Only one of 4000 background rows makes a difference; the sum of the values tells that something is missing."""
    background = np.ones((4000, 3))
    background[:, 0] = np.random.default_rng(0).uniform(size=4000)
    background[1234] = -50
    function = lambda x: (x[:, 1] < 0).to(x) * 4000  # noqa: E731
    got = explained(function, np.ones((1, 3)), background)
    assert got.values.sum() == pytest.approx(-1)
    assert (np.abs(got.values - [0, -1, 0]) <= 1.96 * got.standard_errors).all()


@pytest.mark.parametrize("b", [20, 350])
def test_features_that_do_not_differ_from_the_background_are_certain_and_dummies_almost(b):
    rows, background = cases.table(4, seed=1), cases.table(b, seed=2)
    rows[:, 4] = background[:, 4] = 0.5
    got = explained(lambda x: (x[:, 0] * x[:, 1] * x[:, 2] * x[:, 4]).tanh() + x[:, 3].exp(), rows, background)
    largest = got.standard_errors.max(axis=1)
    if b == 20:  # of more, not all are compared, so that the sum is corrected
        np.testing.assert_allclose(got.standard_errors[:, 4], 0, atol=1e-15)
        assert (got.standard_errors[:, 5] <= largest / 3).all()
    assert (got.standard_errors[:, 5] > 0).all()
    assert (got.standard_errors[:, 5] <= largest).all()


def test_an_additive_score_of_the_whole_background_is_certain():
    rows, background = cases.table(4, seed=1), cases.table(20, seed=2)
    got = explained(lambda x: x.exp().sum(dim=1), rows, background)
    np.testing.assert_allclose(got.values, np.exp(rows) - np.exp(background).mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.standard_errors, 0, atol=1e-13)
