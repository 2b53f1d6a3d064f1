"""Integrated gradients through operators that have a gradient and no rule: against quadrature piece by piece."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Explainer
from shapae.deepshap import DeepShap, attribute
from shapae.errors import UnsupportedOperator
from tests.deepshap.helpers import BOTH, assert_additive, assert_close, flat, square, tensor

WEIGHTS = torch.arange(1, 13).double().sin()
CELLS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 0, 1, 2, 3])


def definite(x):
    half = square(x)[:, :, :3]
    return half @ half.mT + torch.eye(3, dtype=x.dtype)


def reduced(kind):
    return lambda x: torch.ones_like(x[:, :4]).scatter_reduce(1, CELLS.expand(len(x), -1), x, kind)


# Piecewise linear, with kinks only where two features cross.
ORDERED = {
    "sort": lambda x: x.sort(1).values @ WEIGHTS,
    "sort, descending": lambda x: x.sort(1, descending=True).values[:, ::3],
    "msort": lambda x: x.T.msort().T @ WEIGHTS if len(x) > 1 else x.flatten().msort()[None] @ WEIGHTS,
    "topk": lambda x: x.topk(3, 1).values @ WEIGHTS[:3],
    "cummax": lambda x: x.cummax(1).values @ WEIGHTS,
    "cummin": lambda x: x.cummin(1).values @ WEIGHTS,
}
SMOOTH = {
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "inverse": lambda x: torch.linalg.inv(square(x)[:, :, :3] / 9 + torch.eye(3, dtype=x.dtype)),
    "determinant": lambda x: torch.linalg.det(square(x)[:, :, :3]),
    "matrix exponential": lambda x: torch.matrix_exp(square(x)[:, :, :3] / 3),
    "singular values": lambda x: torch.linalg.svdvals(square(x)),
}
OTHERS = {
    "cumprod": lambda x: x.cumprod(1),
    "index by constants": lambda x: x[:, CELLS].square(),
    "scatter_reduce amax": reduced("amax"),
    "scatter_reduce mean": reduced("mean"),
    "solve": lambda x: torch.linalg.solve(definite(x), x[:, :3, None]),
    "cholesky": lambda x: torch.linalg.cholesky(definite(x)),
    "log determinant": lambda x: torch.logdet(definite(x)),
    "eigenvalues": lambda x: torch.linalg.eigvalsh(definite(x)),
    "nuclear norm": lambda x: torch.linalg.matrix_norm(square(x), "nuc"),
    "kept above the third largest": lambda x: x * (x >= x.topk(3, 1).values[:, 2:]),
    "in place": lambda x: (x * 2).clamp_(-1).cumsum_(1).sort(1).values.mul_(WEIGHTS.to(x)),
    "two operators": lambda x: x.sort(1).values.tanh().cummax(1).values,
}


def integrated(function, row, other):
    """Integrate the gradient with 30 nodes in each piece of the path between two crossings of features: (d, k)."""
    delta = row - other
    with np.errstate(all="ignore"):
        crossings = (other[:, None] - other) / (delta - delta[:, None])
    inside = crossings[(crossings > 0) & (crossings < 1)]
    cuts = np.unique(np.concatenate([[0.0, 1.0], inside.numpy()]))
    nodes, weights = np.polynomial.legendre.leggauss(30)
    t = torch.tensor(cuts[:-1, None] + (nodes + 1) / 2 * np.diff(cuts)[:, None]).flatten()
    w = torch.tensor(weights / 2 * np.diff(cuts)[:, None]).flatten()
    points = (other + t[:, None] * delta).requires_grad_()
    outputs = flat(function)(points).sum(0)
    return torch.stack([w @ torch.autograd.grad(out, points, retain_graph=True)[0] * delta for out in outputs], dim=1)


@pytest.mark.parametrize("name", [*ORDERED, *SMOOTH])
def test_values_are_integrals_of_the_gradient_on_the_straight_path(name):
    function = flat((ORDERED | SMOOTH)[name])
    rows, background = tensor(2, 12, 1), tensor(3, 12, 2)
    want = torch.stack([sum(integrated(function, row, other) for other in background) / 3 for row in rows])
    got = attribute(function, rows, background)
    # An excursion shorter than a hundredth of the path, back to the same feature, may be missed.
    assert_close(got if got.ndim == 3 else got.unsqueeze(2), want, 1e-8 if name in SMOOTH else 0.01)


@pytest.mark.parametrize("name", ["sort", "sort, descending", "msort", "cummax", "cummin"])
def test_few_kinks_are_found_to_the_last_digit(name):
    rows, background = tensor(3, 4, 1), tensor(4, 4, 2)

    def function(x):
        return ORDERED[name](torch.cat([x, x + 10, x - 10], dim=1))

    want = torch.stack([sum(integrated(function, row, other) for other in background) / 4 for row in rows])
    got = attribute(function, rows, background)
    assert_close(got if got.ndim == 3 else got.unsqueeze(2), want, 1e-8)


@BOTH
@pytest.mark.parametrize("name", [*ORDERED, *SMOOTH, *OTHERS])
def test_values_add_up(name, dtype):
    function = (ORDERED | SMOOTH | OTHERS)[name]
    rows, background = (tensor(n, 12, n, dtype=dtype) for n in (3, 4))
    wide = flat(lambda x: function(x.double()).to(x.dtype)) if name in ORDERED else flat(function)
    assert_additive(wide, rows, background, {torch.float32: 1e-4, torch.float64: 1e-8}[dtype])


def test_kinks_that_cancel_in_the_whole_path_are_found():
    """Two swaps, one at 1/4 and one at 3/4 of the path, whose errors in a symmetric quadrature are opposite."""
    row, other = torch.tensor([[3.0, 0.0, 11.0, 10.0]]).double(), torch.tensor([[0.0, 1.0, 10.0, 13.0]]).double()

    def function(x):
        return x.sort(1).values @ torch.tensor([1.0, 0.0, 1.0, 0.0]).double()

    assert_close(attribute(function, row, other)[0], integrated(lambda x: function(x), row[0], other[0])[:, 0])


def test_weights_of_the_background_weigh_the_paths():
    rows, background, weights = tensor(2, 12, 1), tensor(2, 12, 2), torch.tensor([3.0, 1.0]).double()
    parts = [attribute(ORDERED["sort"], rows, each[None]) for each in background]
    got = attribute(ORDERED["sort"], rows, background, weights=weights)
    assert_close(got, (3 * parts[0] + parts[1]) / 4)


def test_anchors_take_part_in_operators_without_a_rule():
    def function(rows, anchors):
        return torch.cat([rows, anchors], dim=1).sort(1).values @ WEIGHTS

    rows, background, anchors = tensor(3, 6, 1), tensor(4, 6, 2), tensor(3, 6, 3)
    got = attribute(function, rows, background, anchors=anchors)
    alone = [
        attribute(lambda x, at=anchor: function(x, at.expand(len(x), -1)), row[None], background)[0]
        for row, anchor in zip(rows, anchors, strict=True)
    ]
    assert_close(got, torch.stack(alone))


REFUSED = {
    "a row decides where values go": (
        lambda x: torch.zeros_like(x).scatter(1, x.topk(3, 1).indices, x.topk(3, 1).values),
        r"aten\.topk\.default in the function, aten\.scatter\.src .*backend='sampling', or backend='exact'",
    ),
    "a row is indexed by its own order": (
        lambda x: x.gather(1, x.argsort(1)),
        r"aten\.sort\.default in the function, aten\.gather\.default .*backend='sampling'",
    ),
    "rounding with a gradient of its own": (
        lambda x: torch.fake_quantize_per_tensor_affine(x, 0.5, 0, -10, 10),
        r"whose output jumps.* between a row and a background row\. .*backend='sampling'",
    ),
    "an inverse that is singular on the path": (
        lambda x: torch.linalg.inv(x[:, :1, None]).flatten(),
        r"aten\.linalg_inv_ex\.default in the function, (whose output jumps|which fails)",
    ),
    "random numbers": (lambda x: torch.rrelu(x, training=True), r"rrelu_with_noise.*backend='sampling'"),
    "a histogram": (
        lambda x: torch.stack([row.histc(4, -2, 2) for row in x]),
        r"aten\.histc\.default .*backend='sampling'",
    ),
    "complex numbers": (lambda x: torch.fft.rfft(x).real, r"aten\._fft_r2c\.default .*backend='gradient'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_operators_without_a_gradient_are_refused_with_a_backend_that_works(name):
    function, message = REFUSED[name]
    row = torch.tensor([[1.0, 2, 3, 4, 5, 6]]).double()
    with pytest.raises(UnsupportedOperator, match=message):
        attribute(function, row, -row.flip(1))


class Sorted(nn.Module):
    """A model whose latents are sorted."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 5), nn.Linear(5, 6)

    def forward(self, rows):
        return self.decoder(self.encoder(rows).sort(1).values.tanh())


