"""Costs of the orders, and the choice among them."""

import numpy as np
import pytest
import torch
from torch import nn

from shapae import deepshap
from shapae.deepshap import backward
from shapae.deepshap.feedforward import contraction, deviations
from shapae.deepshap.feedforward.chain import FeedForward
from shapae.deepshap.feedforward.deviations import Deviations
from shapae.deepshap.tracing.tape import Tape
from tests import cases
from tests.deepshap.feedforward.chains import Counting, assert_near, case, net, trace
from tests.deepshap.helpers import B, X


def cheapest(model, *tables):
    traced = trace(model, *tables)
    return contraction.best_order(traced.chain, traced.b)


def test_many_outputs_are_contracted_and_few_get_the_backward_pass():
    assert cheapest(net(6, 4, 12)) == contraction.orders(trace(net(6, 4, 12)).chain, 7)[0]
    assert cheapest(net(3, 3, 4, 12), X[:, :3], B[:, :3]).last_layer_after_mean
    for k in range(1, contraction.FEW_OUTPUTS + 1):
        assert cheapest(net(6, 4, 3, k)) is None
        assert deepshap.DeepShap(net(6, 4, k), B).attribute(X).sum_of_squares is not None
    assert cheapest(net(6, 4, contraction.FEW_OUTPUTS + 1)) is not None


def test_the_cheapest_order_is_chosen(monkeypatch):
    monkeypatch.setattr(
        deviations, "CALL_COST", 0
    )  # otherwise deviations are never the best order of such small chains
    chosen = []
    for widths in ((6, 4, 12), (6, 4, 3, 12), (2, 9, 9, 9), (12, 12, 12, 5), (6, 12, 2, 12, 6), (30, 90, 90, 90)):
        for b in (1, 10, 100):
            tables = (torch.tensor(cases.table(each, widths[0])) for each in (1, b))
            traced = trace(net(*widths, activation=nn.ReLU), *tables)
            several = [deviations.best_deviations(traced.chain, traced.b)] if len(widths) > 3 else []
            costs = [order.cost for order in (*contraction.orders(traced.chain, b), *several)]
            best, backward_cost = (
                contraction.best_order(traced.chain, traced.b),
                contraction.backward_order(traced.chain, b).cost,
            )
            assert (best is None) == (backward_cost <= min(costs))
            assert best is None or best.cost == min(costs)
            chosen.append(type(best))
    assert {*chosen} == {type(None), contraction.ContractionOrder, Deviations}


def test_the_choice_does_not_depend_on_the_number_of_rows():
    for k in (4, 5):
        deep_shap = deepshap.DeepShap(net(6, 4, k), B)
        assert {deep_shap.attribute(X[:n]).sum_of_squares is None for n in (1, 2, 5)} == {k == 5}


@pytest.mark.parametrize("hidden", [(4,), (4, 3), (4, 3, 5)])
def test_costs_rise_with_the_background_and_the_outputs(hidden):
    def costs(b, k):
        chain = trace(net(6, *hidden, k)).chain
        return np.array([order.cost for order in (*contraction.orders(chain, b), contraction.backward_order(chain, b))])

    assert (np.diff([costs(b, 6) for b in (1, 2, 5, 100)], axis=0) > 0).all()
    assert (np.diff([costs(7, k) for k in (1, 2, 5, 100)], axis=0) >= 0).all()
    assert (costs(7, 100) > costs(7, 1)).all()


def test_costs_are_the_multiplications_that_torch_does(monkeypatch):
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
        traced = trace(net(d, *hidden, k))
        chain = traced.chain
        orders = contraction.orders(chain, b)
        assert {(order.meeting_layer, order.last_layer_after_mean): order.cost for order in orders} == costs
        contraction.contract(chain, orders[0], traced.x, traced.b)  # computes the matrices, which are then cached
        for order in orders:
            with Counting() as counting:
                contraction.contract(chain, order, traced.x, traced.b)
            assert counting.count == n * order.cost
        with Counting() as counting:
            backward.attribute_pairs(chain, traced.x, traced.b)
        assert counting.count == n * contraction.backward_order(chain, b).cost + k * k * hidden[-1]


def test_diagonal_maps_cost_nothing(monkeypatch):
    monkeypatch.setattr(contraction, "MEMORY_COST", 0)
    traced = case("error of each feature")
    n, b, d, p, q = 5, 7, 6, 4, 3
    orders = contraction.orders(traced.chain, b)
    want = {(1, True): b * (d * q * p + d * p * d), (2, True): b * (d * p * q + d * q * d)}
    assert {(order.meeting_layer, order.last_layer_after_mean): order.cost for order in orders} == want
    assert traced.chain.multiplications == d * p + p * q + q * d
    contraction.contract(traced.chain, orders[0], traced.x, traced.b)
    for order in orders:
        with Counting() as counting:
            contraction.contract(traced.chain, order, traced.x, traced.b)
        assert counting.count == n * order.cost


def test_the_backward_pass_uses_the_chain_if_there_are_enough_pairs_for_its_matrices(monkeypatch):
    types, attribute_pairs = [], backward.attribute_pairs
    recorded = lambda tape, *values: types.append(type(tape)) or attribute_pairs(tape, *values)  # noqa: E731
    monkeypatch.setattr("shapae.deepshap.engine.attribute_pairs", recorded)
    want = deepshap.DeepShap(net(6, 4, 2), B[:1]).attribute(X).mean[:1]
    assert_near(deepshap.DeepShap(net(6, 4, 2), B[:1]).attribute(X[:1]).mean, want)
    deepshap.DeepShap(net(6, 4, 2), B).attribute(X)
    assert types == [FeedForward, Tape, FeedForward]
