"""Casts, broadcasts and other details of operators, through the whole engine."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from shapae import deepshap
from shapae.deepshap.rules import rule_for
from shapae.deepshap.rules.slopes import SLOPES
from shapae.deepshap.tracing.record import record
from tests.deepshap.helpers import B, X

CASTS = {
    "up and down": lambda x: (x.double() @ torch.ones(6, 2).double()).tanh().float(),
    "half": lambda x: (x.bfloat16() @ torch.ones(6, 2).bfloat16()).float(),
    "two of the row": lambda x: torch.einsum("ni,nj->n", x.double(), x.double().exp()).float(),
    "convolution": lambda x: F.conv1d(x[:, None].double(), torch.ones(2, 1, 3).double()).square().sum((1, 2)).float(),
    "linear": lambda x: F.linear(x.double(), torch.ones(3, 6).double(), torch.ones(3).double()).relu().float(),
}


@pytest.mark.parametrize("kind", CASTS)
def test_the_values_of_functions_with_casts_add_up(kind):
    rows, background = X.float(), B.float()
    values = deepshap.attribute(CASTS[kind], rows, background)
    scores, base = CASTS[kind](rows), CASTS[kind](background).mean(dim=0)
    precision = 2e-2 if kind == "half" else 1e-5
    np.testing.assert_allclose(values.sum(dim=1), scores - base, rtol=0, atol=precision * float(scores.abs().max()))


BROADCAST = {
    "maximum": lambda x: torch.maximum(x[..., None], torch.linspace(-1, 1, 5)),
    "steps": lambda x: (x[..., None] >= torch.linspace(-1, 1, 5)).to(x.dtype),
    "powers": lambda x: x.abs()[..., None] ** torch.arange(4),
    "atan2": lambda x: torch.atan2(x[..., None], torch.linspace(-1, 1, 5).double()),
    "clamp": lambda x: x[..., None].clamp(min=torch.linspace(-1, 1, 5).double()),
    "one hot": lambda x: F.one_hot((x > 0).long(), 3).to(x.dtype),
}


@pytest.mark.parametrize("kind", BROADCAST)
def test_elementwise_operators_with_a_broadcast_constant_give_each_feature_its_rise(kind):
    weights = torch.arange(1.0, 7.0)[:, None].double()
    values = deepshap.attribute(lambda x: (BROADCAST[kind](x) * weights).sum((1, 2)), X, B)
    rises = (BROADCAST[kind](X) * weights).sum(dim=2), (BROADCAST[kind](B) * weights).sum(dim=2)
    np.testing.assert_allclose(values, rises[0] - rises[1].mean(dim=0), rtol=0, atol=1e-12)


def test_a_pair_that_coincides_before_a_broadcast_constant_has_the_derivative():
    rows, background = torch.tensor([[1.0, 0.5]]).double(), torch.tensor([[0.5, 1.0]]).double()
    constants = torch.linspace(0.5, 2, 5).double()

    def function(x):
        return torch.atan2(x.sum(dim=1)[..., None], constants).sum(dim=1)

    slope = (constants / (1.5**2 + constants**2)).sum()
    np.testing.assert_allclose(deepshap.attribute(function, rows, background), slope * (rows - background), atol=1e-12)


@pytest.mark.parametrize("name", ["_prelu_kernel", "hardswish", "mish", "gelu", "celu"])
def test_activations_with_a_slope_of_their_own_are_not_decomposed(name):
    function = {"_prelu_kernel": lambda x: F.prelu(x, torch.ones(1).double())}.get(name) or getattr(F, name)
    tape = record(lambda x: function(x).sum(dim=1), X[0], lambda op, kinds: rule_for(op, kinds) is not None)
    assert name in [step.name for step in tape.steps]
    assert name in SLOPES


def test_an_infinite_derivative_is_not_used():
    rows, background = torch.tensor([[1.0, 0.3]]), torch.tensor([[0.0, 0.3]])
    for function in (
        lambda x: x.pow(0.5).sum(1),
        lambda x: x.asin().sum(1),
        lambda x: (x - 0.3 * x.new_tensor([0, 1])).norm(dim=1),
    ):
        values = deepshap.attribute(function, rows, background)
        np.testing.assert_allclose(
            values, (function(rows) - function(background))[:, None] * torch.tensor([1, 0]), atol=1e-6
        )


def test_distributions_check_their_arguments_and_are_explained():
    def function(rows):
        normal = torch.distributions.Normal(rows[:, :3], rows[:, 3:].exp())
        return torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1)).sum(dim=1)

    values = deepshap.attribute(function, X, B)
    rise = torch.cat([X[:, :3] ** 2 / 2, (X[:, 3:] * 2).exp() / 2 - X[:, 3:]], dim=1)
    base = torch.cat([B[:, :3] ** 2 / 2, (B[:, 3:] * 2).exp() / 2 - B[:, 3:]], dim=1)
    np.testing.assert_allclose(values, rise - base.mean(dim=0), rtol=0, atol=1e-10)