def test_the_record_names_the_operators_and_what_their_integrals_miss():
    torch.manual_seed(0)
    rows, background, named = tensor(9, 6, 1), tensor(7, 6, 2), "integrated gradients through"
    explainer = Explainer(Sorted().double(), background)
    for made_by in (explainer(rows).made_by, explainer.summarize(rows).made_by):
        assert made_by[named] == ["aten.sort.default in Score.autoencoder.model"]
        assert 0 <= made_by["largest residual of integrated gradients"] < 1e-8
        json.dumps(made_by)
    plain = Explainer(nn.Sequential(nn.Linear(6, 6), nn.ReLU()).double(), background)(rows)
    assert not any("integrated" in key for key in plain.made_by)


def test_the_residual_of_an_operator_is_what_its_parts_miss():
    """All other rules are exact, so that one operator misses what the values of all pairs miss."""
    rows, background = tensor(1, 12, 1).float(), tensor(1, 12, 2).float()
    engine = DeepShap(lambda x: x.sort(1).values @ WEIGHTS.float(), background)
    scores = [engine.function(each) for each in (rows, background)]
    missed = scores[0] - scores[1] - torch.tensor(engine.attribute(rows).mean).sum()
    found = engine.integrated(rows)
    assert list(found) == ["aten.sort.default in the function"]
    assert abs(found["aten.sort.default in the function"] - abs(float(missed))) < 1e-5
