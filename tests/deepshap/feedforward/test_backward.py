"""The backward pass over chains: infinite multipliers, and the pause before there is one multiplier per pair."""

import pytest
import torch
from torch import nn

from shapae import deepshap
from shapae.deepshap import backward
from shapae.deepshap.feedforward import contraction
from shapae.errors import ModelError
from tests import cases
from tests.deepshap.feedforward.chains import assert_near, case, every_order, net, taken
from tests.deepshap.helpers import B, X

INFINITE = {
    "exp": (lambda z: 1 / (1 + (900 * z).exp()), "exp"),
    "log": (lambda z: (z.relu().log() / 2).exp(), "log"),
}


@pytest.mark.parametrize("kind", INFINITE)
@pytest.mark.parametrize("k", [3, 7])
def test_infinite_multipliers_are_refused_by_the_walk_also_where_the_chain_is_folded(kind, k):
    bend, name = INFINITE[kind]
    first, last = cases.build(nn.Linear, 6, 4), cases.build(nn.Linear, 4, k)
    parts = taken(lambda x: last(bend(first(x))))
    assert torch.isfinite(parts.x[parts.tape.result.slot]).all()
    for order in every_order(parts.chain):
        assert contraction.contract(parts.chain, order, parts.x, parts.b) is None
    with pytest.raises(ModelError, match=rf"multipliers of aten\.{name}\.default in .*are not"):
        deepshap.DeepShap(lambda x: last(bend(first(x))), B).attribute(X)


def test_one_infinite_row_is_enough(monkeypatch):
    """Also if it comes in the last block."""
    model = net(6, 4, 7)
    parts = taken(lambda x: model(INFINITE["exp"][0](x)), torch.cat([X * 1e-6, X[:1] * 10]), B * 1e-6)
    for block in (1, 2**20):
        monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
        for order in contraction.orders(parts.chain, 7):
            assert contraction.contract(parts.chain, order, parts.x, parts.b) is None
            finite = {slot: value[:5] for slot, value in parts.x.items()}
            assert torch.isfinite(contraction.contract(parts.chain, order, finite, parts.b)).all()


def test_what_can_not_be_folded_is_walked_over(monkeypatch):
    model, parts = net(6, 4, 7), taken(net(6, 4, 7))
    monkeypatch.setattr("shapae.deepshap.engine.contract", lambda *args: None)
    found, want = deepshap.DeepShap(model, B).attribute(X), backward.attribute_pairs(parts.tape, parts.x, parts.b)
    assert_near(found.mean, want.mean)
    assert_near(found.spread, want.spread)


@pytest.mark.parametrize(
    "name", ["mean squared error", "F.mse_loss", "error of each feature", "narrow before an error"]
)
@pytest.mark.parametrize("merged", [False, True])
def test_a_pausing_walk_stops_while_all_multipliers_are_small_and_goes_on_as_if_it_had_not(name, merged):
    parts = case(name)
    tape = parts.chain if merged else parts.tape
    seed = torch.eye(len(parts.x[tape.result.slot][0])).double()
    start = backward.start(tape, parts.x, parts.b, seed)
    paused, through = start.advance(pause=True), start.advance()
    assert all(1 in term.shape[1:3] for terms in paused.multipliers.values() for term in terms)
    assert any(term.shape[1] == 5 for terms in paused.multipliers.values() for term in terms)
    assert any(term.shape[2] == 7 for terms in paused.multipliers.values() for term in terms)
    assert paused.steps[-1].slot == max(
        bend.slot for bend in parts.chain.nonlinearities if bend and bend.name == "tanh"
    )
    assert [*through.multipliers] == [0]
    want = backward.sum_terms(through.multipliers[0])
    assert_near(backward.sum_terms(paused.advance().multipliers[0]), want)
    rows, background = slice(1, 4), slice(2, 9)
    for each in (paused, start):
        assert_near(
            backward.sum_terms(each.select(rows, background).advance().multipliers[0]), want[:, rows, background]
        )
