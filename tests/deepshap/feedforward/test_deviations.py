"""Orders by deviations: their costs."""

import pytest
import torch
from torch import nn

from shapae.deepshap.feedforward import contraction, deviations
from shapae.deepshap.feedforward.factors import pair_rows
from tests import cases
from tests.deepshap.feedforward.chains import Counting, net, trace


@pytest.mark.parametrize(("widths", "activation"), [((40, 50, 60, 30), nn.ReLU), ((30, 40, 50, 40, 30), nn.LeakyReLU)])
def test_the_cost_of_deviations_is_estimated_from_the_background(widths, activation, monkeypatch):
    monkeypatch.setattr(deviations, "MEMORY_COST", 0)
    monkeypatch.setattr(deviations, "CALL_COST", 0)
    rows, background = (torch.tensor(cases.table(n, widths[0], seed=n)) for n in (9, 50))
    traced = trace(net(*widths, activation=activation), rows, background)
    order = deviations.best_deviations(traced.chain, traced.b)
    contraction.contract(traced.chain, order, traced.x, traced.b)
    with Counting() as counting:
        contraction.contract(traced.chain, order, traced.x, traced.b)
    assert 0.8 < counting.count / (9 * order.cost) < 1.25


def test_deviations_are_zero_for_pairs_on_one_side_of_the_kink():
    """Between a row and a background row on one side of the kink of ReLU, E is exactly 0."""
    traced = trace(net(6, 9, 9, 9, activation=nn.ReLU))
    for step, (own, pairs) in zip(
        traced.chain.nonlinearities, deviations._slopes(traced.chain, pair_rows(traced.x, traced.b)), strict=True
    ):
        x, b = (values[step.variables[0]] for values in (traced.x, traced.b))
        apart = (x[:, None] > 0) != (b[None] > 0)
        assert torch.equal(pairs != own, apart.flatten(2))
        assert 0 < apart.double().mean() < 1
