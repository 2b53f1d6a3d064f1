"""Weighted backgrounds."""

import numpy as np
import pytest
import torch

from shapae import deepshap
from tests import cases

WEIGHTED = {
    "one output, pair by pair": lambda net: lambda x: (net(x) - x).square().mean(dim=1),
    "all outputs, contracted": lambda net: net,
}


@pytest.mark.parametrize("kind", WEIGHTED)
def test_values_are_weighted_averages_over_the_background(kind):
    function = WEIGHTED[kind](cases.build(cases.Question))
    rows, background = torch.tensor(cases.table(5, seed=1)), torch.tensor(cases.table(7, seed=2))
    weights = torch.tensor(np.random.default_rng(0).uniform(0.5, 2, 7))
    each = [deepshap.attribute(function, rows, other[None]) for other in background]
    want = sum(weight * values for weight, values in zip(weights, each, strict=True)) / weights.sum()
    torch.testing.assert_close(
        deepshap.attribute(function, rows, background, weights=weights), want, rtol=0, atol=1e-12
    )


def test_parts_of_a_weighted_background_merge_by_the_sums_of_their_weights():
    model, rows = cases.build(cases.Question), torch.tensor(cases.table(5, seed=1))
    background, weights = torch.tensor(cases.table(7, seed=2)), torch.tensor([1.0, 2, 3, 0.5, 1, 4, 0.1]).double()
    whole = deepshap.DeepShap(model, background, weights=weights).attribute(rows)
    parts = [
        deepshap.DeepShap(model, background[part], weights=weights[part]).attribute(rows)
        for part in (slice(0, 2), slice(2, 7))
    ]
    np.testing.assert_allclose((parts[0] + parts[1]).mean, whole.mean, rtol=0, atol=1e-12)
    assert whole.standard_error is None
