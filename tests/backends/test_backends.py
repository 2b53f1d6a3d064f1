"""The backends against closed forms, slow enumeration, and shap itself."""

from functools import reduce
from itertools import permutations
from operator import add

import numpy as np
import pytest
import shap
import torch
from torch import nn

from shapae import Explainer, backends
from shapae.backends import Game
from shapae.backends.coalitions import Coalitions
from shapae.backends.differentiation import gradients
from shapae.errors import TooLarge
from tests import cases
from tests.closed_forms import CLOSED, affine

PRECISE = pytest.mark.parametrize("backend", ["deep", "shap_deep", "exact", "gradient", Coalitions(min_players=0)])
DRAWN = pytest.mark.parametrize("backend", ["gradient", "shap_gradient"])
RULED = pytest.mark.parametrize("backend", ["deep", "shap_deep", "captum_deep"])
closed_forms = pytest.mark.parametrize("head", CLOSED)


@PRECISE
@closed_forms
@pytest.mark.parametrize("seed", range(3))
def test_a_linear_autoencoder_has_the_values_of_the_closed_form(backend, head, seed, rows, background):
    model = cases.build(cases.Linear, seed=seed)
    got = Explainer(model, background, head=head, backend=backend)(rows)
    np.testing.assert_allclose(got.values, CLOSED[head](model, rows, background), rtol=0, atol=1e-10)


@closed_forms
def test_drawn_values_are_as_far_from_the_closed_form_as_their_standard_errors_say(head, background):
    model, rows = cases.build(cases.Linear), cases.table(15, seed=4)
    got = Explainer(model, background, head=head, backend="shap_gradient")(rows)
    z = (got.values - CLOSED[head](model, rows, background)) / got.standard_errors
    assert (np.abs(z) > 3).mean() < 0.03
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.2)


