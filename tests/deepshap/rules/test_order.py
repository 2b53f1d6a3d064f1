"""The k-th value of an order, the median and quantiles: Shapley values of all candidates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shapae.deepshap import attribute
from shapae.errors import ModelError, UnsupportedOperator
from tests.deepshap.helpers import assert_close, flat, run, shapley_of, square, tensor

INTERPOLATIONS = ["linear", "lower", "higher", "nearest", "midpoint"]
LEVELS = torch.tensor([0, 0.05, 0.31, 0.5, 0.8, 1]).double()


@settings(max_examples=60)
@given(st.data())
def test_each_value_of_an_order_has_its_shapley_values(data):
    d = data.draw(st.integers(1, 6))
    k = data.draw(st.integers(1, d))
    numbers = st.one_of(st.integers(-2, 2).map(float), st.floats(-3, 3).map(lambda v: round(v, 3)))
    x, b = (np.array(data.draw(st.lists(numbers, min_size=d, max_size=d))) for _ in range(2))
    got = attribute(lambda rows: rows.kthvalue(k, 1).values, torch.tensor(x)[None], torch.tensor(b)[None])[0]
    np.testing.assert_allclose(got, shapley_of(lambda row: np.sort(row)[k - 1], x, b), rtol=0, atol=1e-12)


def test_the_smallest_and_the_largest_are_those_of_min_and_max():
    x, b = tensor(4, 12, 1), tensor(5, 12, 2)
    for k, function in {1: torch.amin, 12: torch.amax}.items():
        want = attribute(lambda rows, function=function: function(rows, 1), x, b)
        assert_close(attribute(lambda rows, k=k: rows.kthvalue(k, dim=1)[0], x, b), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 20, 41, 60, 80])
def test_a_value_of_a_long_order_adds_up_and_does_not_depend_on_the_order_of_the_features(k, dtype):
    x, b = (tensor(n, 80, n, dtype=dtype) for n in (3, 4))
    values = attribute(lambda rows: rows.kthvalue(k, 1).values, x, b)
    precision = 1e-12 if dtype is torch.float64 else 1e-5
    want = run(lambda rows: rows.kthvalue(k, 1).values, x) - run(lambda rows: rows.kthvalue(k, 1).values, b).mean(0)
    np.testing.assert_allclose(values.sum(1), want, rtol=0, atol=precision)
    moved = attribute(lambda rows: rows.kthvalue(k, 1).values, x.flip(1), b.flip(1))
    np.testing.assert_allclose(moved, values.flip(1), rtol=0, atol=precision)


MEDIANS = {
    "odd": (lambda x: x[:, :5].median(1).values, lambda row: np.sort(row[:5])[2]),
    "even": (lambda x: torch.median(x, 1)[0], lambda row: np.sort(row)[2]),
    "kept": (lambda x: x.median(-1, keepdim=True).values[:, 0], lambda row: np.sort(row)[2]),
    "of a row": (torch.vmap(lambda row: row.median()), lambda row: np.sort(row)[2]),
    "quantile": (lambda x: x.quantile(0.5, 1), np.median),
    "distance": (
        lambda x: (x - x.median(1, keepdim=True).values).abs().sum(1) + x.median(1).values,
        None,
    ),
}


@pytest.mark.parametrize("name", [name for name, (_, by_hand) in MEDIANS.items() if by_hand])
def test_a_median_has_its_shapley_values(name):
    function, by_hand = MEDIANS[name]
    x, b = tensor(3, 6, 1).round(decimals=1), tensor(2, 6, 2).round(decimals=1)
    want = [np.mean([shapley_of(by_hand, row, other) for other in b.numpy()], axis=0) for row in x.numpy()]
    np.testing.assert_allclose(attribute(function, x, b), want, rtol=0, atol=1e-12)


def test_deviations_from_the_median_add_up():
    x, b = tensor(3, 6, 1), tensor(4, 6, 2)
    function, _ = MEDIANS["distance"]
    assert_close(attribute(function, x, b).sum(1), run(function, x) - run(function, b).mean(0))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_several_quantiles_have_their_shapley_values(interpolation):
    x, b = tensor(2, 5, 1).round(decimals=1), tensor(3, 5, 2).round(decimals=1)
    got = attribute(lambda rows: torch.quantile(rows, LEVELS, dim=1, interpolation=interpolation).T, x, b)
    for output, level in enumerate(LEVELS.tolist()):

        def by_hand(row, level=level):
            return np.quantile(row, level, method=interpolation)

        want = [np.mean([shapley_of(by_hand, row, other) for other in b.numpy()], axis=0) for row in x.numpy()]
        np.testing.assert_allclose(got[:, :, output], want, rtol=0, atol=1e-12)


SHAPES = {
    "last axis": lambda x: square(x).quantile(LEVELS, -1).movedim(0, 1),
    "middle axis": lambda x: torch.quantile(square(x), LEVELS, 1).movedim(0, 1),
    "kept": lambda x: square(x).quantile(LEVELS, dim=2, keepdim=True).movedim(0, 1),
    "middle axis, kept": lambda x: square(x).quantile(q=LEVELS, dim=-2, keepdim=True).movedim(0, 1),
    "one level in a list": lambda x: torch.quantile(x, LEVELS[2:3], dim=1)[0],
    "one level": lambda x: torch.quantile(square(x), 0.9, dim=1),
    "one level as a tensor": lambda x: torch.quantile(square(x), LEVELS[2], dim=1, keepdim=True),
    "of a whole row": torch.vmap(lambda row: row.view(3, 4).quantile(LEVELS)),
    "of a whole row, kept": torch.vmap(lambda row: row.view(3, 4).quantile(LEVELS, keepdim=True)),
    "of a whole row, one level": torch.vmap(lambda row: row.view(3, 4).quantile(0.3, keepdim=True)),
    "scaled by a range": lambda x: (x - x.quantile(0.5, 1, keepdim=True)) / (x.quantile(LEVELS, 1)[4:5].T + 5),
}


@pytest.mark.parametrize("name", SHAPES)
def test_quantiles_along_any_axis_add_up(name):
    function, x, b = flat(SHAPES[name]), tensor(4, 12, 1), tensor(5, 12, 2)
    assert_close(attribute(function, x, b).sum(1), run(function, x) - run(function, b).mean(0))


def test_positions_and_values_that_are_not_numbers_are_refused():
    x, b = tensor(3, 12, 1), tensor(4, 12, 2)
    with pytest.raises(UnsupportedOperator, match=r"aten\.kthvalue"):
        attribute(lambda rows: rows.kthvalue(3, 1).indices.double(), x, b)
    for function in (torch.nanquantile, lambda rows, *q: rows.nanquantile(*q, interpolation="lower")):
        with pytest.raises(UnsupportedOperator, match=r"aten\.gather"):
            attribute(lambda rows, function=function: function(rows, LEVELS, 1).T, x, b)
    with pytest.raises(ModelError, match="do not reproduce the scores"):
        attribute(lambda rows: torch.where(rows > 0, rows, torch.nan).quantile(0.5, 1).nan_to_num(), x.abs(), b)
