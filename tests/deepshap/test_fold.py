"""Chains: what is one, that merging and folding them leaves the values as they are, and what it costs."""

import itertools
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from shapae import deepshap
from shapae.deepshap import backward
from shapae.deepshap.feedforward import contraction, deviations
from shapae.deepshap.feedforward.chain import FeedForward, as_feedforward
from shapae.deepshap.feedforward.deviations import Deviations
from shapae.deepshap.rules import rule_for
from shapae.deepshap.tracing.record import record
from shapae.deepshap.tracing.tape import Tape, replay
from shapae.errors import ModelError
from tests import cases
from tests.deepshap.zoo import stirred

X, B = (torch.tensor(cases.table(n, seed=n)) for n in (5, 7))


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def mlp(*widths, bend=nn.Tanh):
    """Linear maps with a bend between any two."""
    linears = (nn.Linear(*pair) for pair in itertools.pairwise(widths))
    return nn.Sequential(*[each for linear in linears for each in (linear, bend())][:-1])


def net(*widths, bend=nn.Tanh, seed=0):
    return cases.build(mlp, *widths, bend=bend, seed=seed)


def taken(function, rows=X, background=B):
    """The tape of ``function``, its chain if it is one, and the values of rows and background on the tape."""
    tape = record(function, background[0], lambda op, kinds: rule_for(op, kinds) is not None)
    x, b = replay(tape, rows), replay(tape, background)
    return SimpleNamespace(tape=tape, chain=as_feedforward(tape, b), x=x, b=b)


def every_order(chain, b=7):
    """All that are implemented, and of those by deviations all choices of C."""
    found, bends = contraction.orders(chain, b), len(chain.nonlinearities)
    choices = itertools.product([True, False], repeat=bends) if found and bends > 1 else ()
    return [*found, *(Deviations(0.0, centred) for centred in choices)]


def assert_near(got, want, precision=1e-12):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=precision * max(1e-3, float(abs(want).max())))


def assert_same_values(parts, precision=1e-12, least=1):
    """In every order, those of the raw tape."""
    tape, chain, x, b = parts.tape, parts.chain, parts.x, parts.b
    weights = torch.arange(1, len(b[0]) + 1).to(b[0])
    want, walked, weighted = (
        backward.attribute_pairs(tape, x, b),
        backward.attribute_pairs(chain, x, b),
        backward.attribute_pairs(tape, x, b, weights),
    )
    assert_near(walked.mean, want.mean, precision)
    assert_near(walked.spread, want.spread, precision)
    orders = every_order(chain, len(b[0]))
    assert len(orders) >= least
    for order in orders:
        assert_near(contraction.contract(chain, order, x, b).numpy(), want.mean, precision)
        assert_near(contraction.contract(chain, order, x, b, weights / weights.sum()).numpy(), weighted.mean, precision)


# What is a chain


class Case(NamedTuple):
    make: Callable
    widths: tuple
    nonlinearities: tuple
    run: Callable = lambda model, x: model(x)


def layers(*parts):
    return lambda: nn.Sequential(*(part() for part in parts))


def linear(*widths):
    return lambda: nn.Linear(*widths)


def twice(model, x):
    r = model(x) - x
    return r * r


def beside(model, x):
    z = model[:2](x)
    return model[4:](z + model[2:4](z))


class Shapes(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 5)

    def forward(self, x):
        z = self.first(x.unsqueeze(1).transpose(1, 2).squeeze(2)).view(-1, 2, 2).tanh().mT
        return self.last(z.reshape(len(x), 4)).unsqueeze(0)[0]