@DRAWN
def test_standard_errors_are_the_spread_over_seeds(backend, rows, background):
    model = cases.build(cases.Question)
    runs = [Explainer(model, background, backend=backend, seed=seed)(rows) for seed in range(40)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    errors = np.mean([run.standard_errors for run in runs], axis=0)
    assert np.sqrt((spread**2).sum() / (errors**2).sum()) == pytest.approx(1, abs=0.15)


def test_standard_errors_over_the_background_are_those_of_a_mean(rows, background):
    model = cases.build(cases.Question)
    one_by_one = [Explainer(model, b[None], backend="exact")(rows) for b in background]
    assert all(each.standard_errors is None for each in one_by_one)
    values = np.stack([each.values for each in one_by_one])
    got = Explainer(model, background, backend="exact")(rows)
    np.testing.assert_allclose(got.values, values.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(got.standard_errors, values.std(axis=0, ddof=1) / np.sqrt(len(values)), atol=1e-14)


def shapley(game, d):
    """Shapley values as the mean over all orders in which the players come."""
    values, orders = np.zeros(d), list(permutations(range(d)))
    for order in orders:
        for place, player in enumerate(order):
            values[player] += game({*order[: place + 1]}) - game({*order[:place]})
    return values / len(orders)


def test_exact_values_are_the_mean_over_all_orders_of_the_features():
    model = cases.build(cases.Question, 4)
    x, background = cases.table(2, 4, seed=1), cases.table(3, 4, seed=2)

    def game(row, joined):
        mixed = [[row[j] if j in joined else b[j] for j in range(4)] for b in background]
        with torch.no_grad():
            return float(((model(torch.tensor(mixed)) - torch.tensor(mixed)) ** 2).mean())

    want = [shapley(lambda joined, row=row: game(row, joined), 4) for row in x]
    got = Explainer(model, background, backend="exact")(x)
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
def test_twin_features_have_the_same_exact_values(head, model, rows, background):
    with torch.no_grad():
        for weight, twin in ((model.encoder[0].weight.T, 3), (model.decoder[2].weight, 3), (model.decoder[2].bias, 3)):
            weight[twin] = weight[0]
    for table in (rows, background):
        table[:, 3] = table[:, 0]
    values = Explainer(model, background, head=head, backend="exact")(rows).values
    np.testing.assert_allclose(values[:, 0], values[:, 3], rtol=1e-12)
    assert np.abs(values[:, 0]).min() > 0


@PRECISE
def test_a_feature_without_influence_has_the_value_zero(backend, model, rows, background):
    with torch.no_grad():
        model.encoder[0].weight[:, 2] = 0
    values = Explainer(model, background, head="latent", backend=backend)(rows).values
    np.testing.assert_array_equal(values[:, 2], 0)
    assert (values[:, [0, 1, 3, 4, 5]] != 0).any(axis=(0, 2)).all()


def test_the_exact_backend_takes_twelve_features_and_refuses_thirteen():
    x = cases.table(2, 12)
    got = Explainer(cases.build(cases.Question, 12), x, backend="exact")(x[:1])
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    explainer = Explainer(cases.build(cases.Question, 13), cases.table(2, 13), backend="exact")
    with pytest.raises(TooLarge, match=r"at most 12 features, got 13 \(that is 2\*\*13 coalitions\).*backend="):
        explainer(cases.table(1, 13))


class Naive(nn.Module):
    """The first attempt of many people: a functional square around the model."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, rows):
        return ((self.model(rows) - rows) ** 2).mean(1, keepdim=True)


@RULED
@pytest.mark.parametrize("seed", range(3))
def test_the_naive_wrapper_is_off_by_more_than_the_spread_of_its_output_and_shapae_is_not(backend, seed):
    model = cases.build(cases.Question, 20, seed=seed)
    x, background = cases.table(10, 20, seed=1), cases.table(30, 20, seed=2)
    with torch.no_grad():
        scores, base = Naive(model)(torch.tensor(x)).numpy()[:, 0], float(Naive(model)(torch.tensor(background)).mean())
    explainer = shap.DeepExplainer(Naive(cases.build(cases.Question, 20, seed=seed)), torch.tensor(background))
    naive = explainer.shap_values(torch.tensor(x), check_additivity=False)[..., 0]
    assert np.abs(scores - base - naive.sum(axis=1)).max() > np.ptp(scores)
    ours = Explainer(model, background, backend=backend)(x).values
    assert np.abs(scores - base - ours.sum(axis=1)).max() < 1e-12


ACTIVATIONS = [
    *(nn.CELU(), nn.ELU(), nn.GELU(), nn.Hardshrink(), nn.Hardsigmoid(), nn.Hardswish(), nn.Hardtanh()),
    *(nn.LeakyReLU(), nn.LogSigmoid(), nn.Mish(), nn.PReLU(), nn.ReLU(), nn.ReLU6(), nn.RReLU(), nn.SELU()),
    *(nn.SiLU(), nn.Sigmoid(), nn.Softplus(), nn.Softshrink(), nn.Softsign(), nn.Tanh(), nn.Tanhshrink()),
    nn.Threshold(0.1, 0.0),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: type(activation).__name__)
@RULED
def test_the_rescale_rule_is_followed_through_every_activation(backend, activation, rows, background):
    """One activation between affine maps: its slope is the secant of each pair, written out in numpy."""
    model = cases.build(lambda: nn.Sequential(nn.Linear(6, 4), activation, nn.Linear(4, 6)))
    (w1, b1), (w2, _) = affine(model[0]), affine(model[2])
    with torch.no_grad():
        zx, zb = rows @ w1.T + b1, background @ w1.T + b1
        fx, fb = (model[1](torch.tensor(z)).numpy() for z in (zx, zb))
    slope = (fx[:, None] - fb) / (zx[:, None] - zb)
    want = np.einsum("nbi,hi,nbh,jh->nij", rows[:, None] - background, w1, slope, w2) / len(background)
    got = Explainer(model, background, head="reconstruction", backend=backend)(rows)
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-12)


@DRAWN
def test_drawn_values_are_expected_gradients(backend, model, rows, background):
    """mean_b (x - b) times the gradient, averaged over 500 places on the way from b to x."""
    steps = (torch.arange(500, dtype=torch.float64)[:, None, None] + 0.5) / 500
    want = []
    for x in torch.tensor(rows):
        points = (torch.tensor(background) + steps * (x - torch.tensor(background))).requires_grad_()
        error = torch.mean((model(points) - points) ** 2, dim=2).sum()
        (slopes,) = torch.autograd.grad(error, points)
        want.append((slopes.mean(dim=0).numpy() * (x.numpy() - background)).mean(axis=0))
    got = Explainer(model, background, backend=backend)(rows)
    z = (got.values - want) / got.standard_errors
    assert np.abs(z).max() < 4
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.4)


class FourthPowers(nn.Module):
    """A head whose gradient is far from straight."""

    def forward(self, autoencoder, rows):
        return (rows**4).sum(dim=1)


def rises(rows, background):
    return rows**4 - (background**4).mean(axis=0)


def test_in_the_limit_of_many_draws_the_values_are_the_rises_of_each_function(model, rows, background):
    """Merged over 100 seeds the error is a tenth; what is left is noise."""
    game = Game(Explainer(model, background, head=FourthPowers()).score, torch.tensor(background))
    parts = [
        cases.attribution(backends.named("gradient"), game)(torch.tensor(rows), seeds=range(5 * seed, 5 * seed + 5))
        for seed in range(100)
    ]
    merged, want = reduce(add, parts), rises(rows, background)[..., None]
    misses = [np.sqrt(((found.mean - want) ** 2).mean()) for found in (parts[0], merged)]
    assert merged.count == 100 * parts[0].count
    assert misses[1] < misses[0] / 5
    assert np.sqrt((((merged.mean - want) / merged.standard_error) ** 2).mean()) == pytest.approx(1, abs=0.35)


@DRAWN
def test_drawn_values_of_a_sum_of_functions_are_the_rises_of_each(backend, model, background):
    rows = cases.table(100, seed=4)
    got = Explainer(model, background, head=FourthPowers(), backend=backend)(rows)
    z = (got.values - rises(rows, background)) / got.standard_errors
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("head", ["reconstruction_error", "reconstruction"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ways_to_draw_expected_gradients_agree_within_their_errors(head, dtype, background):
    model, rows = cases.build(cases.Nested, dtype=dtype), cases.table(20, seed=6)
    ours, theirs = (
        Explainer(model, background, head=head, backend=name)(rows) for name in ("gradient", "shap_gradient")
    )
    z = (ours.values - theirs.values) / np.hypot(ours.standard_errors, theirs.standard_errors)
    assert np.abs(z).max() < 5
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.2)


def test_drawn_values_cover_the_truth_as_their_standard_errors_say(model):
    rows, background = cases.table(300, seed=4), cases.table(20, seed=2)
    got = Explainer(model, background, head=FourthPowers(), backend="gradient")(rows)
    inside = np.abs(got.values - rises(rows, background)) <= 1.96 * got.standard_errors
    assert 0.92 <= inside.mean() <= 0.97


@pytest.mark.parametrize("name", backends.names())
def test_every_backend_keeps_to_the_protocol(name):
    backend = backends.named(name)
    assert isinstance(backend.additive, bool)
    assert backend.hint.endswith(".")
    assert 1 <= backend.rows_in_memory(1, 3) <= backend.rows_in_memory(5, 3)


class Enabling(nn.Module):
    """Enables gradients for itself, as a head that differentiates does."""

    def forward(self, rows):
        with torch.enable_grad():
            return torch.tanh(rows.requires_grad_()) * 2


@pytest.mark.parametrize("backend", ["exact", "sampling"])
def test_models_that_enable_gradients_are_explained_without(backend, rows, background):
    got = Explainer(Enabling(), background, backend=backend)(rows)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


@pytest.mark.parametrize("b", [39, 40])
def test_gradients_for_one_visit_of_each_background_row_visit_all_of_them(b, monkeypatch):
    """A quadratic score has exact values only then."""
    monkeypatch.setattr(type(backends.named("gradient")), "n_samples", 80)
    model, rows, background = cases.build(cases.Linear), cases.table(5, seed=4), cases.table(b, seed=2)
    got = Explainer(model, background, backend="gradient")(rows)
    np.testing.assert_allclose(got.values, CLOSED["reconstruction_error"](model, rows, background), rtol=0, atol=1e-10)
    over_backgrounds = Explainer(model, background, backend="deep")(rows).standard_errors
    ratio = np.sqrt((got.standard_errors**2).sum() / (over_backgrounds**2).sum())
    assert ratio == pytest.approx(1, abs=0.3)  # too large, as documented


@pytest.mark.parametrize(("b", "count"), [(30, 360), (100, 400), (150, 600), (200, 400), (201, 400)])
def test_the_record_names_the_gradients_that_are_computed(b, count, monkeypatch):
    """About 400, in whole visits of the background rows."""
    points = []

    def counting(score, at, *anchors, **settings):
        points.append(len(at))
        return gradients(score, at, *anchors, **settings)

    monkeypatch.setattr("shapae.backends.gradient.gradients", counting)
    model, rows, background = cases.build(cases.Linear), cases.table(3, seed=4), cases.table(b, seed=2)
    got = Explainer(model, background, backend="gradient")(rows)
    assert sum(points) == 3 * count
    assert got.made_by["samples"] == f"{count} gradients a row"
