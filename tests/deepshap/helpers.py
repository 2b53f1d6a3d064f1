"""Tables, functions and assertions that the tests of the native engine share."""

from itertools import permutations, product
from math import factorial

import numpy as np
import pytest
import torch

from shapae.deepshap import attribute
from tests import cases

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
X, B = (torch.tensor(cases.table(n, seed=n)) for n in (5, 7))


def tensor(n, d, seed=0, scale=1.0, dtype=torch.float64):
    return torch.tensor(cases.table(n, d, seed) * scale, dtype=dtype)


def positive(n, d, seed=0):
    return torch.tensor(np.random.default_rng(seed).uniform(0.1, 2, size=(n, d)))


def flat(function):
    """The function with its outputs flattened to one vector per row."""
    return lambda rows: function(rows).reshape(len(rows), -1)


def run(function, rows):
    with torch.no_grad():
        return function(rows).to(rows.dtype)


def assert_close(got, want, precision=1e-10):
    np.testing.assert_allclose(got, want, rtol=0, atol=precision * max(1e-300, np.abs(np.asarray(want)).max()))


def error(model):
    return lambda rows: ((model(rows) - rows) ** 2).mean(dim=1)


def assert_additive(function, x, b, precision=1e-10):
    assert_close(attribute(function, x, b).sum(1), run(function, x) - run(function, b).mean(0), precision)


W, CUBE, KERNEL = tensor(7, 12, 1), tensor(3, 16, 2).view(3, 4, 4), tensor(4, 9, 3).view(4, 3, 3)


def square(x):
    return x.view(-1, 3, 4)


def zeros(x, d):
    return torch.zeros(len(x), d, dtype=x.dtype)


def expand_rows(x, value):
    return value.expand(len(x), *value.shape)


def shapley_of(function, x, b):
    """Shapley values of a function of (d,) in numpy, from all orders, for one row and one background row."""
    worth = {joined: function(np.where(joined, x, b)) for joined in product([False, True], repeat=len(x))}
    values = np.zeros(len(x))
    for order in permutations(range(len(x))):
        before = [False] * len(x)
        for player in order:
            after = [*before[:player], True, *before[player + 1 :]]
            values[player] += worth[tuple(after)] - worth[tuple(before)]
            before = after
    return values / factorial(len(x))
