"""Operators without a rule, constant scores, and divisions by counts."""

import warnings

import numpy as np
import pytest
import torch

from shapae.deepshap import attribute
from shapae.errors import UnsupportedOperator
from tests.deepshap.helpers import assert_additive, flat, square, tensor

REFUSED = {
    "positions of a sort": lambda x: x.sort(1).indices.double(),
    "positions of the largest": lambda x: x.topk(1, 1).indices[:, 0] * x[:, 0],
    "gather": lambda x: x.gather(1, x.argsort(1)),
    "kth position": lambda x: x.kthvalue(2, 1).indices * x[:, 0],
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_operator_without_a_rule_is_named(name):
    with pytest.raises(UnsupportedOperator, match=r"aten\..* in the function.*backend='sampling'"):
        attribute(REFUSED[name], tensor(2, 12), tensor(3, 12))


@pytest.mark.parametrize(
    "function",
    [lambda x: torch.polar(x[:, 0], x[:, 1]).real, lambda x: torch.complex(x, x).imag],
    ids=["polar", "complex"],
)
def test_complex_numbers_are_unsupported(function):
    with pytest.raises(UnsupportedOperator):
        attribute(function, tensor(2, 12), tensor(3, 12))


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_constant_scores_have_values_of_zero_in_their_shape(shape):
    values = attribute(lambda x: torch.ones(len(x), *shape).double(), tensor(2, 4), tensor(3, 4))
    assert values.shape == (2, 4, *shape)
    np.testing.assert_array_equal(values, 0)


COUNTED = {
    "integer tensor": lambda x: x / torch.tensor(3),
    "variable count": lambda x: (x * (x > 0)).sum(1) / (x > 0).sum(1),
    "nanmean": lambda x: x.nanmean(1),
    "cov": lambda x: torch.vmap(torch.cov)(square(x)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_division_by_a_count_keeps_the_precision_of_the_dividend(name):
    assert_additive(flat(COUNTED[name]), tensor(6, 12, 1), tensor(5, 12, 2))


def test_windows_of_a_row_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribute(lambda x: x.unfold(1, 4, 2).flatten(1), tensor(2, 12), tensor(3, 12))
