"""The maximum: Shapley values of all candidates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from shapae.deepshap import attribute
from tests.deepshap.helpers import assert_close, flat, shapley_of, tensor


@settings(max_examples=60)
@given(st.data())
def test_the_maximum_has_its_shapley_values(data):
    d = data.draw(st.integers(1, 6))
    numbers = st.one_of(st.integers(-2, 2).map(float), st.floats(-3, 3).map(lambda v: round(v, 3)))
    x, b = (np.array(data.draw(st.lists(numbers, min_size=d, max_size=d))) for _ in range(2))
    got = attribute(lambda rows: rows.amax(1), torch.tensor(x)[None], torch.tensor(b)[None])[0]
    np.testing.assert_allclose(got, shapley_of(np.max, x, b), rtol=0, atol=1e-12)


def test_the_maximum_of_seven_values_with_ties_has_its_shapley_values():
    x, b = np.array([1, 2, 2, -1, 0.5, 3, 3]), np.array([2, 2, 1, -1, 3, 0.1, 2.5])
    got = attribute(lambda rows: rows.amax(1), torch.tensor(x)[None], torch.tensor(b)[None])[0]
    np.testing.assert_allclose(got, shapley_of(np.max, x, b), rtol=0, atol=1e-12)


def windowed(windows, x, b):
    """Shapley values of the maximum of each window (a list of columns): (n, d, windows)."""
    want = np.zeros((len(x), x.shape[1], len(windows)))
    for k, columns in enumerate(windows):
        for i, row in enumerate(x.numpy()):
            for base in b.numpy():
                want[i, columns, k] += shapley_of(np.max, row[columns], base[columns]) / len(b)
    return want


PLANE = np.arange(12).reshape(3, 4)
LARGEST = {
    "last axis": (lambda x: x.view(-1, 3, 4).amax(2), list(PLANE)),
    "middle axis": (lambda x: x.view(-1, 3, 4).amax(1), list(PLANE.T)),
    "kept": (lambda x: x.view(-1, 3, 4).amax(-2, keepdim=True), list(PLANE.T)),
    "two axes": (
        lambda x: x.view(-1, 2, 3, 2).amax((1, 3)),
        [[2 * j, 2 * j + 1, 6 + 2 * j, 7 + 2 * j] for j in range(3)],
    ),
    "two axes, kept": (
        lambda x: x.view(-1, 3, 2, 2).amax((3, 1), keepdim=True),
        [[2 * j + 4 * i + k for i in range(3) for k in range(2)] for j in range(2)],
    ),
    "max": (lambda x: x.view(-1, 3, 4).max(1).values, list(PLANE.T)),
    "max, kept": (lambda x: x.view(-1, 3, 4).max(2, keepdim=True)[0], list(PLANE)),
    "max_pool1d": (lambda x: F.max_pool1d(x.view(-1, 3, 4), 2), [[i, i + 1] for i in range(0, 12, 2)]),
    "max_pool1d, stride": (
        lambda x: F.max_pool1d(x[:, None], 3, 2, 1),
        [[j for j in range(i - 1, i + 2) if 0 <= j < 12] for i in range(0, 12, 2)],
    ),
    "max_pool1d, dilation": (lambda x: F.max_pool1d(x[:, None], 3, 1, 0, 2), [[i, i + 2, i + 4] for i in range(8)]),
    "max_pool2d": (
        lambda x: F.max_pool2d(x.view(-1, 1, 3, 4), 2, 1),
        [PLANE[i : i + 2, j : j + 2].ravel() for i in range(2) for j in range(3)],
    ),
    "max_pool2d, padding": (
        lambda x: F.max_pool2d(x.view(-1, 3, 4), (2, 3), (1, 2), (1, 1)),
        [PLANE[max(0, i) : i + 2, max(0, j) : j + 3].ravel() for i in range(-1, 3) for j in (-1, 1)],
    ),
    "max_pool2d, dilation": (
        lambda x: F.max_pool2d(x.view(-1, 1, 3, 4), 2, 1, 0, (2, 3)),
        [PLANE[::2, ::3].ravel()],
    ),
    "module": (nn.Sequential(nn.Unflatten(1, (3, 4)), nn.MaxPool1d(4)), list(PLANE)),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_maximum_along_axes_and_in_windows_has_its_shapley_values(name):
    function, windows = LARGEST[name]
    x, b = tensor(2, 12, 1).round(decimals=1), tensor(2, 12, 2).round(decimals=1)
    np.testing.assert_allclose(attribute(flat(function), x, b), windowed(windows, x, b), rtol=0, atol=1e-12)


def test_a_float32_maximum_is_precise_to_float32():
    x, b = tensor(20, 30, 1), tensor(10, 30, 2)
    want = attribute(lambda rows: rows.amax(1), x, b)
    assert_close(attribute(lambda rows: rows.amax(1), x.float(), b.float()), want, 1e-5)


@pytest.mark.parametrize("gap", [0, 2e-7, 1e-6, 1e-4])
def test_the_slope_of_the_maximum_is_one_where_its_pair_nearly_coincides(gap):
    """The features 5 and -5 cancel before the maximum, whose first value is the largest in any case."""
    x = torch.tensor([[5, -5, 1.5 + gap, -1.0, 1.2]])
    b = torch.tensor([[-3, 3, 1.5, 0.3, -2.3]])
    values = attribute(lambda rows: torch.cat([rows[:, :3].sum(1, keepdim=True), rows[:, 3:]], 1).amax(1), x, b)
    np.testing.assert_allclose(values[:, 0] / 8, 1, rtol=1e-4)
