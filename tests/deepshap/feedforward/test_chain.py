"""Feed-forward chains: which tapes are chains, and the matrices of their affine maps."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shapae import deepshap
from shapae.deepshap import backward
from shapae.deepshap.feedforward import contraction
from tests import cases
from tests.deepshap.feedforward.chains import (
    CHAINS,
    WEIGHTS,
    Case,
    assert_near,
    assert_same_values,
    case,
    every_chain,
    layers,
    linear,
    mlp,
    net,
    trace,
    twice,
)
from tests.deepshap.helpers import B, X
from tests.deepshap.zoo import stirred


@every_chain
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chains_are_recognized_with_their_widths_and_nonlinearities(name, dtype):
    chain = case(name, dtype).chain
    into, out = ([each.sizes[axis] for each in chain.maps] for axis in (1, 0))
    assert (*into, out[-1]) == CHAINS[name].widths
    assert into[1:] == out[:-1]
    assert tuple(step and step.name for step in chain.nonlinearities) == CHAINS[name].nonlinearities
    errors = {"pow", "mul"} & {*CHAINS[name].nonlinearities}
    assert (chain.skip is not None) == (bool(errors) and name != "linear autoencoder")


def jacobian(traced, source, target):
    """Jacobian of ``target`` by ``source``, with the row and the outputs of all other nonlinearities fixed."""
    at = {slot: value[0] for slot, value in traced.x.items()}
    fixed = {source, *(step.slot for step in traced.chain.nonlinearities if step)}

    def run(value):
        values = at | {source: value}
        for step in traced.tape.steps:
            if step.slot not in fixed:
                values[step.slot] = step.run(*(values[slot] for slot in step.variables))
        return values[target].reshape(-1)

    with torch.enable_grad():
        return torch.autograd.functional.jacobian(run, at[source]).flatten(1)


@every_chain
def test_affine_maps_have_the_matrices_that_autograd_finds(name):
    traced = case(name)
    for each in filter(None, (*traced.chain.maps, traced.chain.skip)):
        want = jacobian(traced, each.source, each.target)
        assert each.matrix.shape == each.sizes
        assert_near(each.matrix, want)
        assert_near(each.dense, want)
        diagonal = want.shape[0] == want.shape[1] and bool((want == torch.diag(want.diagonal())).all())
        assert (each.diagonal is not None) == diagonal
        assert each.multiplications == (0 if diagonal else want.numel())
        if diagonal:
            assert_near(each.diagonal, want.diagonal())
        vectors = torch.tensor(cases.table(3, each.sizes[1])), torch.tensor(cases.table(3, each.sizes[0]))
        assert_near(each.forward(vectors[0]), vectors[0] @ want.T)
        assert_near(each.forward(vectors[0], out=torch.empty(3, len(want)).double()), vectors[0] @ want.T)
        assert_near(each.backward(vectors[1]), vectors[1] @ want)


def test_maps_are_products_of_weights():
    model = cases.build(CHAINS["two maps in one"].make)
    chain, weights = trace(model).chain, [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    for got, want in zip(chain.maps, (weights[0], weights[2] @ weights[1], weights[3]), strict=True):
        assert_near(got.matrix, want)
    model = cases.build(CHAINS["norm before the activation"].make)
    scale = model[1].weight / (model[1].running_var + model[1].eps).sqrt()
    assert_near(trace(model).chain.maps[0].matrix, scale[:, None] * model[0].weight)
    model = cases.build(cases.Linear)
    assert_near(
        trace(lambda x: twice(model, x)).chain.maps[0].matrix,
        model.decoder.weight @ model.encoder.weight - torch.eye(6),
    )


def test_a_skip_connection_is_separated_from_the_maps():
    model = net(6, 4, 6)
    chain = trace(lambda x: (model(x) - 3 * x) ** 2).chain
    assert_near(chain.skip.diagonal, torch.full((6,), -3.0).double())
    assert_near(chain.maps[1].matrix, model[2].weight)
    swapped = trace(lambda x: (model(x) - x.flip(1)) ** 2)
    assert swapped.chain.skip.diagonal is None
    assert_near(swapped.chain.skip.matrix, -torch.eye(6).flip(0).double())
    assert swapped.chain.multiplications == 6 * 4 + 4 * 6 + 6 * 6
    assert contraction.orders(swapped.chain, 7) == []
    assert_same_values(swapped, least=0)


@pytest.mark.parametrize("position", [(0, 5), (5, 0), (2, 3)])
def test_one_number_off_the_diagonal_makes_the_map_a_matrix(position):
    matrix = torch.eye(6).double()
    matrix[position] = -0.25
    first = trace(lambda x: (x @ matrix.T).tanh()).chain.maps[0]
    assert first.diagonal is None
    assert_near(first.matrix, matrix)


def test_matrices_are_the_same_when_computed_in_chunks(monkeypatch):
    want = [each.matrix for each in case("norm after the activation").chain.maps]
    monkeypatch.setattr("shapae.deepshap.feedforward.chain.CHUNK_ELEMENTS", 1)
    for got, matrix in zip(case("norm after the activation").chain.maps, want, strict=True):
        assert_near(got.matrix, matrix)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x):
        z = self.first(x).tanh()
        return self.last(z + self.second(z).tanh())


class Branches(Residual):
    def forward(self, x):
        return self.last(self.first(x).tanh() + self.second(x).sigmoid())


class Widening(Residual):
    """float64 in the middle, for inputs of any dtype."""

    def forward(self, x):
        return F.linear(self.first(x).double().tanh(), self.last.weight.double()).to(x.dtype)


def convolution():
    traced = (lambda: nn.Conv1d(1, 1, 3, padding=1), nn.ReLU, lambda: nn.Conv1d(1, 1, 3, padding=1), nn.Flatten)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), *(part() for part in traced))


def past_two(model, x):
    """A skip connection past the last nonlinearity, rather than into it."""
    return model(x).tanh() + x


NO_CHAINS = {
    "residual": Case(Residual, (), ()),
    "two branches": Case(Branches, (), ()),
    "the row past all nonlinearities": Case(lambda: mlp(6, 4, 6), (), (), past_two),
    "the row into all nonlinearities": Case(lambda: mlp(6, 4, 6), (), (), lambda model, x: (model(x) - x).tanh() - x),
    "the row into the first of two": Case(
        lambda: mlp(6, 4, 6), (), (), lambda model, x: ((model(x) + x).tanh() * 2).relu() @ WEIGHTS.to(x)
    ),
    "softmax": Case(layers(linear(6, 4), lambda: nn.Softmax(dim=1), linear(4, 5)), (), ()),
    "LayerNorm": Case(layers(linear(6, 4), lambda: stirred(nn.LayerNorm(4)), nn.Tanh, linear(4, 5)), (), ()),
    "convolution": Case(convolution, (), ()),
    "another dtype": Case(Widening, (), ()),
    "x * sigmoid(x)": Case(lambda: mlp(6, 4), (), (), lambda model, x: model(x) * model(x).sigmoid()),
    "no nonlinearity": Case(cases.Linear, (), ()),
    "constant": Case(cases.Linear, (), (), lambda model, x: torch.ones(len(x), 5).to(x)),
    "a sum of squares with a product": Case(
        lambda: mlp(6, 4, 6), (), (), lambda model, x: model(x) * x + model(x) ** 2
    ),
}


@pytest.mark.parametrize("name", NO_CHAINS)
def test_a_tape_that_is_no_chain_gets_the_plain_backward_pass(name):
    found = NO_CHAINS[name]
    dtype = torch.float32 if name == "another dtype" else torch.float64
    model, rows, background = cases.build(found.make, dtype=dtype), X.to(dtype), B.to(dtype)
    traced = trace(lambda x: found.run(model, x), rows, background)
    assert traced.chain is None
    got = deepshap.DeepShap(lambda x: found.run(model, x), background).attribute(rows)
    assert_near(got.mean, backward.attribute_pairs(traced.tape.in_dtype(dtype), traced.x, traced.b).mean, 0)
    rise = found.run(model, rows) - found.run(model, background).mean(dim=0)
    np.testing.assert_allclose(got.mean.sum(axis=1), rise, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)
