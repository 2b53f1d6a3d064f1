"""Operators that torch decomposes: softmax, normalization, attention, losses."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shapae.deepshap import attribute
from tests import cases
from tests.deepshap.helpers import BOTH, CUBE, W, assert_additive, assert_close, flat, square, tensor


class Attention(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True, **settings)

    def forward(self, x):
        return self.attention(square(x), square(x), square(x))[0]


MASK = torch.ones(3, 3, dtype=torch.bool).tril()
COMPOSITES = {
    "softmax": lambda x: square(x).softmax(2),
    "log_softmax": lambda x: square(x).log_softmax(1),
    "logsumexp": lambda x: square(x).logsumexp((1, 2)),
    "layer_norm": lambda x: F.layer_norm(square(x), (4,), W[0, :4].to(x), W[1, :4].to(x)),
    "layer_norm over two axes": lambda x: F.layer_norm(square(x), (3, 4)),
    "group_norm": lambda x: F.group_norm(x.view(-1, 4, 3), 2, W[0, :4].to(x), W[1, :4].to(x)),
    "instance_norm": lambda x: F.instance_norm(square(x)),
    "rms_norm": lambda x: F.rms_norm(x, (12,), W[0].to(x)),
    "local_response_norm": lambda x: F.local_response_norm(x.view(-1, 4, 3), 2),
    "normalize": lambda x: F.normalize(square(x), dim=2),
    "normalize, p = 1": lambda x: F.normalize(x, p=1.0, dim=1),
    "cosine_similarity": lambda x: F.cosine_similarity(x[:, :6], x[:, 6:]),
    "pairwise_distance": lambda x: F.pairwise_distance(x[:, :6], x[:, 6:]),
    "cdist": lambda x: torch.cdist(square(x), x.view(-1, 3, 4).flip(1) + 1),
    "cdist, p = 1": lambda x: torch.cdist(square(x), CUBE[:1].to(x), p=1.0),
    "norm": lambda x: torch.linalg.vector_norm(square(x), dim=1),
    "norm, p = 3": lambda x: torch.linalg.vector_norm(square(x), 3, dim=1),
    "matrix norm": lambda x: torch.linalg.matrix_norm(square(x)),
    "std": lambda x: square(x).std(2),
    "std, no correction": lambda x: x.std(1, correction=0),
    "var_mean": lambda x: torch.cat(torch.var_mean(square(x), 1), 1),
    "prod": lambda x: square(x).prod(1),
    "prod of all": lambda x: x.prod(1, keepdim=True),
    "glu": lambda x: F.glu(square(x)),
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(*(square(x)[:, None] for _ in range(3))),
    "causal attention": lambda x: F.scaled_dot_product_attention(square(x), square(x) + 1, square(x), is_causal=True),
    "masked attention": lambda x: F.scaled_dot_product_attention(square(x), square(x), square(x), attn_mask=MASK),
    "MultiheadAttention": Attention(),
    "MultiheadAttention, kdim": Attention(add_bias_kv=True, bias=False),
    "TransformerEncoderLayer": nn.Sequential(
        nn.Unflatten(1, (3, 4)), nn.TransformerEncoderLayer(4, 2, 5, batch_first=True, activation="gelu")
    ),
    "lp_pool1d": lambda x: F.lp_pool1d(x[:, None].exp(), 2, 3),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.full((len(x),), 3), reduction="none"),
    "kl to a prior": lambda x: (x[:, :6] ** 2 + x[:, 6:].exp() - 1 - x[:, 6:]).sum(1) / 2,
    "gumbel": lambda x: F.softmax(x / 0.1, 1),
}


def composite(name, dtype):
    function = COMPOSITES[name]
    if isinstance(function, nn.Module):
        function = cases.build(lambda: function, dtype=dtype)
    return flat(function)


@BOTH
@pytest.mark.parametrize("name", COMPOSITES)
def test_the_values_of_composite_operators_add_up(name, dtype):
    x, b = tensor(9, 12, 1, dtype=dtype), tensor(11, 12, 2, dtype=dtype)
    assert_additive(composite(name, dtype), x, b, 1e-10 if dtype is torch.float64 else 1e-5)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_permuted_features_have_permuted_values(name):
    function, x, b = getattr(torch, name), tensor(4, 6, 1), tensor(5, 6, 2)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    values = attribute(lambda rows: function(rows, 1), x, b)
    moved = attribute(lambda rows: function(rows, 1), x[:, order], b[:, order])
    assert_close(moved, values[:, order][:, :, order])


def test_permuted_features_have_permuted_values_of_logsumexp_and_maximum():
    order, x, b = torch.tensor([3, 0, 5, 1, 4, 2]), tensor(4, 6, 1), tensor(5, 6, 2)
    for function in (lambda rows: rows.logsumexp(1), lambda rows: rows.amax(1)):
        assert_close(attribute(function, x[:, order], b[:, order]), attribute(function, x, b)[:, order])


def test_a_layer_norm_without_weights_keeps_a_mean_of_zero():
    """The sum over the outputs is constant, so that each feature contributes 0 to it."""
    values = attribute(lambda rows: F.layer_norm(rows, (6,)), tensor(4, 6, 1), tensor(5, 6, 2))
    np.testing.assert_allclose(values.sum(2), 0, atol=1e-12)


def test_layer_norm_is_written_out_in_numpy():
    """c r with c = x - mean x, v = mean c^2, r = 1 / sqrt(v + eps): midpoints for products, a secant for r(v)."""
    (x,), (b,) = tensor(1, 5, 1).numpy(), tensor(1, 5, 2).numpy()
    cx, cb, eye = x - x.mean(), b - b.mean(), np.eye(5) - 1 / 5
    vx, vb = (cx**2).mean(), (cb**2).mean()
    rx, rb = (vx + 1e-5) ** -0.5, (vb + 1e-5) ** -0.5
    through_r = np.outer((cx + cb) / 5 * (rx - rb) / (vx - vb), (cx + cb) / 2)  # (c, output)
    want = eye @ (through_r + np.eye(5) * (rx + rb) / 2) * (x - b)[:, None]
    got = attribute(lambda rows: F.layer_norm(rows, (5,)), torch.tensor(x)[None], torch.tensor(b)[None])[0]
    assert_close(got, want)


@BOTH
def test_the_values_of_logsumexp_are_those_of_the_chain_of_log_sum_and_exp(dtype):
    x, b = tensor(4, 6, 1, dtype=dtype), tensor(5, 6, 2, dtype=dtype)
    want = attribute(lambda rows: rows.exp().sum(1).log(), x.double(), b.double())
    assert_close(attribute(lambda rows: rows.logsumexp(1), x, b), want, 1e-10 if dtype is torch.float64 else 1e-5)


def test_softmax_is_exp_of_log_softmax_and_log_softmax_is_x_minus_logsumexp():
    x, b = tensor(4, 6, 1), tensor(5, 6, 2)
    logs = attribute(lambda rows: rows - rows.logsumexp(1, keepdim=True), x, b)
    assert_close(attribute(lambda rows: rows.log_softmax(1), x, b), logs)
    assert_close(attribute(lambda rows: rows.softmax(1), x, b), attribute(lambda rows: rows.log_softmax(1).exp(), x, b))
