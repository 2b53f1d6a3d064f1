"""Anchored functions: values and mean scores are those of one constant anchor after the other."""

import pytest
import torch
from torch import nn

from shapae import deepshap
from shapae.deepshap import DeepShap, backward
from shapae.errors import ModelError
from tests import cases
from tests.deepshap.helpers import BOTH, assert_close, tensor

D = 6
MIXING = tensor(D, D, 3)


def layers(*widths):
    first, second = (nn.Linear(*each) for each in zip(widths, widths[1:], strict=False))
    return nn.Sequential(first, nn.ReLU(), second)


ENCODERS, DECODERS = (
    {dtype: cases.build(layers, *widths, seed=seed, dtype=dtype) for dtype in (torch.float32, torch.float64)}
    for seed, widths in enumerate([(D, 16, 4), (4, 16, D)])
)


def encode(rows):
    return ENCODERS[rows.dtype](rows)


def decode(rows):
    return DECODERS[rows.dtype](encode(rows))


def products(rows, anchors):
    mixed = torch.tanh((rows * anchors) @ MIXING.to(rows)).sum(1) * anchors[:, 0]
    return mixed + ((decode(rows) - anchors) * (rows + anchors)).sum(1)


def picks(losses, anchors):
    places = (decode(anchors) - anchors).abs().topk(3, dim=1).indices
    mask = (places.unsqueeze(2) == torch.arange(D)).to(losses)
    return (mask @ losses.unsqueeze(2)).squeeze(2)


def several(rows, anchors):
    outputs = [(decode(rows) - anchors).square().sum(1), (encode(rows) * encode(anchors)).sum(1), anchors[:, 0]]
    return torch.stack([*outputs, (rows - anchors).exp().mean(1)], dim=1)


FUNCTIONS = {
    "squared error": lambda x, a: (decode(x) - a).square().mean(1),
    "absolute error": lambda x, a: (decode(x) - a).abs().mean(1),
    "huber": lambda x, a: nn.functional.huber_loss(decode(x), a, reduction="none").mean(1),
    "distance": lambda x, a: (decode(x) - a).square().sum(1).sqrt(),
    "label-free": lambda x, a: (encode(x) * encode(a)).sum(1),
    "cosine": lambda x, a: nn.functional.cosine_similarity(decode(x), a),
    "products of rows and anchors": products,
    "a product of two sums": lambda x, a: ((decode(x) - a) * (decode(a) + 2 * x - 1) * a).sum(1),
    "a product of matrices": lambda x, a: torch.bmm((x - a).unsqueeze(1), (decode(x) + a).unsqueeze(2)).flatten(),
    "a sum that a product and a curve read": lambda x, a: ((x - a).square() + (x - a).exp()).sum(1),
    "a square of a square": lambda x, a: ((x - a).square() - 1).square().sum(1),
    "a cast to integers": lambda x, a: (((x - a) * 3).detach().to(torch.int64).to(x.dtype) * a).sum(1) + x.sum(1),
    "largest errors": lambda x, a: picks((decode(x) - x).square(), a),
    "largest absolute errors": lambda x, a: picks((decode(x) - x).abs(), a),
    "several outputs": several,
    "without the anchor": lambda x, a: decode(x).square().sum(1),
    "without the row": lambda x, a: decode(a).square().sum(1),
    "without either": lambda x, a: torch.ones(len(x)).to(x),
}
WEIGHTS = {"equal": None, "weighted": torch.linspace(0.5, 2, 7).double()}


def constant_anchor(function, anchor):
    return lambda rows: function(rows, anchor.expand(len(rows), -1))


def tables(dtype):
    return tensor(9, D, 1, dtype=dtype), tensor(7, D, 2, dtype=dtype)


def one_by_one(function, x, b, weights):
    alone = [DeepShap(constant_anchor(function, row), b, weights=weights).moments(row[None]) for row in x]
    return torch.cat([torch.as_tensor(each.mean) for each in alone])