WEIGHTS = torch.linspace(-1, 2, 30).reshape(6, 5)
CHAINS = {
    "one hidden layer": Case(lambda: mlp(6, 4, 7), (6, 4, 7), ("tanh",)),
    "two hidden layers": Case(lambda: mlp(6, 4, 3, 5, bend=nn.ReLU), (6, 4, 3, 5), ("relu", "relu")),
    "three hidden layers": Case(lambda: mlp(6, 4, 3, 4, 5, bend=nn.GELU), (6, 4, 3, 4, 5), ("gelu",) * 3),
    "one output": Case(lambda: mlp(6, 4, 3, 1, bend=nn.Softplus), (6, 4, 3, 1), ("softplus",) * 2),
    "one score": Case(lambda: mlp(6, 4, 3, 1), (6, 4, 3, 1), ("tanh",) * 2, lambda model, x: model(x)[:, 0]),
    "norm before the activation": Case(
        layers(linear(6, 4), lambda: stirred(nn.BatchNorm1d(4)), nn.Tanh, linear(4, 5)), (6, 4, 5), ("tanh",)
    ),
    "norm after the activation": Case(
        layers(linear(6, 4), nn.Tanh, lambda: stirred(nn.BatchNorm1d(4)), linear(4, 3), nn.ReLU, linear(3, 5)),
        (6, 4, 3, 5),
        ("tanh", "relu"),
    ),
    "dropout": Case(layers(nn.Dropout, linear(6, 4), nn.ReLU, nn.Dropout, linear(4, 5)), (6, 4, 5), ("relu",)),
    "shapes": Case(Shapes, (6, 4, 5), ("tanh",)),
    "mean squared error": Case(
        lambda: mlp(6, 4, 6),
        (6, 4, 6, 1),
        ("tanh", "pow"),
        lambda model, x: ((model(x) - x) ** 2).mean(dim=1),
    ),
    "F.mse_loss": Case(
        lambda: mlp(6, 4, 3, 6),
        (6, 4, 3, 6, 1),
        ("tanh", "tanh", "pow"),
        lambda model, x: F.mse_loss(model(x), x, reduction="none").mean(dim=1),
    ),
    "error of each feature": Case(
        lambda: mlp(6, 4, 3, 6), (6, 4, 3, 6, 6), ("tanh", "tanh", "pow"), lambda model, x: (model(x) - x) ** 2
    ),
    "torch.square": Case(
        lambda: mlp(6, 4, 6), (6, 4, 6, 6), ("tanh", "pow"), lambda model, x: torch.square(2 * x - model(x)) / 3
    ),
    "r * r": Case(lambda: mlp(6, 4, 6), (6, 4, 6, 6), ("tanh", "mul"), twice),
    "weighted errors": Case(
        lambda: mlp(6, 4, 6), (6, 4, 6, 5), ("tanh", "mul"), lambda model, x: twice(model, x) @ WEIGHTS.to(x)
    ),
    "chosen errors": Case(
        lambda: mlp(6, 4, 6), (6, 4, 6, 5), ("tanh", "mul"), lambda model, x: twice(model, x)[:, [3, 1, 0, 5, 1]]
    ),
    "linear autoencoder": Case(cases.Linear, (6, 6, 6), ("mul",), twice),
    "chosen outputs": Case(
        lambda: mlp(6, 4, 9), (6, 4, 5), ("tanh",), lambda model, x: model(x)[:, torch.tensor([8, 0, 3, 3, 5])]
    ),
    "some outputs": Case(lambda: mlp(6, 4, 9), (6, 4, 5), ("tanh",), lambda model, x: model(x)[:, :5]),
    "bends in a row": Case(
        layers(linear(6, 4), nn.Tanh, nn.Softplus, nn.GELU, linear(4, 5)), (6, 4, 4, 4, 5), ("tanh", "softplus", "gelu")
    ),
    "a bend at the end": Case(
        layers(linear(6, 4), nn.Tanh, linear(4, 5), nn.Sigmoid), (6, 4, 5, 5), ("tanh", "sigmoid")
    ),
    "a bend of the row": Case(
        lambda: mlp(6, 4, 5), (6, 6, 4, 5), ("softplus", "tanh"), lambda model, x: model(F.softplus(x))
    ),
    "only bends": Case(nn.Tanh, (6, 6, 6, 6), ("tanh", "relu"), lambda model, x: 3 * model(2 * x).relu()),
    "two maps in one": Case(
        layers(linear(6, 4), nn.Tanh, linear(4, 9), linear(9, 5), nn.Tanh, linear(5, 7)), (6, 4, 5, 7), ("tanh",) * 2
    ),
    "narrow between": Case(
        layers(linear(6, 8), nn.Tanh, linear(8, 2), linear(2, 7), nn.Tanh, linear(7, 5)),
        (6, 8, 2, 7, 5),
        ("tanh", None, "tanh"),
    ),
    "narrow at both ends": Case(
        layers(linear(6, 2), linear(2, 7), nn.Tanh, linear(7, 1), linear(1, 5)), (6, 2, 7, 1, 5), (None, "tanh", None)
    ),
    "narrow beside a wide one": Case(
        layers(linear(6, 8), nn.Tanh, linear(8, 1), linear(1, 8), nn.Tanh, linear(8, 5)),
        (6, 8, 8, 5),
        ("tanh", "tanh"),
        beside,
    ),
    "narrow before an error": Case(
        layers(linear(6, 5), nn.Tanh, linear(5, 1), linear(1, 6)),
        (6, 5, 1, 6, 6),
        ("tanh", None, "pow"),
        lambda model, x: (model(x) - x) ** 2,
    ),
}
every_chain = pytest.mark.parametrize("name", CHAINS)


