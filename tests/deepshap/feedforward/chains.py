"""Functions that are feed-forward chains, and their values in every order."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from shapae.deepshap import backward
from shapae.deepshap.feedforward import contraction
from shapae.deepshap.feedforward.chain import as_feedforward
from shapae.deepshap.feedforward.deviations import Deviations
from shapae.deepshap.rules import rule_for
from shapae.deepshap.tracing.record import record
from shapae.deepshap.tracing.tape import replay
from tests import cases
from tests.deepshap.helpers import B, X
from tests.deepshap.zoo import stirred


def mlp(*widths, activation=nn.Tanh):
    """Linear maps with an activation between any two."""
    linears = (nn.Linear(*pair) for pair in itertools.pairwise(widths))
    return nn.Sequential(*[each for linear in linears for each in (linear, activation())][:-1])


def net(*widths, activation=nn.Tanh, seed=0):
    return cases.build(mlp, *widths, activation=activation, seed=seed)


def trace(function, rows=X, background=B):
    """The tape of ``function``, its chain or None, and the values of rows and background on the tape."""
    tape = record(function, background[0], lambda op, dtypes: rule_for(op, dtypes) is not None)
    x, b = replay(tape, rows), replay(tape, background)
    return SimpleNamespace(tape=tape, chain=as_feedforward(tape, b), x=x, b=b)


def every_order(chain, b=7):
    """All implemented orders, including the orders by deviations with all choices of C."""
    orders, depth = contraction.orders(chain, b), len(chain.nonlinearities)
    choices = itertools.product([True, False], repeat=depth) if orders and depth > 1 else ()
    return [*orders, *(Deviations(0.0, centred) for centred in choices)]


def assert_near(got, want, precision=1e-12):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=precision * max(1e-3, float(abs(want).max())))


def assert_same_values(traced, precision=1e-12, least=1):
    """Assert that every order and the backward pass over the chain give the values of the raw tape."""
    tape, chain, x, b = traced.tape, traced.chain, traced.x, traced.b
    weights = torch.arange(1, len(b[0]) + 1).to(b[0])
    want, merged, weighted = (
        backward.attribute_pairs(tape, x, b),
        backward.attribute_pairs(chain, x, b),
        backward.attribute_pairs(tape, x, b, weights),
    )
    assert_near(merged.mean, want.mean, precision)
    assert_near(merged.sum_of_squares, want.sum_of_squares, precision)
    orders = every_order(chain, len(b[0]))
    assert len(orders) >= least
    for order in orders:
        assert_near(contraction.contract(chain, order, x, b).numpy(), want.mean, precision)
        assert_near(contraction.contract(chain, order, x, b, weights / weights.sum()).numpy(), weighted.mean, precision)


class Case(NamedTuple):
    """A function that may be a chain, with the widths and nonlinearities of the chain."""

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
    "two hidden layers": Case(lambda: mlp(6, 4, 3, 5, activation=nn.ReLU), (6, 4, 3, 5), ("relu", "relu")),
    "three hidden layers": Case(lambda: mlp(6, 4, 3, 4, 5, activation=nn.GELU), (6, 4, 3, 4, 5), ("gelu",) * 3),
    "one output": Case(lambda: mlp(6, 4, 3, 1, activation=nn.Softplus), (6, 4, 3, 1), ("softplus",) * 2),
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
    "nonlinearities in a row": Case(
        layers(linear(6, 4), nn.Tanh, nn.Softplus, nn.GELU, linear(4, 5)), (6, 4, 4, 4, 5), ("tanh", "softplus", "gelu")
    ),
    "a nonlinearity at the end": Case(
        layers(linear(6, 4), nn.Tanh, linear(4, 5), nn.Sigmoid), (6, 4, 5, 5), ("tanh", "sigmoid")
    ),
    "a nonlinearity of the row": Case(
        lambda: mlp(6, 4, 5), (6, 6, 4, 5), ("softplus", "tanh"), lambda model, x: model(F.softplus(x))
    ),
    "only nonlinearities": Case(nn.Tanh, (6, 6, 6, 6), ("tanh", "relu"), lambda model, x: 3 * model(2 * x).relu()),
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
    """The traced chain of this name."""
    chain = CHAINS[name]
    model = cases.build(chain.make, dtype=dtype)
    return trace(lambda x: chain.run(model, x), X.to(dtype), B.to(dtype))


class Counting(TorchDispatchMode):
    """Counter of the multiplications in matrix products."""

    FIRST = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "baddbmm_": 1}

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        first = self.FIRST.get(op.overloadpacket.__name__)
        if first is not None:
            self.count += args[first].numel() * args[first + 1].shape[-1]
        return op(*args, **(kwargs or {}))