@BOTH
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_constant_anchors(name, weights, dtype):
    (x, b), function = tables(dtype), FUNCTIONS[name]
    weights = None if WEIGHTS[weights] is None else WEIGHTS[weights].to(dtype)
    got = DeepShap(function, b, b, weights=weights).moments(x, x)
    assert_close(got.mean, one_by_one(function, x, b, weights), {torch.float32: 2e-6, torch.float64: 1e-13}[dtype])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_over_the_background_are_those_of_constant_anchors(name):
    (x, b), function = tables(torch.float64), FUNCTIONS[name]
    got = DeepShap(function, b, b).moments(x, x).standard_error
    alone = [DeepShap(constant_anchor(function, row), b).moments(row[None]).standard_error for row in x]
    if all(each is not None for each in alone):  # not if all outputs are computed at once
        assert_close(got, torch.cat([torch.as_tensor(each) for each in alone]), 1e-11)


@pytest.mark.parametrize("bytes_", [1, 300, 2000])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_mean_scores_are_means_of_scores(name, weights, bytes_, monkeypatch):
    (x, b), function, weights = tables(torch.float64), FUNCTIONS[name], WEIGHTS[weights]
    monkeypatch.setattr(backward, "BLOCK_BYTES", bytes_)
    monkeypatch.setattr("shapae.deepshap.recording.REPLAY_BYTES", 40 * bytes_)
    got = DeepShap(function, b, b, weights=weights).mean_scores(x)
    shares = torch.ones(7).double() / 7 if weights is None else weights / weights.sum()
    with torch.no_grad():
        want = torch.stack([shares @ constant_anchor(function, row)(b).reshape(7, -1) for row in x])
    assert_close(got, want, 1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_do_not_depend_on_blocks(name, monkeypatch):
    (x, b), function = tables(torch.float64), FUNCTIONS[name]
    want = DeepShap(function, b, b).moments(x, x)
    monkeypatch.setattr(backward, "BLOCK_BYTES", 300)
    got = DeepShap(function, b, b).moments(x, x)
    assert_close(got.mean, want.mean, 1e-14)


def test_values_far_from_zero_lose_no_digits():
    """Anchors and background rows of 1e4 differ by 1: so do the parts that a square is computed from."""
    x, b = (10_000 + each for each in tables(torch.float64))

    def function(rows, anchors):
        return (rows.roll(1, 1) - anchors).square().sum(1)

    want = one_by_one(function, x, b, None)
    got = DeepShap(function, b.float(), b.float()).moments(x.float(), x.float())
    rounding = one_by_one(function, x.float(), b.float(), None)
    assert abs(torch.as_tensor(got.mean) - want).max() < 4 * abs(rounding - want).max()


@pytest.mark.parametrize("name", ["squared error", "label-free", "largest errors", "largest absolute errors"])
def test_no_matrix_product_before_the_last_activation_is_repeated_for_each_pair(name, monkeypatch):
    """What pauses at the activation, with multipliers of rows or background rows, has passed the last layer."""
    paused = []
    advance = backward.BackwardPass.advance_shared

    def spy(self):
        paused.append(advance(self))
        return paused[-1]

    monkeypatch.setattr(backward.BackwardPass, "advance_shared", spy)
    x, b = tables(torch.float64)
    DeepShap(FUNCTIONS[name], b, b).moments(x, x)
    terms = [term for terms in paused[-1].multipliers.values() for term in terms]
    assert paused[-1].steps[-1].name == "relu"
    assert all(term.shape[1] == 1 or term.shape[2] == 1 for term in terms)


@pytest.mark.parametrize(
    "outer", [torch.exp, torch.sqrt, torch.abs, lambda y: y**3, lambda y: y.square() * torch.tensor([2.0]).double()]
)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_an_elementwise_function_of_one_number_scales_all_values_of_a_pair(outer, weights):
    """Its slope between row and background row multiplies the values of this number."""
    (x, b), weights = tables(torch.float64), WEIGHTS[weights]
    shares = torch.ones(7).double() / 7 if weights is None else weights / weights.sum()

    def inner(rows):
        return torch.stack([decode(rows).square().sum(1), encode(rows)[:, 0].square() + 1], dim=1)

    got = DeepShap(lambda rows: outer(inner(rows)), b, weights=weights).moments(x)
    want = torch.zeros(9, D, 2).double()
    for share, row in zip(shares, b, strict=True):
        rise = inner(x) - inner(row[None])
        slope = (outer(inner(x)) - outer(inner(row[None]))) / rise
        want += share * slope.detach().unsqueeze(1) * torch.as_tensor(DeepShap(inner, row[None]).moments(x).mean)
    assert_close(got.mean, want, 1e-12)


def test_functions_that_decide_by_values_have_no_mean_scores():
    """Only one pair of a background row and an anchor is scored by other operators, which no check of pairs may see."""
    x, b = tables(torch.float64)

    def decides(rows, anchors):
        both = zip(rows, anchors, strict=True)
        return torch.stack([r.sum() * (2 if float(r[0]) == b[0, 0] and float(a[0]) == x[3, 0] else 1) for r, a in both])

    with pytest.raises(ModelError, match="the tape of one pair may not be that of others: .* reads"):
        DeepShap(decides, b, b).mean_scores(x)


def test_mean_scores_are_compared_with_scores_of_pairs():
    """Nothing but pairs of different rows shows that the function mixes rows."""
    x, b = tables(torch.float64)
    engine = DeepShap(lambda rows, anchors: rows.sum(1) + (rows - anchors).mean(0).abs().sum(), b, b)
    engine.moments(x, x)
    with pytest.raises(ModelError, match="do not reproduce the scores of 9 other rows"):
        engine.mean_scores(x)


@pytest.mark.parametrize("output", [slice(1, 3), slice(2, 3)])
def test_constants_for_each_element_stay_with_their_elements(output):
    x, b = tables(torch.float64)
    low, high = torch.linspace(-1, 0, D).double(), torch.linspace(0.05, 0.3, D).double()
    got = DeepShap(lambda rows: torch.clamp(decode(rows), low, high)[:, output], b).moments(x)
    want = DeepShap(lambda rows: torch.clamp(decode(rows)[:, output], low[output], high[output]), b).moments(x)
    assert_close(got.mean, want.mean, 1e-13)


def test_a_multiplier_of_a_single_background_row_is_not_that_of_all_rows():
    """relu(s)**2 passes back s_x + s_b, which is not 0 for one background row alone."""
    x, b = torch.tensor([[-1.0, -1.0]]).double(), torch.tensor([[-1.0, -3.0], [-2.0, 4.0], [-1.0, -1.0]]).double()
    got = DeepShap(lambda rows: rows.sum(1, keepdim=True).relu().square(), b).moments(x)
    # Of the second background row alone: the score falls by 4 over a way of 4, of which the features go -1 and 5.
    assert_close(got.mean, torch.tensor([[[1.0], [-5.0]]]).double() / 3)


def test_anchored_values_add_up(rows, background):
    x, b = torch.tensor(rows), torch.tensor(background)
    for function in FUNCTIONS.values():
        got = deepshap.attribute(function, x, b, anchors=x)
        base = torch.stack([constant_anchor(function, row)(b).mean(0) for row in x])
        torch.testing.assert_close(got.sum(1), (function(x, x) - base).detach(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
def test_mean_scores_of_differences_are_as_precise_as_the_differences(offset):
    """The mean of the background is taken once: in float32 it is coarser than the differences from it."""
    rows, background = (torch.tensor(cases.table(n, seed=n)).add(offset).float() for n in (9, 11))
    engine = deepshap.DeepShap(lambda x, anchor: (x - anchor).cumsum(1), background, background)
    want = (background.double() - rows.double()[:, None]).cumsum(2).mean(1)
    torch.testing.assert_close(engine.mean_scores(rows), want, rtol=1e-6, atol=1e-6)
