"""The backward pass over chains: infinite multipliers, and the pause before there is one multiplier per pair."""

import pytest
import torch
from torch import nn

from shapae import deepshap
from shapae.deepshap import backward
from shapae.deepshap.feedforward import contraction
from shapae.errors import ModelError
from tests import cases
from tests.deepshap.feedforward.chains import assert_near, case, every_order, net, trace
from tests.deepshap.helpers import B, X

INFINITE = {
    "exp": (lambda z: 1 / (1 + (900 * z).exp()), "exp"),
    "log": (lambda z: (z.relu().log() / 2).exp(), "log"),
}


@pytest.mark.parametrize("kind", INFINITE)
@pytest.mark.parametrize("k", [3, 7])
def test_infinite_multipliers_are_refused_also_for_a_contracted_chain(kind, k):
    function, name = INFINITE[kind]
    first, last = cases.build(nn.Linear, 6, 4), cases.build(nn.Linear, 4, k)
    traced = trace(lambda x: last(function(first(x))))
    assert torch.isfinite(traced.x[traced.tape.result.slot]).all()
    for order in every_order(traced.chain):
        assert contraction.contract(traced.chain, order, traced.x, traced.b) is None
    with pytest.raises(ModelError, match=rf"multipliers of aten\.{name}\.default in .*are not"):
        deepshap.DeepShap(lambda x: last(function(first(x))), B).attribute(X)


def test_one_infinite_row_stops_the_contraction(monkeypatch):
    """The infinite row is in the last block."""
    model = net(6, 4, 7)
    traced = trace(lambda x: model(INFINITE["exp"][0](x)), torch.cat([X * 1e-6, X[:1] * 10]), B * 1e-6)
    for block in (1, 2**20):
        monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
        for order in contraction.orders(traced.chain, 7):
            assert contraction.contract(traced.chain, order, traced.x, traced.b) is None
            finite = {slot: value[:5] for slot, value in traced.x.items()}
            assert torch.isfinite(contraction.contract(traced.chain, order, finite, traced.b)).all()


def test_a_failed_contraction_falls_back_to_the_backward_pass(monkeypatch):
    model, traced = net(6, 4, 7), trace(net(6, 4, 7))
    monkeypatch.setattr("shapae.deepshap.engine.contract", lambda *args: None)
    got, want = deepshap.DeepShap(model, B).attribute(X), backward.attribute_pairs(traced.tape, traced.x, traced.b)
    assert_near(got.mean, want.mean)
    assert_near(got.sum_of_squares, want.sum_of_squares)


@pytest.mark.parametrize(
    "name", ["mean squared error", "F.mse_loss", "error of each feature", "narrow before an error"]
)
@pytest.mark.parametrize("merged", [False, True])
def test_a_paused_backward_pass_has_small_multipliers_and_the_same_result(name, merged):
    traced = case(name)
    tape = traced.chain if merged else traced.tape
    seed = torch.eye(len(traced.x[tape.result.slot][0])).double()
    start = backward.start(tape, traced.x, traced.b, seed)
    paused, through = start.advance(pause=True), start.advance()
    assert all(1 in term.shape[1:3] for terms in paused.multipliers.values() for term in terms)
    assert any(term.shape[1] == 5 for terms in paused.multipliers.values() for term in terms)
    assert any(term.shape[2] == 7 for terms in paused.multipliers.values() for term in terms)
    assert paused.steps[-1].slot == max(
        step.slot for step in traced.chain.nonlinearities if step and step.name == "tanh"
    )
    assert [*through.multipliers] == [0]
    want = backward.sum_terms(through.multipliers[0])
    assert_near(backward.sum_terms(paused.advance().multipliers[0]), want)
    rows, background = slice(1, 4), slice(2, 9)
    for each in (paused, start):
        assert_near(
            backward.sum_terms(each.select(rows, background).advance().multipliers[0]), want[:, rows, background]
        )