def case(name, dtype=torch.float64):
    found = CHAINS[name]
    model = cases.build(found.make, dtype=dtype)
    return taken(lambda x: found.run(model, x), X.to(dtype), B.to(dtype))


@every_chain
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chains_are_found(name, dtype):
    chain = case(name, dtype).chain
    into, out = ([each.sizes[axis] for each in chain.maps] for axis in (1, 0))
    assert (*into, out[-1]) == CHAINS[name].widths
    assert into[1:] == out[:-1]
    assert tuple(bend and bend.name for bend in chain.nonlinearities) == CHAINS[name].nonlinearities
    errors = {"pow", "mul"} & {*CHAINS[name].nonlinearities}
    assert (chain.skip is not None) == (bool(errors) and name != "linear autoencoder")


def jacobian(parts, source, target):
    """Of the value at ``target``, while what comes out of bends, and the row, are held still: all but ``source``."""
    at = {slot: value[0] for slot, value in parts.x.items()}
    still = {source, *(bend.slot for bend in parts.chain.nonlinearities if bend)}

    def run(value):
        values = at | {source: value}
        for step in parts.tape.steps:
            if step.slot not in still:
                values[step.slot] = step.run(*(values[slot] for slot in step.variables))
        return values[target].reshape(-1)

    with torch.enable_grad():
        return torch.autograd.functional.jacobian(run, at[source]).flatten(1)


