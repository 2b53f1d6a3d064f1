"""Contraction in every order: the values, pair by pair and in blocks."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from shapae import deepshap
from shapae.deepshap.feedforward import contraction
from tests import cases
from tests.deepshap.feedforward.chains import (
    assert_near,
    assert_same_values,
    case,
    every_chain,
    every_order,
    layers,
    linear,
    mlp,
    net,
    trace,
)
from tests.deepshap.helpers import B, X


@every_chain
@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_every_order_and_the_backward_pass_over_a_chain_give_the_values_of_the_tape(name, dtype, precision):
    assert_same_values(case(name, dtype), precision)


FUNCTIONS = {
    "tanh": (nn.Tanh, np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (nn.Softplus, lambda z: np.log1p(np.exp(z)), lambda z: 1 / (1 + np.exp(-z))),
    "relu": (nn.ReLU, lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
}


def pairs_written_out(model, names, rows, background):
    """The values of each pair, in numpy."""
    maps = [[each.detach().numpy() for each in (layer.weight, layer.bias)] for layer in model[::2]]
    want = np.zeros((len(rows), rows.shape[1], len(maps[-1][0])))
    for (i, x), b in itertools.product(enumerate(rows.numpy()), background.numpy()):
        product, delta = np.eye(len(x)), x - b
        for (weight, bias), name in zip(maps, names, strict=False):
            _, function, derivative = FUNCTIONS[name]
            zx, zb = weight @ x + bias, weight @ b + bias
            x, b = function(zx), function(zb)
            near = abs(zx - zb) < 1e-12
            slope = np.where(near, derivative(zx), (x - b) / np.where(near, 1, zx - zb))
            product = slope[:, None] * weight @ product
        want[i] += (maps[-1][0] @ product * delta).T / len(background)
    return want


def mixed(widths, names):
    """A network with a different activation in each layer."""
    parts = []
    for pair, name in zip(itertools.pairwise(widths), (*names, None), strict=True):
        parts += [linear(*pair), *([FUNCTIONS[name][0]] if name else [])]
    return cases.build(layers(*parts))


NETS = [
    ((6, 4, 3, 5, 7), ("tanh", "softplus", "relu")),
    ((6, 5, 4, 8), ("softplus", "tanh")),
    ((6, 5, 9), ("relu",)),
    ((6, 3, 5, 4, 2), ("relu", "tanh", "softplus")),
]


@pytest.mark.parametrize(("widths", "names"), NETS)
def test_values_are_those_of_each_pair_pairs_written_out(widths, names):
    model = mixed(widths, names)
    found = deepshap.DeepShap(model, B).attribute(X)
    assert (found.sum_of_squares is None) == (widths[-1] > contraction.FEW_OUTPUTS)
    assert_near(found.mean, pairs_written_out(model, names, X, B))
    for order in every_order(trace(model).chain):
        traced = trace(model)
        assert_near(
            contraction.contract(traced.chain, order, traced.x, traced.b).numpy(), pairs_written_out(model, names, X, B)
        )


@pytest.mark.parametrize(("widths", "names"), NETS)
def test_pairs_that_coincide_in_the_features_or_in_a_hidden_unit_have_the_derivative(widths, names):
    model = mixed(widths, names)
    rows, background = X.clone(), B.clone()
    across = torch.linalg.qr(model[0].weight[:1].T, mode="complete").Q[:, 3]  # keeps the first hidden unit
    rows[0], rows[1], background[2] = background[0], background[1] + across, background[3]
    traced = trace(model, rows, background)
    assert_near(traced.x[traced.chain.nonlinearities[0].variables[0]][1].flatten()[0], model[0](background[1])[0])
    assert_same_values(traced)
    assert_near(
        deepshap.DeepShap(model, background).attribute(rows).mean, pairs_written_out(model, names, rows, background)
    )


def test_a_row_against_itself_has_the_values_zero():
    for name in ("one hidden layer", "three hidden layers", "error of each feature", "linear autoencoder"):
        traced = case(name)
        b = {slot: value[:1] for slot, value in traced.x.items()}
        for order in every_order(traced.chain, 1):
            np.testing.assert_array_equal(contraction.contract(traced.chain, order, b, b), 0)


@pytest.mark.parametrize("name", ["one hidden layer", "three hidden layers", "narrow between", "error of each feature"])
@pytest.mark.parametrize("block", [1, 1000, 2**20])
def test_the_size_of_the_blocks_makes_no_difference(name, block, monkeypatch):
    traced, seen = case(name), []
    accumulate = contraction._accumulate

    def recorded(chain, order, factors, sums):
        seen.append((len(sums), contraction._block_sizes(chain, order, factors.shape[1])[1]))
        accumulate(chain, order, factors, sums)

    monkeypatch.setattr(contraction, "_accumulate", recorded)
    monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
    assert_same_values(traced)
    if block != 1000:
        assert {*seen} == {(1, 1) if block == 1 else (5, 7)}


def test_no_block_is_larger_than_the_limit(monkeypatch):
    """The sizes of both sides of the product are measured, for limits in which at least one pair fits."""
    sizes, computed = [], {name: getattr(contraction, name) for name in ("_left", "_right")}
    for name in computed:
        monkeypatch.setattr(contraction, name, lambda *args, name=name: _record_size(computed[name](*args), sizes))
    for name, block in itertools.product(("two hidden layers", "three hidden layers"), (1000, 2000, 4000)):
        monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
        traced = case(name)
        for order in contraction.orders(traced.chain, 7):
            sizes.clear()
            contraction.contract(traced.chain, order, traced.x, traced.b)
            assert max(left + right for left, right in zip(sizes[::2], sizes[1::2], strict=True)) <= block


def _record_size(tensor, sizes):
    sizes.append(tensor.nbytes)
    return tensor


@every_chain
def test_a_row_has_the_same_values_alone_and_one_background_row_is_enough(name):
    traced = case(name)
    one, few = ({slot: value[2:3] for slot, value in values.items()} for values in (traced.x, traced.b))
    for order in every_order(traced.chain):
        together = contraction.contract(traced.chain, order, traced.x, traced.b)
        assert_near(contraction.contract(traced.chain, order, one, traced.b).numpy(), together[2:3].numpy())
    for x, b in ((one, traced.b), (traced.x, few), (one, few)):
        assert_same_values(SimpleNamespace(tape=traced.tape, chain=traced.chain, x=x, b=b))


def test_values_of_random_nets_add_up_in_every_order():
    generator = np.random.default_rng(0)
    activations = [nn.ReLU, nn.Tanh, nn.GELU, nn.Softplus, nn.Sigmoid, nn.SiLU, nn.ELU]
    for seed in range(60):
        d, k, *hidden = (int(each) for each in generator.integers(1, 7, size=2 + seed % 3 + 1))
        k += 2 * (seed % 2)
        activation = activations[generator.integers(len(activations))]
        model = cases.build(mlp, d, *hidden, k, activation=activation, seed=seed)
        rows, background = (torch.tensor(generator.normal(size=(n, d))) for n in (3, 4))
        found = deepshap.DeepShap(model, background).attribute(rows)
        rise = model(rows) - model(background).mean(dim=0)
        np.testing.assert_allclose(found.mean.sum(axis=1), rise, rtol=0, atol=1e-12)
        assert_same_values(trace(model, rows, background))


def test_a_narrow_value_after_an_error_leaves_the_values_unchanged():
    model, narrow = net(6, 5, 6), cases.build(nn.Linear, 6, 1)
    assert_same_values(trace(lambda x: narrow((model(x) - x) ** 2) @ torch.ones(1, 6).double()), least=0)
