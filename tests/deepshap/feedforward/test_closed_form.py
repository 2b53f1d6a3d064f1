"""The closed form of chains with one nonlinearity: exact cases, slow quadratures, and errors."""

import itertools
from math import comb

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn
from torch.nn import functional as F

from shapae import deepshap
from shapae.deepshap.feedforward import closed_form, contraction
from tests import cases
from tests.deepshap.feedforward.chains import (
    CHAINS,
    Counting,
    assert_near,
    case,
    every_chain,
    layers,
    linear,
    mlp,
    net,
    trace,
)
from tests.deepshap.helpers import BOTH, B, X

WEIGHTS = torch.arange(1, 8).double()


def values_of(function, rows=X, background=B, weights=None):
    return deepshap.ManyOutputs(function, background, weights=weights).closed_form(rows)


def enumerated(function, rows, background):
    """Shapley values from all coalitions, (n, d, k)."""
    d = rows.shape[1]
    inside = torch.tensor([*itertools.product([False, True], repeat=d)])
    chances = torch.tensor([1 / (d * comb(d - 1, size)) for size in range(d)], dtype=rows.dtype)
    size = inside.sum(dim=1, keepdim=True)
    signs = torch.where(inside, chances[size - 1], -chances[size.clamp(max=d - 1)])
    worth = [torch.stack([function(torch.where(inside, x, b)) for b in background]).mean(dim=0) for x in rows]
    return torch.stack([signs.T @ each for each in worth])


def relative_error(got, want):
    return float((got - want).norm() / want.norm())


def test_values_of_a_quadratic_function_are_shapley_values():
    model = net(6, 4, 3)
    quadratic = lambda x: model[2](model[0](x) ** 2)  # noqa: E731
    assert_near(values_of(quadratic), enumerated(quadratic, X, B), 1e-10)


@pytest.mark.parametrize("function", [torch.tanh, torch.relu, F.gelu])
def test_values_of_a_sum_of_functions_of_single_features_are_shapley_values(function):
    weights = torch.tensor(cases.table(6, 5))
    got = values_of(lambda x: function(2 * x + 1) @ weights)
    rise = function(2 * X + 1) - function(2 * B + 1).mean(dim=0)
    assert_near(got, rise.unsqueeze(2) * weights)


def test_values_on_one_side_of_a_kink_are_those_of_a_linear_function():
    model = net(6, 4, 3, activation=nn.ReLU)
    model[0].bias += 100
    assert_near(values_of(model), (X - B.mean(dim=0)).unsqueeze(2) * (model[2].weight @ model[0].weight).T, 1e-10)


def normal_density(z):
    return np.exp(-z * z / 2) / (2 * np.pi) ** 0.5


def sigmoid_slope(z):
    return special.expit(z) * special.expit(-z)


# First and second derivatives; for ReLU, of the mean over a normal variable with mean m and standard deviation s.
DERIVATIVES = {
    nn.Tanh: (lambda u: 1 - np.tanh(u) ** 2, lambda u: -2 * np.tanh(u) * (1 - np.tanh(u) ** 2)),
    nn.Sigmoid: (sigmoid_slope, lambda u: sigmoid_slope(u) * (1 - 2 * special.expit(u))),
    nn.Softplus: (special.expit, sigmoid_slope),
    nn.GELU: (lambda u: special.ndtr(u) + u * normal_density(u), lambda u: (2 - u * u) * normal_density(u)),
    nn.SiLU: (
        lambda u: special.expit(u) + u * sigmoid_slope(u),
        lambda u: sigmoid_slope(u) * (2 + u * (1 - 2 * special.expit(u))),
    ),
    nn.ReLU: (lambda m, s: special.ndtr(m / s), lambda m, s: normal_density(m / s) / s),
    nn.LeakyReLU: (lambda m, s: 0.01 + 0.99 * special.ndtr(m / s), lambda m, s: 0.99 * normal_density(m / s) / s),
}


def integrals(activation, start, rise, variance):
    """I and J by many nodes, J without any use of additivity."""
    angle, weight = np.polynomial.legendre.leggauss(60)
    angle, weight = (angle + 1) * np.pi / 4, weight * np.pi / 4
    z, step = np.linspace(-8, 8, 161, retstep=True)
    dense = normal_density(z) * step
    found = np.zeros((2, *start.shape))
    for t, w in zip(np.sin(angle) ** 2, weight * np.sin(2 * angle), strict=True):
        m, s = start + t * rise, np.sqrt(t * (1 - t) * variance)
        of_normal = activation in {nn.ReLU, nn.LeakyReLU}
        means = [f(m, s) if of_normal else f(m[..., None] + s[..., None] * z) @ dense for f in DERIVATIVES[activation]]
        found += w * np.array([means[0], (1 - 2 * t) * means[1]])
    return found


