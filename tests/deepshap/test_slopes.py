"""Elementwise functions in the native engine: secants by hand, derivatives by autograd, no overflow."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shapae.deepshap import attribute
from tests import cases

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def like(x, number):
    return torch.tensor(number, dtype=x.dtype)


# Functions of values of both signs.
REAL = {
    **{name: getattr(torch, name) for name in ("exp", "expm1", "exp2", "sin", "cos", "tan", "sinh", "cosh", "asinh")},
    **{name: getattr(torch, name) for name in ("atan", "erf", "erfc", "sigmoid", "tanh", "square", "neg", "abs")},
    **{name: getattr(torch, name) for name in ("sign", "sgn", "floor", "ceil", "round", "trunc", "frac", "sinc", "i0")},
    **{name: getattr(torch, name) for name in ("deg2rad", "rad2deg", "nan_to_num", "positive")},
    **{
        f"special.{name}": getattr(torch.special, name)
        for name in ("ndtr", "log_ndtr", "i0e", "i1", "i1e", "erfcx", "expit", "exp2", "bessel_j0", "bessel_j1")
    },
    "x ** 2": lambda x: x**2,
    "x ** 2.0": lambda x: torch.pow(x, 2.0),
    "x ** 3": lambda x: x**3,
    "x ** -1": lambda x: (x + 5) ** -1,
    "x ** -2": lambda x: (x + 5) ** -2,
    "2 ** x": lambda x: 2**x,
    "tensor ** x": lambda x: like(x, 2.5) ** x,
    "x ** tensor": lambda x: x ** like(x, 2.0),
    "1 / x": lambda x: 1 / (x + 5),
    "1 - x": lambda x: 1 - x,
    "x // 0.3": lambda x: x // 0.3,
    "fmod": lambda x: torch.fmod(x, 0.3),
    "remainder": lambda x: torch.remainder(x, 0.3),
    "rounded division": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "x > 0": lambda x: (x > 0).to(x.dtype),
    "x > 0, twice": lambda x: x * (x > 0),
    "long": lambda x: (3 * x).long().to(x.dtype),
    "clamp": lambda x: x.clamp(-0.5, 1),
    "clamp below": lambda x: x.clamp(min=0.3),
    "clamp above": lambda x: torch.clamp_max(x, 0.3),
    "clamp by tensors": lambda x: x.clamp(like(x, -0.5), like(x, 0.9)),
    "clip": lambda x: torch.clip(x, -0.3, 0.9),
    "maximum": lambda x: torch.maximum(x, like(x, 0.3)),
    "fmin": lambda x: torch.fmin(x, like(x, 0.3)),
    "hypot": lambda x: torch.hypot(x, like(x, 2.0)),
    "atan2": lambda x: torch.atan2(x, like(x, -2.0)),
    "logaddexp": lambda x: torch.logaddexp(x, like(x, 0.8)),
    "copysign": lambda x: torch.copysign(like(x, 2.0), x),
    "ldexp": lambda x: torch.ldexp(x, torch.tensor(3)),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=2),
    "addcdiv": lambda x: torch.addcdiv(x, x, x + 5, value=2),
    "where": lambda x: torch.where(x > 0.3, x * x, -x),
    "another dtype": lambda x: x.to(torch.float64).exp().to(x.dtype),
    "binary cross entropy with logits": lambda x: F.binary_cross_entropy_with_logits(
        x, torch.full_like(x, 0.3), reduction="none"
    ),
    "huber": lambda x: F.huber_loss(x, torch.zeros_like(x), reduction="none", delta=0.8),
    "smooth l1": lambda x: F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none", beta=0.8),
    "mse": lambda x: F.mse_loss(x, torch.ones_like(x), reduction="none"),
    "l1": lambda x: F.l1_loss(x, torch.ones_like(x), reduction="none"),
    "soft margin": lambda x: F.soft_margin_loss(x, torch.ones_like(x), reduction="none"),
    "poisson": lambda x: F.poisson_nll_loss(x, torch.ones_like(x), reduction="none"),
}
# Functions of values between 0 and 1.
UNIT = {
    **{name: getattr(torch, name) for name in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal")},
    **{name: getattr(torch, name) for name in ("logit", "lgamma", "digamma", "asin", "acos", "atanh", "erfinv")},
    **{f"special.{name}": getattr(torch.special, name) for name in ("entr", "ndtri", "gammaln", "psi", "bessel_y0")},
    "acosh": lambda x: torch.acosh(x + 1),
    "polygamma": lambda x: torch.polygamma(1, x),
    "x ** 0.5": lambda x: x**0.5,
    "x ** -0.5": lambda x: x**-0.5,
    "x ** 1.5": lambda x: x**1.5,
    "x ** x": lambda x: x**x,
    "xlogy": lambda x: torch.xlogy(x, x),
    "xlog1py": lambda x: torch.special.xlog1py(2.0, x),
    "gammainc": lambda x: torch.special.gammainc(like(x, 2.0), x),
    "binary cross entropy": lambda x: F.binary_cross_entropy(x, torch.full_like(x, 0.3), reduction="none"),
    "kl": lambda x: F.kl_div(x, torch.full_like(x, 0.4), reduction="none"),
    "gaussian": lambda x: F.gaussian_nll_loss(x, torch.ones_like(x), x + 1, reduction="none", full=True),
}
ACTIVATIONS = {
    **{
        repr(activation): activation
        for activation in (
            *(nn.CELU(), nn.CELU(0.4), nn.ELU(), nn.ELU(2.3), nn.GELU(), nn.GELU("tanh"), nn.Hardshrink()),
            *(nn.Hardshrink(1.1), nn.Hardsigmoid(), nn.Hardswish(), nn.Hardtanh(), nn.Hardtanh(-0.3, 1.7)),
            *(nn.LeakyReLU(), nn.LeakyReLU(0.4), nn.LeakyReLU(-0.4), nn.LogSigmoid(), nn.Mish(), nn.PReLU()),
            *(nn.ReLU(), nn.ReLU6(), nn.RReLU(), nn.RReLU(0.1, 0.9), nn.SELU(), nn.SiLU(), nn.Sigmoid()),
            *(nn.Softplus(), nn.Softplus(3, 2), nn.Softplus(0.5, 1), nn.Softplus(-2), nn.Softshrink()),
            *(nn.Softshrink(1.2), nn.Softsign(), nn.Tanh(), nn.Tanhshrink(), nn.Threshold(0.3, -1)),
        )
    },
    "celu": lambda x: F.celu(x, alpha=0.3),
    "elu": lambda x: F.elu(x, alpha=0.7),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "hardtanh": lambda x: F.hardtanh(x, min_val=-0.2, max_val=0.4),
    "leaky_relu": lambda x: F.leaky_relu(x, negative_slope=0.7),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.6], dtype=x.dtype)),
    "rrelu": lambda x: F.rrelu(x, 0.2, 0.3),
    "softplus": lambda x: F.softplus(x, beta=2, threshold=3),
    "threshold": lambda x: F.threshold(x, 0.1, 20),
    **{name: getattr(F, name) for name in ("selu", "logsigmoid", "softsign", "tanhshrink", "silu", "mish", "relu6")},
}
FUNCTIONS = {**REAL, **UNIT, **ACTIVATIONS}


def elementwise(name, dtype=torch.float64):
    function = FUNCTIONS[name]
    return function.to(dtype).eval() if isinstance(function, nn.Module) else function


def sample(name, n, seed):
    """Random values (n, 3), between 0 and 1 or between -3 and 3."""
    unit = np.random.default_rng(seed).uniform(0.05, 0.95, size=(n, 3))
    return torch.tensor(unit if name in UNIT else 6 * unit - 3)


def by_hand(function, x):
    with torch.no_grad():
        return function(x).numpy()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_one_feature_attributes_its_whole_rise_to_it(name):
    function, x, b = elementwise(name), sample(name, 7, 1)[:, :1], sample(name, 5, 2)[:, :1]
    want = by_hand(function, x) - by_hand(function, b).mean()
    assert np.abs(want).min() > 0
    got = attribute(lambda rows: function(rows[:, 0]), x, b)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_behind_an_affine_map_a_function_has_the_slope_of_its_secant(name):
    function, x, b, w = (
        elementwise(name),
        sample(name, 7, 1),
        sample(name, 5, 2),
        torch.tensor([0.2, 0.5, 0.3]).double(),
    )
    zx, zb = (x @ w).numpy(), (b @ w).numpy()
    slope = (by_hand(function, x @ w)[:, None] - by_hand(function, b @ w)) / (zx[:, None] - zb)
    want = np.einsum("nb,i,nbi->ni", slope, w.numpy(), x.numpy()[:, None] - b.numpy()) / len(b)
    got = attribute(lambda rows: function(rows @ w), x, b)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.abs(want).max())


def derivatives(function, places):
    """Derivatives by autograd, in float64."""
    places = places.double().requires_grad_()
    return torch.autograd.grad(function(places).sum(), places)[0]


def slope_across(function, b, gaps):
    """The slope between b and b + gap, and the values b + gap: features of 5 and -5, or -3 and 3, cancel.

    Any error of the slope shows, as it is multiplied by the difference of 8, not by the gap.
    """
    gap = torch.tensor(gaps, dtype=b.dtype)
    rows = torch.stack([torch.full_like(gap, 5), torch.full_like(gap, -5), b + gap], dim=1)
    background = torch.stack([like(b, -3.0), like(b, 3.0), b])[None]
    values = attribute(lambda x: function(x[:, 0] + x[:, 1] + x[:, 2]), rows, background)
    torch.testing.assert_close(values[:, 0], -values[:, 1], rtol=0, atol=0)
    return values[:, 0].double() / 8, rows[:, 2]


def assert_near_the_derivative(name, dtype, b, tolerance):
    gaps = [0, 1e-14, 1e-12, 1e-9, 1e-6] if dtype is torch.float64 else [0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3]
    got, ends = slope_across(elementwise(name, dtype), torch.tensor(b, dtype=dtype), gaps)
    function, b = elementwise(name), torch.tensor(b, dtype=dtype)
    at_b, at_x, middle = (derivatives(function, each) for each in (b.expand_as(ends), ends, (ends + b) / 2))
    allowed = tolerance * middle.abs() + (at_x - at_b).abs()
    assert ((got - middle).abs() <= allowed).all(), (got, middle)


SMOOTH = {
    **dict.fromkeys(("exp", "expm1", "exp2", "sin", "cos", "tan", "sinh", "cosh", "asinh", "atan", "erf", "erfc")),
    **dict.fromkeys(("sigmoid", "tanh", "square", "abs", "sinc", "i0", "special.ndtr", "special.log_ndtr")),
    **dict.fromkeys(("x ** 2", "x ** 3", "x ** -1", "2 ** x", "1 / x", "addcmul", "hypot", "logaddexp")),
    **dict.fromkeys(("binary cross entropy with logits", "soft margin", "mse", "huber", "clamp")),
    **dict.fromkeys(name for name in ACTIVATIONS if not name.startswith(("Hardshrink", "Threshold", "threshold"))),
    **dict.fromkeys(("log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "logit", "lgamma", "digamma")),
    **dict.fromkeys(("asin", "atanh", "x ** 0.5", "x ** 1.5", "special.entr")),
}
# Tolerances of functions whose derivative in torch has a constant in float32.
ROUNDED = {"Hardsigmoid()": 1e-7, "CELU(alpha=0.4)": 1e-6, "celu": 1e-6}
# Functions that are straight beyond a threshold; where both ends coincide, the slope is that of the curve below it.
STRAIGHT = {"Softplus(beta=3, threshold=2)", "Softplus(beta=0.5, threshold=1)", "softplus"}


@BOTH
@pytest.mark.parametrize("name", SMOOTH)
def test_where_a_pair_nearly_coincides_the_slope_is_the_derivative(name, dtype):
    places = [0.2, 0.61, 0.87] if name in UNIT else [-2.2, -0.77, 0.35, 1.3]
    for place in places if name not in STRAIGHT else places[:2]:
        tolerance = ROUNDED.get(name, 1e-8) if dtype is torch.float64 else 1e-4
        assert_near_the_derivative(name, dtype, place, tolerance)


@BOTH
@pytest.mark.parametrize(("name", "beyond"), [*zip(sorted(STRAIGHT), [2.4, 0.8, 1.8], strict=True)])
def test_beyond_its_threshold_a_softplus_has_the_slope_one_where_a_pair_coincides(name, beyond, dtype):
    got, _ = slope_across(elementwise(name, dtype), torch.tensor(beyond, dtype=dtype), [0.0, 1e-3])
    np.testing.assert_allclose(got, 1, rtol=1e-4)


# On some processors torch's float32 GELU has no digit there, and the values of a score of this size do not add up.
@pytest.mark.filterwarnings("ignore::shapae.errors.AdditivityWarning")
@BOTH
@pytest.mark.parametrize("name", ["GELU(approximate='none')", "GELU(approximate='tanh')"])
def test_in_the_tail_of_gelu_the_slope_of_a_near_pair_is_the_derivative(name, dtype):
    gaps = [many * torch.finfo(dtype).eps for many in (4, 16, 64, 256)]
    for place in np.linspace(-6, -3, 20):
        got, ends = slope_across(elementwise(name, dtype), torch.tensor(place, dtype=dtype), gaps)
        np.testing.assert_allclose(got, derivatives(elementwise(name), ends), rtol=0, atol=2e-4)


SATURATED = [
    "sigmoid",
    "tanh",
    "Softplus(beta=1.0, threshold=20.0)",
    "expm1",
    "exp",
    "LogSigmoid()",
    "SiLU()",
    "Mish()",
]
SATURATED += ["GELU(approximate='none')", "ELU(alpha=1.0)", "SELU()", "CELU(alpha=1.0)", "Softsign()", "Hardswish()"]


@BOTH
@pytest.mark.parametrize("name", SATURATED)
def test_at_extreme_inputs_the_values_are_finite_and_add_up(name, dtype):
    function = elementwise(name, dtype)
    x = torch.tensor([-200, -88, -80, -30, -17, -1e-30, 0, 1e-8, 5, 19.999, 20.001, 30, 80], dtype=dtype)
    y = by_hand(function, x)
    size = np.maximum.reduce([np.ones(len(x)), x.abs().numpy(), np.abs(y)])
    for b, base, size_of_b in zip(x, y, size, strict=True):
        got = attribute(lambda rows: function(rows[:, 0]), x[:, None], b.reshape(1, 1))[:, 0].numpy()
        assert (np.abs(got - (y - base)) <= 16 * torch.finfo(dtype).eps * np.maximum(size, size_of_b)).all(), b


EXTREME = {
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "logsumexp of two axes": lambda x: torch.logsumexp(x.view(-1, 2, 3), (1, 2)),
    "logsumexp, kept": lambda x: torch.logsumexp(x.view(-1, 2, 3), 2, keepdim=True).flatten(1),
    "softmax": lambda x: torch.softmax(x, 1),
    "softmin": lambda x: F.softmin(x, 1),
    "log_softmax": lambda x: torch.log_softmax(x, 1),
    "masked softmax": lambda x: torch.softmax(x.masked_fill(torch.arange(6) % 2 == 0, -torch.inf), 1),
    "masked logsumexp": lambda x: torch.logsumexp(x.masked_fill(torch.arange(6) % 2 == 0, -torch.inf), 1),
    "one row all masked": lambda x: torch.logsumexp(
        x.view(-1, 2, 3).masked_fill(torch.arange(2)[:, None] == 0, -torch.inf), 2
    )[:, 1],
    "causal": lambda x: torch.softmax(
        x[:, :, None] * x[:, None] / 100 + torch.full((6, 6), -torch.inf, dtype=x.dtype).triu(1), -1
    ).flatten(1),
    "variable mask": lambda x: torch.softmax(x.masked_fill(x < 0, -1e4), 1),
    "cross entropy": lambda x: F.cross_entropy(x, torch.zeros(len(x), dtype=torch.long), reduction="none"),
}


@BOTH
@pytest.mark.parametrize("scale", [1, 30, 300, 3000])
@pytest.mark.parametrize("name", EXTREME)
def test_softmax_and_related_functions_add_up_at_any_scale(name, scale, dtype):
    x, b = (torch.tensor(cases.table(n, 6, seed=n) * scale, dtype=dtype) for n in (4, 5))
    want = by_hand(EXTREME[name], x) - by_hand(EXTREME[name], b).mean(0)
    got = attribute(EXTREME[name], x, b).sum(1)
    assert torch.isfinite(got).all()
    precision = 1e-4 if dtype is torch.float32 else 1e-10
    np.testing.assert_allclose(got, want, rtol=0, atol=precision * max(1, np.abs(want).max()))


@pytest.mark.parametrize(
    "function",
    [lambda x: torch.heaviside(x, like(x, 0.5)), lambda x: torch.special.zeta(x + 5, like(x, 1.0))],
    ids=["heaviside", "zeta"],
)
def test_a_function_without_a_derivative_has_its_secant(function):
    x, b = sample("sin", 7, 1)[:, :1], sample("sin", 5, 2)[:, :1]
    want = by_hand(function, x) - by_hand(function, b).mean()
    np.testing.assert_allclose(attribute(lambda rows: function(rows[:, 0]), x, b), want, atol=1e-10)


@pytest.fixture(autouse=True)
def _ignore_performance_warnings():
    """Ignore the warning of torch about operators that vmap runs one by one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield
