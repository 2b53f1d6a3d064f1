"""Writes into tensors, and their functional equivalents."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shapae.deepshap import attribute
from tests.deepshap.helpers import W, assert_close, expand_rows, flat, run, square, tensor, zeros


def assigned(x):
    out = torch.empty_like(x)
    out[:, :4] = x[:, :4].tanh()
    out[:, 4:] = x[:, 2:10].exp()
    return out


def assigned_twin(x):
    return torch.cat([x[:, :4].tanh(), x[:, 2:10].exp()], 1)


def masked(x):
    x = x.clone()
    x[x < 0] = 0.5
    return x * x


def in_place(x, *steps):
    """Square of a copy of x, after ``steps`` have written into it."""
    x = x * 1
    for step in steps:
        step(x)
    return x.square()


def each_row(x):
    out = zeros(x, 6)
    for j in range(6):
        out[:, j] = x[:, j] * x[:, j + 6]
    return out


def through_a_view(x):
    x = x * 1
    square(x)[:, 1].mul_(x[:, :4])
    return x


ACTIVATIONS = ["relu", "sigmoid", "tanh", "exp", "log1p", "abs", "neg", "sqrt", "square", "floor", "sin", "reciprocal"]
WRITING = {
    **{
        name: (lambda x, n=name: getattr((x + 4) * 1, n + "_")() * 2, lambda x, n=name: getattr(torch, n)(x + 4) * 2)
        for name in ACTIVATIONS
    },
    **{
        repr(activation(True)): (
            lambda x, a=activation: a(True)(x * 1) ** 2,
            lambda x, a=activation: a(False)(x * 1) ** 2,
        )
        for activation in (
            *(lambda i: nn.ReLU(i), lambda i: nn.SiLU(i), lambda i: nn.Mish(i), lambda i: nn.ELU(0.7, i)),
            *(lambda i: nn.SELU(i), lambda i: nn.CELU(0.7, i), lambda i: nn.LeakyReLU(0.2, i), lambda i: nn.ReLU6(i)),
            *(lambda i: nn.Hardtanh(-0.3, 0.7, i), lambda i: nn.Hardswish(i), lambda i: nn.Hardsigmoid(i)),
            *(lambda i: nn.Threshold(0.1, -1, i), lambda i: nn.RReLU(0.1, 0.4, i).eval()),
        )
    },
    "+=": (lambda x: in_place(x, lambda v: v.add_(v.flip(1), alpha=2)), lambda x: (x + 2 * x.flip(1)).square()),
    "-=, /=": (lambda x: in_place(x, lambda v: v.sub_(1).div_(3)), lambda x: ((x - 1) / 3).square()),
    "*= by itself": (lambda x: in_place(x, lambda v: v.mul_(v.exp())), lambda x: (x * x.exp()).square()),
    "clamp_": (lambda x: in_place(x, lambda v: v.clamp_(-0.4, 0.7)), lambda x: x.clamp(-0.4, 0.7).square()),
    "masked_fill_": (
        lambda x: in_place(x, lambda v: v.masked_fill_(v > 0, -1)),
        lambda x: x.masked_fill(x > 0, -1).square(),
    ),
    "fill_, zero_": (
        lambda x: in_place(x, lambda v: v[:, 2:5].fill_(3), lambda v: v[:, 7].zero_()),
        lambda x: torch.cat([x[:, :2], zeros(x, 3) + 3, x[:, 5:7], zeros(x, 1), x[:, 8:]], 1).square(),
    ),
    "copy_": (
        lambda x: in_place(x, lambda v: v[:, :6].copy_(v[:, 6:] ** 3)),
        lambda x: torch.cat([x[:, 6:] ** 3, x[:, 6:]], 1).square(),
    ),
    "**=": (lambda x: in_place(x, lambda v: v.pow_(3)), lambda x: x**6),
    "addmm_": (
        lambda x: (x[:, :7] * 1).addmm_(x, W.T, beta=2, alpha=3).tanh(),
        lambda x: (2 * x[:, :7] + 3 * x @ W.T).tanh(),
    ),
    "a slice": (assigned, assigned_twin),
    "a mask": (masked, lambda x: torch.where(x < 0, 0.5, x) ** 2),
    "one by one": (each_row, lambda x: x[:, :6] * x[:, 6:]),
    "through a view": (through_a_view, lambda x: torch.cat([x[:, :4], x[:, 4:8] * x[:, :4], x[:, 8:]], 1)),
    "index_add_": (
        lambda x: zeros(x, 5).index_add_(1, torch.arange(12) % 5, x.exp()),
        lambda x: zeros(x, 5).index_add(1, torch.arange(12) % 5, x.exp()),
    ),
    "scatter_": (
        lambda x: zeros(x, 20).scatter_(1, expand_rows(x, torch.arange(12) + 3), x.exp()),
        lambda x: F.pad(x.exp(), (3, 5)),
    ),
    "transpose_": (lambda x: (square(x) * 1).transpose_(1, 2).cumsum(2).exp(), lambda x: square(x).mT.cumsum(2).exp()),
    "out=": (lambda x: torch.mul(x, x.flip(1), out=torch.empty_like(x)), lambda x: x * x.flip(1)),
}
WRITING["the row itself"] = (lambda x: x.clone().relu_().add_(1).mul_(3), lambda x: (x.relu() + 1) * 3)


@pytest.mark.parametrize("name", WRITING)
def test_writing_in_place_has_the_values_of_its_functional_equivalent(name):
    written, twin = (flat(each) for each in WRITING[name])
    x, b = tensor(4, 12, 1), tensor(5, 12, 2)
    assert_close(run(written, x), run(twin, x))
    assert_close(attribute(written, x, b), attribute(twin, x, b))