@every_chain
def test_affine_maps_have_the_matrices_that_autograd_finds(name):
    parts = case(name)
    for each in filter(None, (*parts.chain.maps, parts.chain.skip)):
        want = jacobian(parts, each.source, each.target)
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
    chain, weights = taken(model).chain, [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    for got, want in zip(chain.maps, (weights[0], weights[2] @ weights[1], weights[3]), strict=True):
        assert_near(got.matrix, want)
    model = cases.build(CHAINS["norm before the activation"].make)
    scale = model[1].weight / (model[1].running_var + model[1].eps).sqrt()
    assert_near(taken(model).chain.maps[0].matrix, scale[:, None] * model[0].weight)
    model = cases.build(cases.Linear)
    assert_near(
        taken(lambda x: twice(model, x)).chain.maps[0].matrix,
        model.decoder.weight @ model.encoder.weight - torch.eye(6),
    )


def test_a_skip_is_told_from_the_maps():
    model = net(6, 4, 6)
    chain = taken(lambda x: (model(x) - 3 * x) ** 2).chain
    assert_near(chain.skip.diagonal, torch.full((6,), -3.0).double())
    assert_near(chain.maps[1].matrix, model[2].weight)
    swapped = taken(lambda x: (model(x) - x.flip(1)) ** 2)
    assert swapped.chain.skip.diagonal is None
    assert_near(swapped.chain.skip.matrix, -torch.eye(6).flip(0).double())
    assert swapped.chain.multiplications == 6 * 4 + 4 * 6 + 6 * 6
    assert contraction.orders(swapped.chain, 7) == []
    assert_same_values(swapped, least=0)


@pytest.mark.parametrize("spoiled", [(0, 5), (5, 0), (2, 3)])
def test_one_number_beside_the_diagonal_makes_it_a_matrix(spoiled):
    matrix = torch.eye(6).double()
    matrix[spoiled] = -0.25
    first = taken(lambda x: (x @ matrix.T).tanh()).chain.maps[0]
    assert first.diagonal is None
    assert_near(first.matrix, matrix)


def test_matrices_are_computed_in_chunks_as_in_one_piece(monkeypatch):
    want = [each.matrix for each in case("norm after the activation").chain.maps]
    monkeypatch.setattr("shapae.deepshap.feedforward.chain.CHUNK_ELEMENTS", 1)
    for got, matrix in zip(case("norm after the activation").chain.maps, want, strict=True):
        assert_near(got.matrix, matrix)


# Values


@every_chain
@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_every_order_and_the_walk_over_a_chain_give_the_values_of_the_tape(name, dtype, precision):
    assert_same_values(case(name, dtype), precision)


FUNCTIONS = {
    "tanh": (nn.Tanh, np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (nn.Softplus, lambda z: np.log1p(np.exp(z)), lambda z: 1 / (1 + np.exp(-z))),
    "relu": (nn.ReLU, lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
}


def written_out(model, names, rows, background):
    """Pair by pair, in numpy."""
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
def test_values_are_those_of_each_pair_written_out(widths, names):
    model = mixed(widths, names)
    found = deepshap.DeepShap(model, B).attribute(X)
    assert (found.spread is None) == (widths[-1] > contraction.FEW_OUTPUTS)
    assert_near(found.mean, written_out(model, names, X, B))
    for order in every_order(taken(model).chain):
        parts = taken(model)
        assert_near(contraction.contract(parts.chain, order, parts.x, parts.b).numpy(), written_out(model, names, X, B))


@pytest.mark.parametrize(("widths", "names"), NETS)
def test_pairs_that_coincide_or_do_so_in_a_hidden_unit_have_the_derivative(widths, names):
    model = mixed(widths, names)
    rows, background = X.clone(), B.clone()
    across = torch.linalg.qr(model[0].weight[:1].T, mode="complete").Q[:, 3]  # leaves the first unit as it is
    rows[0], rows[1], background[2] = background[0], background[1] + across, background[3]
    parts = taken(model, rows, background)
    assert_near(parts.x[parts.chain.nonlinearities[0].variables[0]][1].flatten()[0], model[0](background[1])[0])
    assert_same_values(parts)
    assert_near(deepshap.DeepShap(model, background).attribute(rows).mean, written_out(model, names, rows, background))


def test_a_row_against_itself_has_the_values_zero():
    for name in ("one hidden layer", "three hidden layers", "error of each feature", "linear autoencoder"):
        parts = case(name)
        b = {slot: value[:1] for slot, value in parts.x.items()}
        for order in every_order(parts.chain, 1):
            np.testing.assert_array_equal(contraction.contract(parts.chain, order, b, b), 0)


@pytest.mark.parametrize("name", ["one hidden layer", "three hidden layers", "narrow between", "error of each feature"])
@pytest.mark.parametrize("block", [1, 1000, 2**20])
def test_the_size_of_the_blocks_makes_no_difference(name, block, monkeypatch):
    parts, seen = case(name), []
    sum_up = contraction._accumulate

    def watched(chain, order, x, b, *rest):
        seen.append((len(x[0]), contraction._block_sizes(chain.widths, order, b[0])[1]))
        sum_up(chain, order, x, b, *rest)

    monkeypatch.setattr(contraction, "_accumulate", watched)
    monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
    assert_same_values(parts)
    if block != 1000:
        assert {*seen} == {(1, 1) if block == 1 else (5, 7)}


def test_a_block_is_not_larger_than_it_may_be(monkeypatch):
    """Seen in the widest value for the pairs; if a pair fits, at all."""
    sizes, computed = [], {name: getattr(contraction, name) for name in ("_left", "_right")}
    for name in computed:
        monkeypatch.setattr(contraction, name, lambda *args, name=name: _noted(computed[name](*args), sizes))
    for name, block in itertools.product(("two hidden layers", "three hidden layers"), (1000, 2000, 4000)):
        monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
        parts = case(name)
        for order in contraction.orders(parts.chain, 7):
            sizes.clear()
            contraction.contract(parts.chain, order, parts.x, parts.b)
            assert max(left + right for left, right in zip(sizes[::2], sizes[1::2], strict=True)) <= block


def _noted(tensor, sizes):
    sizes.append(tensor.nbytes)
    return tensor


@every_chain
def test_a_row_has_the_same_values_alone_and_one_background_row_is_enough(name):
    parts = case(name)
    one, few = ({slot: value[2:3] for slot, value in values.items()} for values in (parts.x, parts.b))
    for order in every_order(parts.chain):
        together = contraction.contract(parts.chain, order, parts.x, parts.b)
        assert_near(contraction.contract(parts.chain, order, one, parts.b).numpy(), together[2:3].numpy())
    for x, b in ((one, parts.b), (parts.x, few), (one, few)):
        assert_same_values(SimpleNamespace(tape=parts.tape, chain=parts.chain, x=x, b=b))


def test_values_of_random_nets_add_up_in_every_order():
    generator = np.random.default_rng(0)
    bends = [nn.ReLU, nn.Tanh, nn.GELU, nn.Softplus, nn.Sigmoid, nn.SiLU, nn.ELU]
    for seed in range(60):
        d, k, *hidden = (int(each) for each in generator.integers(1, 7, size=2 + seed % 3 + 1))
        k += 2 * (seed % 2)
        bend = bends[generator.integers(len(bends))]
        model = cases.build(mlp, d, *hidden, k, bend=bend, seed=seed)
        rows, background = (torch.tensor(generator.normal(size=(n, d))) for n in (3, 4))
        found = deepshap.DeepShap(model, background).attribute(rows)
        rise = model(rows) - model(background).mean(dim=0)
        np.testing.assert_allclose(found.mean.sum(axis=1), rise, rtol=0, atol=1e-12)
        assert_same_values(taken(model, rows, background))


def test_a_pickled_against_gives_the_same_values():
    model = cases.build(cases.Question)
    against = deepshap.DeepShap(model, B)
    want = against.attribute(X)
    again = pickle.loads(pickle.dumps(against))
    np.testing.assert_array_equal(again.attribute(X).mean, want.mean)
    assert {*vars(pickle.loads(pickle.dumps(against)))} == {"function", "background", "anchors", "weights"}


def test_a_narrow_value_after_an_error_leaves_the_values_as_they_are():
    model, narrow = net(6, 5, 6), cases.build(nn.Linear, 6, 1)
    assert_same_values(taken(lambda x: narrow((model(x) - x) ** 2) @ torch.ones(1, 6).double()), least=0)


# What is no chain


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
    """float64 on its way, whatever comes in."""

    def forward(self, x):
        return F.linear(self.first(x).double().tanh(), self.last.weight.double()).to(x.dtype)


def convolution():
    parts = (lambda: nn.Conv1d(1, 1, 3, padding=1), nn.ReLU, lambda: nn.Conv1d(1, 1, 3, padding=1), nn.Flatten)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), *(part() for part in parts))


def past_two(model, x):
    """The row goes past the last bend, rather than into it."""
    return model(x).tanh() + x


NO_CHAINS = {
    "residual": Case(Residual, (), ()),
    "two branches": Case(Branches, (), ()),
    "the row past all bends": Case(lambda: mlp(6, 4, 6), (), (), past_two),
    "the row into all bends": Case(lambda: mlp(6, 4, 6), (), (), lambda model, x: (model(x) - x).tanh() - x),
    "the row into the first of two": Case(
        lambda: mlp(6, 4, 6), (), (), lambda model, x: ((model(x) + x).tanh() * 2).relu() @ WEIGHTS.to(x)
    ),
    "softmax": Case(layers(linear(6, 4), lambda: nn.Softmax(dim=1), linear(4, 5)), (), ()),
    "LayerNorm": Case(layers(linear(6, 4), lambda: stirred(nn.LayerNorm(4)), nn.Tanh, linear(4, 5)), (), ()),
    "convolution": Case(convolution, (), ()),
    "another dtype": Case(Widening, (), ()),
    "x * sigmoid(x)": Case(lambda: mlp(6, 4), (), (), lambda model, x: model(x) * model(x).sigmoid()),
    "no bend": Case(cases.Linear, (), ()),
    "constant": Case(cases.Linear, (), (), lambda model, x: torch.ones(len(x), 5).to(x)),
    "a sum of squares with a product": Case(
        lambda: mlp(6, 4, 6), (), (), lambda model, x: model(x) * x + model(x) ** 2
    ),
}


@pytest.mark.parametrize("name", NO_CHAINS)
def test_what_is_no_chain_is_walked_over_as_it_is(name):
    found = NO_CHAINS[name]
    dtype = torch.float32 if name == "another dtype" else torch.float64
    model, rows, background = cases.build(found.make, dtype=dtype), X.to(dtype), B.to(dtype)
    parts = taken(lambda x: found.run(model, x), rows, background)
    assert parts.chain is None
    got = deepshap.DeepShap(lambda x: found.run(model, x), background).attribute(rows)
    assert_near(got.mean, backward.attribute_pairs(parts.tape.in_dtype(dtype), parts.x, parts.b).mean, 0)
    rise = found.run(model, rows) - found.run(model, background).mean(dim=0)
    np.testing.assert_allclose(got.mean.sum(axis=1), rise, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)


# What is infinite


INFINITE = {
    "exp": (lambda z: 1 / (1 + (900 * z).exp()), "exp"),
    "log": (lambda z: (z.relu().log() / 2).exp(), "log"),
}


@pytest.mark.parametrize("kind", INFINITE)
@pytest.mark.parametrize("k", [3, 7])
def test_infinite_multipliers_are_refused_by_the_walk_also_where_the_chain_is_folded(kind, k):
    bend, name = INFINITE[kind]
    first, last = cases.build(nn.Linear, 6, 4), cases.build(nn.Linear, 4, k)
    parts = taken(lambda x: last(bend(first(x))))
    assert torch.isfinite(parts.x[parts.tape.result.slot]).all()
    for order in every_order(parts.chain):
        assert contraction.contract(parts.chain, order, parts.x, parts.b) is None
    with pytest.raises(ModelError, match=rf"multipliers of aten\.{name}\.default in .*are not"):
        deepshap.DeepShap(lambda x: last(bend(first(x))), B).attribute(X)


def test_one_infinite_row_is_enough(monkeypatch):
    """Also if it comes in the last block."""
    model = net(6, 4, 7)
    parts = taken(lambda x: model(INFINITE["exp"][0](x)), torch.cat([X * 1e-6, X[:1] * 10]), B * 1e-6)
    for block in (1, 2**20):
        monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
        for order in contraction.orders(parts.chain, 7):
            assert contraction.contract(parts.chain, order, parts.x, parts.b) is None
            finite = {slot: value[:5] for slot, value in parts.x.items()}
            assert torch.isfinite(contraction.contract(parts.chain, order, finite, parts.b)).all()


def test_what_can_not_be_folded_is_walked_over(monkeypatch):
    model, parts = net(6, 4, 7), taken(net(6, 4, 7))
    monkeypatch.setattr("shapae.deepshap.engine.contract", lambda *args: None)
    found, want = deepshap.DeepShap(model, B).attribute(X), backward.attribute_pairs(parts.tape, parts.x, parts.b)
    assert_near(found.mean, want.mean)
    assert_near(found.spread, want.spread)


# Where the walk pauses


@pytest.mark.parametrize(
    "name", ["mean squared error", "F.mse_loss", "error of each feature", "narrow before an error"]
)
@pytest.mark.parametrize("merged", [False, True])
def test_a_pausing_walk_stops_while_all_multipliers_are_small_and_goes_on_as_if_it_had_not(name, merged):
    parts = case(name)
    tape = parts.chain if merged else parts.tape
    seed = torch.eye(len(parts.x[tape.result.slot][0])).double()
    start = backward.start(tape, parts.x, parts.b, seed)
    paused, through = start.advance(pause=True), start.advance()
    assert all(1 in term.shape[1:3] for terms in paused.multipliers.values() for term in terms)
    assert any(term.shape[1] == 5 for terms in paused.multipliers.values() for term in terms)
    assert any(term.shape[2] == 7 for terms in paused.multipliers.values() for term in terms)
    assert paused.steps[-1].slot == max(
        bend.slot for bend in parts.chain.nonlinearities if bend and bend.name == "tanh"
    )
    assert [*through.multipliers] == [0]
    want = backward.sum_terms(through.multipliers[0])
    assert_near(backward.sum_terms(paused.advance().multipliers[0]), want)
    rows, background = slice(1, 4), slice(2, 9)
    for each in (paused, start):
        assert_near(
            backward.sum_terms(each.select(rows, background).advance().multipliers[0]), want[:, rows, background]
        )


# What it costs


def cheapest(model, *tables):
    parts = taken(model, *tables)
    return contraction.best_order(parts.chain, parts.b)


def test_many_outputs_are_folded_and_few_are_walked():
    assert cheapest(net(6, 4, 12)) == contraction.orders(taken(net(6, 4, 12)).chain, 7)[0]
    assert cheapest(net(3, 3, 4, 12), X[:, :3], B[:, :3]).last_layer_after_mean
    for k in range(1, contraction.FEW_OUTPUTS + 1):
        assert cheapest(net(6, 4, 3, k)) is None
        assert deepshap.DeepShap(net(6, 4, k), B).attribute(X).spread is not None
    assert cheapest(net(6, 4, contraction.FEW_OUTPUTS + 1)) is not None


def test_what_is_cheaper_is_taken(monkeypatch):
    monkeypatch.setattr(deviations, "CALL_COST", 0)  # else it is never the best of such small ones
    taken_ones = []
    for widths in ((6, 4, 12), (6, 4, 3, 12), (2, 9, 9, 9), (12, 12, 12, 5), (6, 12, 2, 12, 6), (30, 90, 90, 90)):
        for b in (1, 10, 100):
            tables = (torch.tensor(cases.table(each, widths[0])) for each in (1, b))
            parts = taken(net(*widths, bend=nn.ReLU), *tables)
            several = [deviations.best_deviations(parts.chain, parts.b)] if len(widths) > 3 else []
            costs = [order.cost for order in (*contraction.orders(parts.chain, b), *several)]
            best, walking = (
                contraction.best_order(parts.chain, parts.b),
                contraction.backward_order(parts.chain, b).cost,
            )
            assert (best is None) == (walking <= min(costs))
            assert best is None or best.cost == min(costs)
            taken_ones.append(type(best))
    assert {*taken_ones} == {type(None), contraction.ContractionOrder, Deviations}


def test_how_many_rows_are_explained_does_not_change_what_is_done():
    for k in (4, 5):
        against = deepshap.DeepShap(net(6, 4, k), B)
        assert {against.attribute(X[:n]).spread is None for n in (1, 2, 5)} == {k == 5}


@pytest.mark.parametrize("hidden", [(4,), (4, 3), (4, 3, 5)])
def test_costs_rise_with_the_background_and_the_outputs(hidden):
    def costs(b, k):
        chain = taken(net(6, *hidden, k)).chain
        return np.array([order.cost for order in (*contraction.orders(chain, b), contraction.backward_order(chain, b))])

    assert (np.diff([costs(b, 6) for b in (1, 2, 5, 100)], axis=0) > 0).all()
    assert (np.diff([costs(7, k) for k in (1, 2, 5, 100)], axis=0) >= 0).all()
    assert (costs(7, 100) > costs(7, 1)).all()


class Counting(TorchDispatchMode):
    """Counts the multiplications in products of matrices."""

    FIRST = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "baddbmm_": 1}

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        first = self.FIRST.get(op.overloadpacket.__name__)
        if first is not None:
            self.count += args[first].numel() * args[first + 1].shape[-1]
        return op(*args, **(kwargs or {}))


