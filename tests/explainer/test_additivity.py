"""Values that do not add up are found beyond the standard error of their sum, in summaries too, and others are not."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Explainer, heads
from shapae.backends import Moments, RowwiseBackend
from shapae.backends.gradient import Gradient
from shapae.errors import AdditivityWarning
from shapae.explainer.additivity import Additivity, Sums
from tests import cases

GRADIENTS = pytest.mark.parametrize("backend", ["gradient", "shap_gradient", "captum_gradient_shap"])
ROWS, BACKGROUND = cases.table(30, 8, seed=1), cases.table(40, 8, seed=2)


class Bent(cases.Question):
    """Smooth, and far from linear."""

    def __init__(self, d=8):
        super().__init__(d)
        self.encoder[1] = self.decoder[1] = nn.Tanh()


def sums_of(explainer, rows):
    bound = cases.attribution(explainer._backend, explainer._game)
    return bound(torch.tensor(rows), seeds=range(len(rows))).sums


@GRADIENTS
@pytest.mark.parametrize("head", ["reconstruction_error", "latent:1", heads.ReconstructionError(target="fixed")])
def test_the_residual_is_as_large_as_the_standard_error_of_the_sum_says(backend, head):
    """100 runs of one row with different seeds: their residuals spread as each of them says of itself."""
    explainer = Explainer(cases.build(Bent), BACKGROUND, head=head, backend=backend)
    twins = np.repeat(ROWS[:1], 100, axis=0)
    sums, score = sums_of(explainer, twins), explainer._score
    with torch.no_grad():
        base = score.anchored_at(torch.tensor(ROWS[0]))(explainer.background).mean().item()
        moved = score(torch.tensor(ROWS[:1])).item() - base
    z = (sums.mean - moved) / sums.standard_error
    assert np.abs(z.mean()) < 4 / np.sqrt(len(z))
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.3)


class Less(Gradient):
    """Expected gradients of which one feature's share is lost."""

    def _attribute(self, game, rows, *anchors, seeds):
        samples = super()._attribute(game, rows, *anchors, seeds=seeds)
        lost = samples.mean.copy()
        lost[:, 3:] = 0
        return replace(samples, mean=samples.mean - lost, sums=self.sums(samples, lost))

    def sums(self, samples, lost):
        assert samples.sums is not None
        sums = samples.sums
        return replace(sums, mean=sums.mean - lost.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    "settings",
    [{}, {"groups": {"x": ["feature 0", "feature 5"]}}, {"tolerance": 0.2}, {"head": "latent"}],
    ids=str,
)
def test_a_loss_is_found_in_a_summary_as_in_an_explanation_and_without_it_there_is_no_warning(settings):
    model = cases.build(Bent)
    for backend, warned in ((Less(), True), (Gradient(), False)):
        explainer = Explainer(model, BACKGROUND, backend=backend, **settings)
        for explain in (explainer, explainer.summarize):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                explain(ROWS)
            assert [each.category for each in caught] == [AdditivityWarning] * warned
            assert not warned or "do not add up to their scores" in str(caught[0].message)


def test_losses_that_cancel_in_the_mean_over_rows_are_found_in_a_summary():
    values = np.where(np.arange(400) % 2, 0.5, -0.5)[:, None]
    sums = Additivity(values)
    sums.base_values = np.zeros((400, 1))
    sums.put(slice(0, 400), Sums(values * 0, values * 0, np.full((400, 1), 0.05), 200))
    assert sums.residual.mean() == 0
    assert sums.message(False, 1e-16).startswith("the values of 400 of 400 rows do not add up to their scores")


class OnlySquares(RowwiseBackend):
    """Two features with opposite errors, whose sum it knows nothing of."""

    additive = False

    def attribute_row(self, game, row, seed):
        draws = np.random.default_rng(seed).normal(size=(50, 8, 1))
        with torch.no_grad():
            moved = game.score(row[None]) - game.score(game.background).mean(dim=0)
        draws[:, 0, 0] += float(moved)
        return Moments(50, draws.mean(0, keepdims=True), draws.var(0, keepdims=True) * 50)


def test_a_backend_that_does_not_know_its_sums_is_held_to_the_bound_of_its_standard_errors():
    explainer = Explainer(cases.build(Bent), BACKGROUND, backend=OnlySquares())
    sums, explanation = sums_of(explainer, ROWS), explainer(ROWS)
    bound = explanation.standard_errors.sum(axis=1)
    assert (sums.standard_error[:, 0, 0] <= bound * (1 + 1e-12)).all()
    np.testing.assert_allclose(sums.standard_error[:, 0, 0], bound, rtol=0.1)


def simulated(seed, *, lost=0.0, n=1000, k=50, samples=200):
    """Sums of draws that spread as expected gradients do, of n rows and k outputs: skewed, of different sizes."""
    rng = np.random.default_rng(seed)
    scores, sizes = rng.normal(size=(n, k)), rng.lognormal(sigma=0.7, size=(n, 1))
    sums = Additivity(scores)
    sums.base_values = np.zeros((n, k))
    for block in (slice(start, start + 100) for start in range(0, n, 100)):
        draws = rng.exponential(size=(samples, 100, k)) - 1
        mean, spread = draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(samples)
        values = scores[block] * (1 - lost) + sizes[block] * mean
        sums.put(block, Sums(values, np.abs(values), sizes[block] * spread, samples))
    return sums


def test_a_thousand_rows_and_fifty_outputs_give_no_false_alarm_and_losses_below_the_noise_of_a_row_are_found():
    """Errors as skewed as those of expected gradients, in rows of different sizes."""
    assert [simulated(seed).message(False, 1e-16) for seed in range(3)] == [None] * 3
    small = simulated(0, lost=0.16)
    assert "all 1000 rows, taken together, do not add up to their scores within their" in small.message(False, 1e-16)


def test_parts_of_a_network_that_are_never_sampled_are_no_alarm():
    """ReLUs that a few background rows alone switch on, next to the ends of the ways."""
    for seed in (0, 24, 28, 31):
        model, rows, background = (
            cases.build(cases.Question, seed=seed),
            *(cases.table(n, seed=seed + shift) for n, shift in ((40, 100), (30, 900))),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", AdditivityWarning)
            Explainer(model, background, head="reconstruction", backend="gradient", seed=seed)(rows)
