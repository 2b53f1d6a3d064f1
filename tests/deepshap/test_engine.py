"""The native engine as a whole: against shap, slow multipliers, itself in other pieces; what it refuses."""

import copy
import itertools
import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from shapae import Explainer, deepshap
from shapae.deepshap import backward
from shapae.deepshap.rules import rule_for
from shapae.deepshap.rules.slopes import SLOPES
from shapae.deepshap.tracing.record import record
from shapae.errors import DataError, ModelError, ShapeError, UnsupportedOperator
from tests import cases
from tests.deepshap.zoo import ZOO, D

X, B = (torch.tensor(cases.table(n, seed=n)) for n in (5, 7))


def error(model):
    return lambda rows: ((model(rows) - rows) ** 2).mean(dim=1)


# Against others


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
@pytest.mark.parametrize("make", [cases.Question, cases.Nested, cases.Linear])
@pytest.mark.parametrize("head", ["reconstruction_error", "feature_error", "reconstruction", "latent", "latent:1"])
def test_where_shap_is_right_the_values_are_those_of_shap(dtype, precision, make, head):
    """Of shap in float64, because in float32 it is itself off by up to 5e-6 here."""
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


def test_values_of_a_function_are_in_its_shape_dtype_and_device():
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


# In other pieces


@pytest.mark.parametrize("block", [1, 100, 1000, 2**20])
@pytest.mark.parametrize("replayed", [1, 2000, 2**20])
@pytest.mark.parametrize("name", ["U-shaped with cat", "nn.TransformerEncoderLayer", "max and min over features"])
def test_the_size_of_the_blocks_makes_no_difference(block, replayed, name, monkeypatch):
    model, rows, background = cases.build(ZOO[name]), *(torch.tensor(cases.table(n, D, seed=n)) for n in (3, 4))
    want = deepshap.DeepShap(model, background).attribute(rows)
    monkeypatch.setattr(backward, "BLOCK_BYTES", block)
    monkeypatch.setattr("shapae.deepshap.engine.REPLAY_BYTES", replayed)
    got = deepshap.DeepShap(model, background).attribute(rows)
    assert got.count == want.count
    np.testing.assert_allclose(got.mean, want.mean, rtol=0, atol=1e-13)
    np.testing.assert_allclose(got.spread, want.spread, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "d"), [(ZOO["mixture of experts"], D), (ZOO["GRU over features"], D), (cases.Question, cases.D)]
)
def test_no_more_pairs_than_fit_are_walked_over_at_once(make, d, monkeypatch):
    """Seen in the multipliers of the features."""
    model = cases.build(make)
    rows, background = (torch.tensor(cases.table(n, d, seed=n)) for n in (9, 13))
    widest, block = [], 20 * 8 * (8 if make is cases.Question else 64)
    function = error(model) if make is cases.Question else model  # not folded
    monkeypatch.setattr(backward, "BLOCK_BYTES", block)
    sum_terms = backward.sum_terms
    monkeypatch.setattr(backward, "sum_terms", lambda terms: (widest.append(sum_terms(terms)), widest[-1])[1])
    deepshap.DeepShap(function, background).attribute(rows)
    assert len(widest) > 1
    assert max(term.nbytes for term in widest) <= block


ELEMENTWISE = {
    "hypot": lambda u, v: torch.hypot(u, v),
    "maximum": lambda u, v: torch.maximum(u, v),
    "atan2": lambda u, v: torch.atan2(u, v),
    "erfcx": lambda u, v: torch.special.erfcx(u) * v,
    "tanh": lambda u, v: u.tanh() * v,
}


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_pairs_that_nearly_coincide_have_the_same_values_alone_and_among_others(kind):
    """The sums 1.x that go into the function nearly coincide, while the features differ a lot and cancel."""
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


def test_standard_errors_are_those_of_a_mean_over_the_pairs():
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
        found = deepshap.DeepShap(error(model), torch.tensor(cases.table(200, seed=1000 + seed))).attribute(X)
        covered.append(np.abs(found.mean[..., 0] - truth) <= 1.96 * found.standard_error[..., 0])
    assert 0.93 <= np.mean(covered) <= 0.97


# What it refuses


class Sorted(nn.Module):
    def forward(self, rows):
        return rows.sort(dim=1).values.cummax(dim=1).values


def test_all_operators_without_a_rule_are_named_with_their_modules_and_a_backend_that_needs_none():
    model = nn.Sequential(nn.Linear(6, 6), Sorted(), nn.Sequential(Sorted())).double()
    message = (
        r"^the model runs operators without an attribution rule: aten\.sort\.default in Sequential\.1, "
        r"aten\.cummax\.default in Sequential\.1, aten\.sort\.default in Sequential\.2\.0, "
        r"aten\.cummax\.default in Sequential\.2\.0\. Add them to shapae/deepshap/rules .*use backend='gradient'"
    )
    with pytest.raises(UnsupportedOperator, match=message):
        deepshap.attribute(model, X, B)