def test_multiplications_that_are_counted_are_those_that_torch_does(monkeypatch):
    monkeypatch.setattr(contraction, "MEMORY_COST", 0)
    n, b, d, p, q, r, k = 5, 7, 6, 4, 3, 2, 12
    by_hand = {
        (p,): {(0, True): d * b * p + d * p * k},
        (p, q): {
            (1, True): b * d * p * q + d * q * k,
            (1, False): b * (k * q * p + d * p * k),
        },
        (p, q, r): {
            (1, True): b * (r * q * p + d * p * r) + d * r * k,
            (1, False): b * (k * (r * q + q * p) + d * p * k),
            (2, True): b * (d * p * q + d * q * r) + d * r * k,
            (2, False): b * (d * p * q + k * r * q + d * q * k),
        },
    }
    for hidden, costs in by_hand.items():
        parts = taken(net(d, *hidden, k))
        chain = parts.chain
        orders = contraction.orders(chain, b)
        assert {(order.meeting_layer, order.last_layer_after_mean): order.cost for order in orders} == costs
        contraction.contract(chain, orders[0], parts.x, parts.b)  # the matrices are there from now on
        for order in orders:
            with Counting() as counting:
                contraction.contract(chain, order, parts.x, parts.b)
            assert counting.count == n * order.cost
        with Counting() as counting:
            backward.attribute_pairs(chain, parts.x, parts.b)
        assert counting.count == n * contraction.backward_order(chain, b).cost + k * k * hidden[-1]