@pytest.mark.parametrize("activation", DERIVATIVES)
def test_values_are_those_of_a_slow_quadrature(activation):
    model = net(6, 4, 3, activation=activation)
    first, last = ([each.numpy() for each in (layer.weight, layer.bias)] for layer in model[::2])
    want = np.zeros((2, 6, 3))
    for (n, x), b in itertools.product(enumerate(X[:2].numpy()), B[:3].numpy()):
        delta = x - b
        slope, curvature = integrals(activation, first[0] @ b + first[1], first[0] @ delta, first[0] ** 2 @ delta**2)
        parts = first[0] * delta * slope[:, None] + (first[0] * delta) ** 2 * curvature[:, None] / 2
        want[n] += (last[0] @ parts).T / 3
    bound = 5e-3 if activation in {nn.ReLU, nn.LeakyReLU} else 1e-4
    assert relative_error(values_of(model, X[:2], B[:3]), torch.tensor(want)) < bound


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
@pytest.mark.parametrize(("scale", "bound"), [(1, 0.3), (3, 0.3)])
def test_errors_are_a_fraction_of_those_of_deepshap(activation, scale, bound):
    """The fraction is largest for few features and for large weights; 10 features are few."""
    model = net(10, 16, 5, activation=activation)
    model[0].weight *= scale
    rows, background = (torch.tensor(cases.table(n, 10, seed=n)) for n in (2, 4))
    want = enumerated(model, rows, background)
    deep = torch.tensor(deepshap.DeepShap(model, background).moments(rows).mean)
    assert relative_error(values_of(model, rows, background), want) < bound * relative_error(deep, want)


@every_chain
@BOTH
def test_values_add_up_for_every_chain_with_one_nonlinearity(name, dtype):
    chain = CHAINS[name]
    model = cases.build(chain.make, dtype=dtype)
    got = values_of(lambda x: chain.run(model, x), X.to(dtype), B.to(dtype), WEIGHTS.to(dtype))
    single = len([each for each in chain.nonlinearities if each]) == 1
    assert (got is not None) == single
    if single:
        scores = [chain.run(model, each.to(dtype)) for each in (X, B)]
        rise = scores[0] - (WEIGHTS.to(dtype) / 28) @ scores[1]
        assert got.dtype == dtype
        assert_near(got.sum(dim=1), rise, 1e-5 if dtype == torch.float32 else 1e-12)


def test_narrow_maps_leave_the_values_unchanged():
    model = cases.build(CHAINS["narrow at both ends"].make)
    whole = net(6, 7, 5)
    for layer, (second, first) in {0: (model[1], model[0]), 2: (model[4], model[3])}.items():
        whole[layer].weight.data = second.weight @ first.weight
        whole[layer].bias.data = second.weight @ first.bias + second.bias
    assert_near(values_of(model), values_of(whole))


def test_a_row_of_the_background_counts_as_often_as_its_weight():
    model = net(6, 4, 3, activation=nn.GELU)
    repeated = B.repeat_interleave(WEIGHTS.long(), dim=0)
    assert_near(values_of(model, X, B, WEIGHTS), values_of(model, X, repeated))


def test_a_feature_that_does_not_differ_has_the_value_zero():
    model, rows, background = net(6, 4, 3), X.clone(), B.clone()
    rows[:, 2] = background[:, 2] = 0.5
    assert not values_of(model, rows, background)[:, 2].any()
    assert not values_of(model, background[:1], background[:1]).any()


@BOTH
@pytest.mark.parametrize("size", [0, 1e-30, 1e-22, 1e-18, 1e-12])
def test_units_with_weights_near_zero_leave_the_values_finite(size, dtype):
    model = net(6, 4, 3, activation=nn.ReLU)
    model[0].weight[1] *= size
    model[0].bias[1] = 0
    want = values_of(model)
    got = values_of(model.to(dtype), X.to(dtype), B.to(dtype))
    assert_near(got.double(), want, 1e-5 if dtype == torch.float32 else 1e-12)


def test_inputs_of_any_unit_of_measurement_have_the_same_values():
    model = net(6, 4, 3, activation=nn.ReLU)
    model[0].bias.zero_()
    model[2].bias.zero_()
    want = values_of(model)
    for unit in (1e-30, 1e-3, 1e30):
        assert_near(values_of(model, X * unit, B * unit) / unit, want)


@pytest.mark.parametrize("block", [1, 2000])
def test_the_size_of_the_blocks_makes_no_difference(block, monkeypatch):
    model = net(6, 4, 3)
    want = values_of(model, X, B, WEIGHTS)
    monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
    assert_near(values_of(model, X, B, WEIGHTS), want)


def test_values_are_none_where_the_function_is_not_defined_on_the_whole_line():
    model = cases.build(layers(linear(6, 4), linear(4, 5)))
    least = torch.cat([model[0](X), model[0](B)]).min()
    assert values_of(lambda x: model[1](torch.log(model[0](x) - least + 10))) is not None
    assert values_of(lambda x: model[1](torch.log(model[0](x) - least + 0.1))) is None


def test_the_cost_is_three_products_for_all_outputs():
    traced, (n, b, d, h, k) = trace(net(6, 4, 9)), (5, 7, 6, 4, 9)
    form = closed_form.closed_form(traced.chain)
    contraction.contract(traced.chain, form, traced.x, traced.b)  # computes the matrices, which are then cached
    with Counting() as counting:
        contraction.contract(traced.chain, form, traced.x, traced.b)
    assert counting.count == n * d * h * (3 * b + k)


def test_a_chain_with_several_nonlinearities_has_no_closed_form():
    assert closed_form.closed_form(case("two hidden layers").chain) is None
    assert values_of(mlp(6, 4, 3, 5).double()) is None
