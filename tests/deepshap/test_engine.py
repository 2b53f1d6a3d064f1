"""The native engine as a whole: against shap, against multipliers of each pair, and in blocks of any size."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Explainer, deepshap
from shapae.deepshap import backward
from tests import cases
from tests.deepshap.helpers import B, X, error
from tests.deepshap.zoo import ZOO, D


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
@pytest.mark.parametrize("make", [cases.Question, cases.Nested, cases.Linear])
@pytest.mark.parametrize("head", ["reconstruction_error", "feature_error", "reconstruction", "latent", "latent:1"])
def test_the_values_equal_those_of_shap_where_shap_is_right(dtype, precision, make, head):
    """The values of shap are computed in float64, because its errors in float32 reach 5e-6 here."""
    model, rows, background = cases.build(make, dtype=dtype), X.to(dtype), B.to(dtype)
    ours = Explainer(model, background, head=head)(rows)
    theirs = Explainer(model.double(), background.double(), head=head, backend="shap_deep")(rows.double())
    assert ours.values.dtype == ours.data.dtype == np.zeros(0, str(dtype).removeprefix("torch.")).dtype
    np.testing.assert_allclose(ours.values, theirs.values, rtol=0, atol=precision * np.abs(theirs.values).max())


def test_a_net_with_two_hidden_layers_has_the_multipliers_of_each_pair_written_out():
    net = cases.build(
        lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Softplus(), nn.Linear(4, 2))
    )
    maps = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in net[::2]]
    functions = [np.tanh, lambda z: np.log1p(np.exp(z))]
    want = np.zeros((5, 6, 2))
    for (i, x), b in itertools.product(enumerate(X.numpy()), B.numpy()):
        jacobian, delta = np.eye(6), x - b
        for (weight, bias), function in zip(maps, functions, strict=False):
            zx, zb = weight @ x + bias, weight @ b + bias
            x, b = function(zx), function(zb)
            jacobian = ((x - b) / (zx - zb))[:, None] * weight @ jacobian
        want[i] += (maps[-1][0] @ jacobian * delta).T / len(B)
    np.testing.assert_allclose(deepshap.attribute(net, X, B), want, rtol=0, atol=1e-12)


def test_values_have_the_shape_and_dtype_of_the_scores():
    for dtype in (torch.float32, torch.float64):
        one = deepshap.attribute(lambda x: x.prod(dim=1), X.to(dtype), B.to(dtype))
        two = deepshap.attribute(lambda x: x[:, :2] ** 2, X.to(dtype), B.to(dtype))
        assert (one.shape, two.shape, one.dtype, two.dtype) == ((5, 6), (5, 6, 2), dtype, dtype)
    np.testing.assert_allclose(two[:, 1, 1], (X[:, 1:2] ** 2 - B[:, 1] ** 2).mean(dim=1), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(two[:, 0, 1], 0)


def test_a_constant_score_has_the_values_zero():
    np.testing.assert_array_equal(deepshap.attribute(lambda x: torch.ones(len(x), 2).double(), X, B), 0)


@pytest.mark.parametrize("backend", ["deep", "gradient"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(backend, dtype):
    model = cases.build(cases.Question, dtype=dtype)
    before = [parameter.clone() for parameter in model.parameters()]
    got = Explainer(model, B, backend=backend)(X)
    want = Explainer(copy.deepcopy(model).float(), B, backend=backend)(X)
    np.testing.assert_array_equal(got.values, want.values)
    assert got.values.dtype == np.float32
    assert all(map(torch.equal, before, model.parameters()))
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


@pytest.mark.parametrize("block", [1, 100, 1000, 2**20])
@pytest.mark.parametrize("replayed", [1, 2000, 2**20])
@pytest.mark.parametrize("name", ["U-shaped with cat", "nn.TransformerEncoderLayer", "max and min over features"])
def test_the_size_of_the_blocks_makes_no_difference(block, replayed, name, monkeypatch):
    model, rows, background = cases.build(ZOO[name]), *(torch.tensor(cases.table(n, D, seed=n)) for n in (3, 4))
    want = deepshap.DeepShap(model, background).attribute(rows)
    monkeypatch.setattr(backward, "BLOCK_BYTES", block)
    monkeypatch.setattr("shapae.deepshap.recording.REPLAY_BYTES", replayed)
    got = deepshap.DeepShap(model, background).attribute(rows)
    assert got.count == want.count
    np.testing.assert_allclose(got.mean, want.mean, rtol=0, atol=1e-13)
    np.testing.assert_allclose(got.sum_of_squares, want.sum_of_squares, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "d"), [(ZOO["mixture of experts"], D), (ZOO["GRU over features"], D), (cases.Question, cases.D)]
)
def test_no_block_has_more_pairs_than_fit(make, d, monkeypatch):
    """The sizes of the multipliers of the features are measured."""
    model = cases.build(make)
    rows, background = (torch.tensor(cases.table(n, d, seed=n)) for n in (9, 13))
    multipliers, block = [], 20 * 8 * (8 if make is cases.Question else 64)
    function = error(model) if make is cases.Question else model  # not contracted
    monkeypatch.setattr(backward, "BLOCK_BYTES", block)
    sum_terms = backward.sum_terms
    monkeypatch.setattr(backward, "sum_terms", lambda terms: (multipliers.append(sum_terms(terms)), multipliers[-1])[1])
    deepshap.DeepShap(function, background).attribute(rows)
    assert len(multipliers) > 1
    assert max(term.nbytes for term in multipliers) <= block


ELEMENTWISE = {
    "hypot": lambda u, v: torch.hypot(u, v),
    "maximum": lambda u, v: torch.maximum(u, v),
    "atan2": lambda u, v: torch.atan2(u, v),
    "erfcx": lambda u, v: torch.special.erfcx(u) * v,
    "tanh": lambda u, v: u.tanh() * v,
}


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_pairs_that_nearly_coincide_have_the_same_values_alone_and_in_a_batch(kind):
    """The arguments of the function nearly coincide at 1.x, while their summands differ a lot and cancel."""
    rows, background = X[:3].clone(), B[:4].clone()
    for table, size in ((rows, 1e-9), (background, 1e-10)):
        table[:, 0] = 1 - table[:, 1:3].sum(dim=1) + size * torch.arange(len(table))

    def function(x):
        return ELEMENTWISE[kind](x[:, :3].sum(dim=1), x[:, 3:].sum(dim=1))

    together = deepshap.attribute(function, rows, background)
    alone = [[deepshap.attribute(function, row[None], other[None]) for other in background] for row in rows]
    want = torch.cat([torch.stack(pairs).mean(dim=0) for pairs in alone])
    np.testing.assert_allclose(together, want, rtol=0, atol=1e-7)


def test_one_row_against_one_background_row():
    model = cases.build(cases.Question)
    values = deepshap.attribute(error(model), X[:1], B[:1])
    with torch.no_grad():
        np.testing.assert_allclose(values.sum(dim=1), error(model)(X[:1]) - error(model)(B[:1]), rtol=0, atol=1e-14)


def test_standard_errors_are_those_of_the_mean_over_the_background():
    model = cases.build(cases.Question)
    pairs = np.stack([Explainer(model, b[None], backend="deep")(X).values for b in B])
    got = Explainer(model, B, backend="deep")(X)
    np.testing.assert_allclose(got.values, pairs.mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.standard_errors, pairs.std(axis=0, ddof=1) / np.sqrt(len(B)), rtol=0, atol=1e-14)


def test_intervals_cover_the_truth_of_a_linear_autoencoder():
    """Over a normal background, E (x_i - b_i) [Q (x + b) + q]_i = x_i (Q x + q)_i - Q_ii."""
    model = cases.build(cases.Linear)
    weight = (model.decoder.weight @ model.encoder.weight).detach().numpy()
    offset = (model.decoder.weight @ model.encoder.bias + model.decoder.bias).detach().numpy()
    a, x = weight - np.eye(6), X.numpy()
    q, linear = a.T @ a / 6, 2 * a.T @ offset / 6
    truth = x * (x @ q + linear) - np.diag(q)
    covered = []
    for seed in range(400):
        moments = deepshap.DeepShap(error(model), torch.tensor(cases.table(200, seed=1000 + seed))).attribute(X)
        covered.append(np.abs(moments.mean[..., 0] - truth) <= 1.96 * moments.standard_error[..., 0])
    assert 0.93 <= np.mean(covered) <= 0.97


def test_an_unpickled_deepshap_gives_the_same_values():
    model = cases.build(cases.Question)
    deep_shap = deepshap.DeepShap(model, B)
    want = deep_shap.attribute(X)
    unpickled = pickle.loads(pickle.dumps(deep_shap))
    np.testing.assert_array_equal(unpickled.attribute(X).mean, want.mean)
    assert {*vars(pickle.loads(pickle.dumps(deep_shap)))} == {"function", "background", "anchors", "weights"}
