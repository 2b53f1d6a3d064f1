"""Orders by deviations: their costs."""

import pytest
import torch
from torch import nn

from shapae.deepshap.feedforward import contraction, deviations
from tests import cases
from tests.deepshap.feedforward.chains import Counting, net, taken


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