@pytest.mark.parametrize(("widths", "bend"), [((40, 50, 60, 30), nn.ReLU), ((30, 40, 50, 40, 30), nn.LeakyReLU)])
def test_multiplications_by_deviations_are_as_many_as_the_background_tells(widths, bend, monkeypatch):
    monkeypatch.setattr(deviations, "MEMORY_COST", 0)
    monkeypatch.setattr(deviations, "CALL_COST", 0)
    rows, background = (torch.tensor(cases.table(n, widths[0], seed=n)) for n in (9, 50))
    parts = taken(net(*widths, bend=bend), rows, background)
    order = deviations.best_deviations(parts.chain, parts.b)
    contraction.contract(parts.chain, order, parts.x, parts.b)
    with Counting() as counting:
        contraction.contract(parts.chain, order, parts.x, parts.b)
    assert 0.8 < counting.count / (9 * order.cost) < 1.25


def test_slopes_that_are_the_row_s_own_cost_nothing():
    """Of ReLU those of pairs on one side of the kink, whose E is 0 to the last bit."""
    parts = taken(net(6, 9, 9, 9, bend=nn.ReLU))
    for bend, (own, every) in zip(
        parts.chain.nonlinearities, deviations._slopes(parts.chain, parts.x, parts.b), strict=True
    ):
        x, b = (values[bend.variables[0]] for values in (parts.x, parts.b))
        apart = (x[:, None] > 0) != (b[None] > 0)
        assert torch.equal(every != own, apart.flatten(2))
        assert 0 < apart.double().mean() < 1