def test_an_operator_without_a_rule_that_nothing_depends_on_is_none_of_our_business():
    def function(rows):
        rows.sort(dim=1)
        return rows.sum(dim=1)

    np.testing.assert_allclose(deepshap.attribute(function, X, B), X - B.mean(dim=0), rtol=0, atol=1e-14)


class Deciding(nn.Module):
    def forward(self, rows):
        return torch.stack([row.sum() if row[0] > 0 else (row**2).sum() for row in rows])


def test_a_function_that_decides_by_the_values_of_a_row_is_refused_with_the_place():
    assert len({bool(row[0] > 0) for row in X}) == 2
    message = r"do not reproduce the scores of \d other rows, first row \d: Deciding reads (True|False) from a row\. "
    with pytest.raises(ModelError, match=message):
        deepshap.attribute(Deciding(), X, B)
    same = X[:, 0] > 0
    values = deepshap.attribute(Deciding(), X[same], B[B[:, 0] > 0])
    np.testing.assert_allclose(values, X[same] - B[B[:, 0] > 0].mean(dim=0), rtol=0, atol=1e-14)


BAD = {
    "rows mixed": (
        lambda x: (x - x.mean(dim=0)).square().sum(dim=1),
        ModelError,
        "random, mixes rows, or computes outside",
    ),
    "random": (lambda x: (x + torch.randn_like(x)).sum(dim=1), ModelError, "random, mixes rows, or computes outside"),
    "hidden writing": (
        lambda x: F.batch_norm(x.view(-1, 2, 3), *torch.eye(2).double(), training=True).sum((1, 2)),
        UnsupportedOperator,
        r"aten\.\w*batch_norm\w*\.\w+ in the function",
    ),
    "three axes": (
        lambda x: x[:, None, None],
        ShapeError,
        r"floating point scores \(1,\) or \(1, k\), got \(1, 1, 1, 6\)",
    ),
    "no scores": (lambda x: x[:, :0], ShapeError, r"floating point scores \(1,\) or \(1, k\), got \(1, 0\)"),
    "truth values": (lambda x: x[:, 0] > 0, ShapeError, r"floating point scores .* got \(1,\) of torch\.bool"),
    "jumps": (
        lambda x: x.argmax(dim=1) * x[:, 0],
        ModelError,
        r"aten\.argmax\.default in the function returns different values",
    ),
    "hidden by a mask": (
        lambda x: (x[:, :2] + torch.tensor([0, -torch.inf])).softmax(1)[:, 0] + (x / x.norm().item()).sum(1),
        ModelError,
        r"the function reads \d.\d+ from a row\.",
    ),
    "no tensor": (lambda x: [1.0], ShapeError, r"floating point scores \(1,\) or \(1, k\), got list"),
    "overflow between": (
        lambda x: torch.where(x > 0, x.log(), 0).sum(dim=1),
        ModelError,
        r"multipliers of aten\.\w+\.\w+ in the function are not\. .*use backend='gradient'",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_functions_that_can_not_be_attributed_are_refused(kind):
    function, kind_of_error, message = BAD[kind]
    with pytest.raises(kind_of_error, match=message):
        deepshap.attribute(function, X, B)


def test_a_product_of_affine_maps_that_overflows_is_named_too():
    """Multipliers of 1e38 times 1e5, for features of 1e-36."""
    wide, back = torch.full((6, 12), 1e5), torch.full((12, 6), 1 / 12)

    def function(rows):
        return torch.relu(rows @ wide @ back).sum(dim=1) * 1e38

    rows, background = (torch.rand(n, 6) * 1e-36 for n in (200, 200))
    with pytest.raises(ModelError, match=r"multipliers of an affine map in the function are not"):
        deepshap.attribute(function, rows, background)


def test_one_large_score_does_not_hide_that_others_differ():
    def function(rows):
        return rows[:, 0] * 1e6 + torch.stack([row[1] if row[1] > 0 else -5 * row[1] for row in rows])

    rows = torch.tensor([[1e4, 1.0], [1.0, -1.0]]).double()
    with pytest.raises(ModelError, match="of 1 other rows, first row 1: the function reads True"):
        deepshap.attribute(function, rows, torch.tensor([[0.0, 0.3]]).double())


def test_scores_that_cancel_to_rounding_are_not_taken_for_mixed_rows():
    rows = torch.linspace(-8, 8, 100_001)[None]
    values = deepshap.attribute(lambda x: F.softsign(x).sum(dim=1), rows, rows + 1)
    np.testing.assert_allclose(values, F.softsign(rows) - F.softsign(rows + 1), rtol=0, atol=1e-6)


class Writing(nn.Module):
    """Writes into its input, past autograd and not."""

    def __init__(self, aside):
        super().__init__()
        self.linear, self.aside = nn.Linear(6, 6), aside

    def forward(self, rows):
        rows = rows if self.aside is None else self.aside(rows)
        rows.detach().clamp_(min=-0.5)
        rows[:, 0] = 0
        rows.data[:, 1] *= 2
        return self.linear(rows.relu_())


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_a_model_that_writes_into_its_input_changes_neither_values_nor_tables(backend):
    plain, writing = (cases.build(Writing, aside) for aside in (torch.clone, None))
    rows, background = X.clone(), B.clone()
    want, got = (
        Explainer(model, background, head="reconstruction", backend=backend)(rows) for model in (plain, writing)
    )
    for name in ("values", "base_values", "data"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    assert torch.equal(rows, X)
    assert torch.equal(background, B)
    deepshap.attribute(writing, rows, background)
    assert torch.equal(rows, X)


class Counting(nn.Module):
    """Keeps its last row in a buffer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.register_buffer("last", torch.zeros(6))

    def forward(self, rows):
        self.last.copy_(self.linear(rows)[-1])
        return self.linear(rows)


@pytest.mark.parametrize("backend", ["deep", "gradient"])
def test_buffers_that_a_model_writes_keep_no_graph(backend):
    model = cases.build(Counting)
    Explainer(model, B, backend=backend)(X)
    assert model.last.grad_fn is None
    copy.deepcopy(model)


CASTS = {
    "up and down": lambda x: (x.double() @ torch.ones(6, 2).double()).tanh().float(),
    "half": lambda x: (x.bfloat16() @ torch.ones(6, 2).bfloat16()).float(),
    "two of the row": lambda x: torch.einsum("ni,nj->n", x.double(), x.double().exp()).float(),
    "convolution": lambda x: F.conv1d(x[:, None].double(), torch.ones(2, 1, 3).double()).square().sum((1, 2)).float(),
    "linear": lambda x: F.linear(x.double(), torch.ones(3, 6).double(), torch.ones(3).double()).relu().float(),
}


@pytest.mark.parametrize("kind", CASTS)
def test_functions_that_change_the_dtype_on_their_way_add_up(kind):
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
def test_elementwise_operators_with_a_wider_constant_give_each_feature_its_rise(kind):
    weights = torch.arange(1.0, 7.0)[:, None].double()
    values = deepshap.attribute(lambda x: (BROADCAST[kind](x) * weights).sum((1, 2)), X, B)
    rises = (BROADCAST[kind](X) * weights).sum(dim=2), (BROADCAST[kind](B) * weights).sum(dim=2)
    np.testing.assert_allclose(values, rises[0] - rises[1].mean(dim=0), rtol=0, atol=1e-12)


def test_a_pair_that_coincides_before_a_wider_constant_has_the_derivative():
    rows, background = torch.tensor([[1.0, 0.5]]).double(), torch.tensor([[0.5, 1.0]]).double()
    constants = torch.linspace(0.5, 2, 5).double()

    def function(x):
        return torch.atan2(x.sum(dim=1)[..., None], constants).sum(dim=1)

    slope = (constants / (1.5**2 + constants**2)).sum()
    np.testing.assert_allclose(deepshap.attribute(function, rows, background), slope * (rows - background), atol=1e-12)


@pytest.mark.parametrize("name", ["_prelu_kernel", "hardswish", "mish", "gelu", "celu"])
def test_activations_with_a_form_of_their_own_are_kept_whole(name):
    function = {"_prelu_kernel": lambda x: F.prelu(x, torch.ones(1).double())}.get(name) or getattr(F, name)
    tape = record(lambda x: function(x).sum(dim=1), X[0], lambda op, kinds: rule_for(op, kinds) is not None)
    assert name in [step.name for step in tape.steps]
    assert name in SLOPES


def test_an_infinite_derivative_is_not_taken():
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


@pytest.mark.parametrize(
    ("rows", "background", "message"),
    [
        (X[0], B, r"got \(6,\) and \(7, 6\)"),
        (X, B[:, :5], r"got \(5, 6\) and \(7, 5\)"),
        (X[:0], B, r"got \(0, 6\) and \(7, 6\)"),
        (X.float(), B, r"both be float32 or both float64, got torch\.float32 and torch\.float64\. Use \.float\(\)"),
        (X.bfloat16(), B.bfloat16(), r"got torch\.bfloat16 and torch\.bfloat16"),
        (X.long(), B.long(), r"got torch\.int64 and torch\.int64"),
        (X.masked_fill(X == X[2, 3], torch.nan), B, r"^rows must be finite; 1 of 5 rows hold NaN .*, first row 2\."),
        (X, B / 0, r"^background must be finite; 7 of 7 rows hold NaN or infinity, first row 0\. Remove or impute"),
    ],
)
def test_tables_that_do_not_fit_are_refused(rows, background, message):
    with pytest.raises(DataError, match=message):
        deepshap.attribute(lambda x: x.sum(dim=1), rows, background)


# What it leaves alone


class Stopping(TorchDispatchMode):
    """Stops whatever runs at the n-th operator."""

    def __init__(self, n):
        super().__init__()
        self.left = n

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return op(*args, **(kwargs or {}))


def operators(explain):
    with Stopping(0) as counting:
        explain()
    return -counting.left


@pytest.mark.parametrize(
    ("make", "every"), [(cases.Question, 1), (ZOO["BatchNorm1d"], 5), (ZOO["in-place modules"], 5)]
)
def test_the_model_comes_back_as_it_went_in_whichever_operator_is_interrupted(make, every):
    model = cases.build(make).train()
    d = next(each.in_features for each in model.modules() if isinstance(each, nn.Linear))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    rows, background = cases.table(2, d, seed=1), cases.table(3, d, seed=2)
    explainer = Explainer(model, background)
    total = operators(lambda: explainer(rows))
    before, around = cases.snapshot(model), cases.world()
    assert total > 100
    for n in range(1, total + 1, every):
        with pytest.raises(KeyboardInterrupt), Stopping(n):
            explainer(rows)
        assert cases.snapshot(model) == before
    assert cases.world() == around
    explainer(rows)


class Keeping(nn.Module):
    """Keeps its latents, sorted or not."""

    def __init__(self, ordered):
        super().__init__()
        self.ordered = ordered

    def forward(self, rows):
        self.latents = 2 * rows
        return (self.latents.sort(dim=1).values if self.ordered else self.latents)[:, 0]


@pytest.mark.parametrize("ordered", [False, True])
def test_what_a_model_keeps_of_its_last_run_can_be_used_also_after_a_refusal(ordered):
    model = Keeping(ordered)
    with pytest.raises(UnsupportedOperator, match="sort") if ordered else nullcontext():
        deepshap.attribute(model, X, B)
    np.testing.assert_array_equal(np.unique(copy.deepcopy(model.latents)), np.unique(2 * (B[:1] if ordered else X[:1])))


def test_threads_can_share_a_model():
    model = cases.build(cases.Question)
    want, got = deepshap.attribute(error(model), X, B), {}

    def run(number):
        got[number] = deepshap.attribute(error(model), X, B)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_array_equal(got[number], want)


# Weights

WEIGHTED = {
    "one output, pair by pair": lambda net: lambda x: (net(x) - x).square().mean(dim=1),
    "all outputs, folded": lambda net: net,
}


@pytest.mark.parametrize("kind", WEIGHTED)
def test_values_are_averages_by_weight_over_the_background(kind):
    function = WEIGHTED[kind](cases.build(cases.Question))
    rows, background = torch.tensor(cases.table(5, seed=1)), torch.tensor(cases.table(7, seed=2))
    weights = torch.tensor(np.random.default_rng(0).uniform(0.5, 2, 7))
    each = [deepshap.attribute(function, rows, other[None]) for other in background]
    want = sum(weight * values for weight, values in zip(weights, each, strict=True)) / weights.sum()
    torch.testing.assert_close(
        deepshap.attribute(function, rows, background, weights=weights), want, rtol=0, atol=1e-12
    )


def test_parts_of_a_weighted_background_merge_by_the_sums_of_their_weights():
    model, rows = cases.build(cases.Question), torch.tensor(cases.table(5, seed=1))
    background, weights = torch.tensor(cases.table(7, seed=2)), torch.tensor([1.0, 2, 3, 0.5, 1, 4, 0.1]).double()
    whole = deepshap.DeepShap(model, background, weights=weights).attribute(rows)
    parts = [
        deepshap.DeepShap(model, background[part], weights=weights[part]).attribute(rows)
        for part in (slice(0, 2), slice(2, 7))
    ]
    np.testing.assert_allclose((parts[0] + parts[1]).mean, whole.mean, rtol=0, atol=1e-12)
    assert whole.standard_error is None
