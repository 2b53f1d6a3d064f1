"""Functions of two features: see ``two_player_values``."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from shapae.deepshap import attribute
from tests.deepshap.helpers import assert_additive, assert_close, positive, tensor

TWO = {
    "a * b": lambda a, b: a * b,
    "a * a * b": lambda a, b: a * a * b,
    "a - 3 b": lambda a, b: torch.sub(a, b, alpha=3),
    "a / b": lambda a, b: a / b,
    "b / a": lambda a, b: b / a,
    "a ** b": lambda a, b: a**b,
    "float_power": torch.float_power,
    "a + 2 a b": lambda a, b: torch.addcmul(a, a, b, value=2),
    "1 + 2 a / b": lambda a, b: torch.addcdiv(torch.ones_like(a), a, b, value=2),
    "both, as a product": lambda a, b: (a > 1) * (b > 0.7),
    "a and b": lambda a, b: (a > 1) & (b > 0.7),
    "a xor b": lambda a, b: (a > 1) ^ (b > 0.7),
    "a > b": lambda a, b: a > b,
    "where(a > 1, a, b)": lambda a, b: torch.where(a > 1, a, b),
    "where(a > 1, b, 2 b)": lambda a, b: torch.where(a > 1, b, 2 * b),
    "where(a > 1, b, 0)": lambda a, b: torch.where(a > 1, b, 0.0),
    "amax": lambda a, b: torch.stack([a, b], 1).amax(1),
    "amin": lambda a, b: torch.stack([a, b], 1).amin(1),
    "max": lambda a, b: torch.stack([a, b], 1).max(1).values,
    "min": lambda a, b: torch.stack([a, b], 1).min(1)[0],
    "aminmax": lambda a, b: torch.aminmax(torch.stack([a, b], 1), dim=1).max,
    "prod": lambda a, b: torch.stack([a, b], 1).prod(1),
    "cumprod": lambda a, b: torch.stack([a, b], 1).cumprod(1)[:, 1],
    "squared error": lambda a, b: F.mse_loss(a, b, reduction="none"),
    "largest norm": lambda a, b: torch.linalg.vector_norm(torch.stack([a, b], 1), torch.inf, dim=1),
    "sum of sizes": lambda a, b: torch.linalg.vector_norm(torch.stack([a, b], 1), 1, dim=1),
    "var": lambda a, b: torch.stack([a, b], 1).var(1),
    "glu": lambda a, b: F.glu(torch.stack([a, b], 1)).squeeze(1),
    "clamp(a, min=b)": lambda a, b: a.clamp(min=b),
    "binary cross entropy": lambda a, b: F.binary_cross_entropy_with_logits(a, b, reduction="none"),
    **{
        name: getattr(torch, name)
        for name in ("maximum", "minimum", "fmax", "fmin", "atan2", "hypot", "logaddexp", "logaddexp2", "fmod")
    },
    **{name: getattr(torch, name) for name in ("remainder", "copysign", "xlogy", "heaviside", "floor_divide")},
    "xlog1py": torch.special.xlog1py,
    "gammainc": torch.special.gammainc,
}


def two_player_values(f, x, b):
    """Shapley values of f(a, b) for all pairs, averaged over the background: (n, 2)."""

    def value(p, q):
        return f(p, q).to(x.dtype).numpy()

    want = []
    for row in x:
        (a, c), (a0, c0) = row.expand_as(b).T, b.T
        value_a = value(a, c0) - value(a0, c0) + value(a, c) - value(a0, c)
        value_c = value(a0, c) - value(a0, c0) + value(a, c) - value(a, c0)
        want.append([value_a.mean() / 2, value_c.mean() / 2])
    return np.array(want)


@pytest.mark.parametrize("name", [name for name in TWO if name not in ("copysign", "heaviside")])
def test_a_function_of_two_features_gives_them_their_shapley_values(name):
    f, x, b = TWO[name], positive(6, 2, 1), positive(9, 2, 2)
    x[0, 0], x[1, 1] = b[0, 0], b[1, 1]  # pairs in which one feature is equal
    want = two_player_values(f, x, b)
    assert (want != 0).any(axis=0).all()
    assert_close(attribute(lambda rows: f(rows[:, 0], rows[:, 1]).to(rows.dtype), x, b), want)


SIGNED = ["a * b", "a / b", "maximum", "minimum", "atan2", "hypot", "logaddexp", "amax", "amin", "remainder", "fmod"]
SIGNED += ["copysign", "heaviside"]


@pytest.mark.parametrize("name", SIGNED)
def test_negative_features_have_their_shapley_values_too(name):
    f, x, b = TWO[name], tensor(6, 2, 1), tensor(9, 2, 2)
    assert_close(attribute(lambda rows: f(rows[:, 0], rows[:, 1]), x, b), two_player_values(f, x, b))


CHAINS = {
    "a * b * a": lambda a, b: a * b * a,
    "where(a > b, a, b)": lambda a, b: torch.where(a > b, a, b),
    "norm": lambda a, b: torch.stack([a, b], 1).norm(dim=1),
    "|a - b|": lambda a, b: (a - b).abs(),
    "std": lambda a, b: torch.stack([a, b], 1).std(1),
    "logsumexp": lambda a, b: torch.logsumexp(torch.stack([a, b], 1), 1),
    "softmax": lambda a, b: torch.softmax(torch.stack([a, b], 1), 1)[:, 0],
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_operators_adds_up_but_is_not_exact(name):
    """As in DeepLIFT, rules that are exact for each operator approximate their composition."""
    f, x, b = CHAINS[name], positive(6, 2, 1), positive(9, 2, 2)
    assert_additive(lambda rows: f(rows[:, 0], rows[:, 1]), x, b)
    values = attribute(lambda rows: f(rows[:, 0], rows[:, 1]), x, b)
    assert np.abs(values.numpy() - two_player_values(f, x, b)).max() > 1e-3


@pytest.mark.parametrize("gap", [0, 1e-13, 1e-12])
@pytest.mark.parametrize("name", ["maximum", "hypot", "atan2", "logaddexp", "a ** b"])
def test_the_slope_is_the_derivative_where_one_of_two_arguments_nearly_coincides(name, gap):
    f = TWO[name]
    x, b = torch.tensor([[5, -5, 1.5 + gap, 0.7]]).double(), torch.tensor([[-3, 3, 1.5, 1.1]]).double()
    places = torch.full((2,), 1.5, dtype=torch.float64, requires_grad=True)
    want = torch.autograd.grad(f(places, torch.tensor([0.7, 1.1]).double()).sum(), places)[0].mean()
    values = attribute(lambda rows: f(rows[:, :3].sum(1), rows[:, 3]), x, b)
    np.testing.assert_allclose(values[0, 0] / 8, want, rtol=1e-4)