def test_diagonal_maps_cost_nothing(monkeypatch):
    monkeypatch.setattr(contraction, "MEMORY_COST", 0)
    parts = case("error of each feature")
    n, b, d, p, q = 5, 7, 6, 4, 3
    orders = contraction.orders(parts.chain, b)
    want = {(1, True): b * (d * q * p + d * p * d), (2, True): b * (d * p * q + d * q * d)}
    assert {(order.meeting_layer, order.last_layer_after_mean): order.cost for order in orders} == want
    assert parts.chain.multiplications == d * p + p * q + q * d
    contraction.contract(parts.chain, orders[0], parts.x, parts.b)
    for order in orders:
        with Counting() as counting:
            contraction.contract(parts.chain, order, parts.x, parts.b)
        assert counting.count == n * order.cost


def test_a_walk_goes_over_the_chain_where_the_pairs_are_worth_its_matrices(monkeypatch):
    walked, averaged = [], backward.attribute_pairs
    watched = lambda tape, *values: walked.append(type(tape)) or averaged(tape, *values)  # noqa: E731
    monkeypatch.setattr("shapae.deepshap.engine.attribute_pairs", watched)
    want = deepshap.DeepShap(net(6, 4, 2), B[:1]).attribute(X).mean[:1]
    assert_near(deepshap.DeepShap(net(6, 4, 2), B[:1]).attribute(X[:1]).mean, want)
    deepshap.DeepShap(net(6, 4, 2), B).attribute(X)
    assert walked == [FeedForward, Tape, FeedForward]
