"""Softmax and its kin on logits that are large next to their differences."""

import mpmath as mp
import numpy as np
import pytest
import torch
from captum.attr import DeepLiftShap
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.nn import functional as F

from shapae.deepshap import attribute
from tests.deepshap.helpers import BOTH, flat, run, square, tensor

# The warning knows the scores but not the logits, whose rounding some functions amplify: exp(x - logsumexp(x)).
pytestmark = pytest.mark.filterwarnings("ignore::shapae.errors.AdditivityWarning")
SHIFT = pytest.mark.parametrize("shift", [0, 1e1, 1e3, 1e5, -1e5])
SHIFTED = pytest.mark.parametrize("background_too", [False, True], ids=["row", "row and background"])
MASK = torch.arange(12) % 4 == 0
CAUSAL = torch.ones(3, 4, dtype=torch.bool).tril()


def by_hand(x):
    """The softmax as it is often written."""
    exponentials = (x - x.max(1, keepdim=True).values).exp()
    return exponentials / exponentials.sum(1, keepdim=True)


def attend(x, **settings):
    """Attention whose scores are the logits."""
    keys = 30 * torch.eye(4).to(x).expand(len(x), 4, 4)
    return F.scaled_dot_product_attention(square(x), keys, keys / 30, scale=1 / 30, **settings)


def mixture(x):
    return MixtureSameFamily(Categorical(logits=x[:, :6]), Normal(x[:, 6:] / 100, 3)).log_prob(x[:, 6] / 100 + 1)


KIN = {
    "softmax": lambda x: x.softmax(1),
    "middle axis": lambda x: square(x).softmax(1),
    "negative axis": lambda x: F.softmax(square(x), -2),
    "masked": lambda x: x.masked_fill(MASK, -torch.inf).softmax(1),
    "softmin": lambda x: F.softmin(x, 1),
    "temperature": lambda x: (x / 0.5).softmax(1),
    "computed in float64": lambda x: x.softmax(1, dtype=torch.float64).to(x.dtype),
    "written by hand": by_hand,
    "exp of a difference": lambda x: (x - x.logsumexp(1, keepdim=True)).exp(),
    "log of a sum": lambda x: x.softmax(1)[:, :7].sum(1).log(),
    "log_softmax": lambda x: x.log_softmax(1),
    "log_softmax of the middle axis": lambda x: square(x).log_softmax(1),
    "masked log_softmax": lambda x: x.masked_fill(MASK, -torch.inf).log_softmax(1)[:, ~MASK],
    "logsumexp": lambda x: x.logsumexp(1),
    "logsumexp of two axes": lambda x: square(x).logsumexp((1, 2)),
    "logsumexp, kept": lambda x: square(x).logsumexp(1, keepdim=True),
    "logsumexp by hand": lambda x: (x - x.amax(1, keepdim=True)).exp().sum(1).log() + x.amax(1),
    "logaddexp": lambda x: torch.logaddexp(x[:, :6], x[:, 6:]),
    "cross entropy": lambda x: F.cross_entropy(x, torch.full((len(x),), 3), reduction="none"),
    "smoothed labels": lambda x: F.cross_entropy(x, torch.full((len(x),), 3), reduction="none", label_smoothing=0.1),
    "entropy": lambda x: Categorical(logits=x).entropy(),
    "mixture": mixture,
    "attention": attend,
    "causal attention": lambda x: attend(x, attn_mask=CAUSAL),
    "gates": lambda x: (x[:, :6].softmax(1) * torch.arange(6)).sum(1) + x[:, 6:].sigmoid().sum(1),
    "softplus": lambda x: F.softplus(x),
    "logsigmoid": lambda x: F.logsigmoid(x),
    "sigmoid": lambda x: x.sigmoid(),
}


def tables(shift, background_too, dtype):
    x, b = tensor(3, 12, 1), tensor(4, 12, 2)
    return (x + shift).to(dtype), (b + shift * background_too).to(dtype)


def rounding(x, b):
    """The rounding error of the largest logit."""
    return torch.finfo(x.dtype).eps * max(float(each.abs().max()) for each in (x, b))


@BOTH
@SHIFT
@SHIFTED
@pytest.mark.parametrize("name", KIN)
def test_the_residual_is_a_few_roundings_of_the_largest_logit(name, background_too, shift, dtype):
    x, b = tables(shift, background_too, dtype)
    function = flat(KIN[name])
    residual = attribute(function, x, b).sum(1) - (run(function, x) - run(function, b).mean(0))
    np.testing.assert_allclose(residual, 0, rtol=0, atol=4 * rounding(x, b))


def exact_values(x, b):
    """Values of logsumexp (d,), log_softmax and softmax (d, d) of one pair with 50 digits, as in the rules."""
    exp = np.vectorize(mp.exp, otypes=[object])
    with mp.workdps(50):
        x, b = (np.array([mp.mpf(value) for value in each.tolist()]) for each in (x, b))
        log_x, log_b = (each - mp.log(exp(each).sum()) for each in (x, b))
        rise = (x - log_x - b + log_b)[0]
        sums = (exp(x) - exp(b)) / (exp(x - log_x) - exp(b - log_b)) * rise
        logs = np.diag(x - b) - sums[:, None]
        return [each.astype(float) for each in (sums, logs, logs * (exp(log_x) - exp(log_b)) / (log_x - log_b))]


@BOTH
@SHIFT
@SHIFTED
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_values_are_those_of_fifty_digits(place, background_too, shift, dtype):
    x, b = tables(shift, background_too, dtype)
    functions = (lambda rows: rows.logsumexp(1), lambda rows: rows.log_softmax(1), lambda rows: rows.softmax(1))
    for function, want in zip(functions, exact_values(x[place], b[place]), strict=True):
        got = attribute(function, x[place, None], b[place, None])[0]
        np.testing.assert_allclose(got, want, rtol=0, atol=4 * rounding(x, b))


@BOTH
@SHIFT
@SHIFTED
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")  # captum says so in every call
def test_softmax_has_a_smaller_residual_than_with_captum(background_too, shift, dtype):
    """captum subtracts the mean from the slopes of the outputs, which does not add up."""
    (x, b), model = tables(shift, background_too, dtype), nn.Sequential(nn.Softmax(1))
    rise = model(x)[:, 3] - model(b)[:, 3].mean()
    captum = DeepLiftShap(model).attribute(x, b, target=3).sum(1) - rise
    got = attribute(model, x, b)[:, :, 3].sum(1) - rise
    assert 10 * got.abs().max() < captum.abs().max()


def test_logits_masked_in_every_row_have_values_of_zero():
    x, b = tables(1e5, False, torch.float32)
    values = attribute(KIN["masked"], x, b)
    assert not values[:, MASK].any()
    kept = attribute(lambda rows: rows.softmax(1), x[:, ~MASK], b[:, ~MASK])
    torch.testing.assert_close(values[:, ~MASK][:, :, ~MASK], kept, rtol=0, atol=4 * rounding(x, b))
