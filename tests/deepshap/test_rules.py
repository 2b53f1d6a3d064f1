"""The rules of the native engine against Jacobians, Shapley values by enumeration, and laws."""

import warnings
from itertools import permutations
from math import factorial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from shapae.deepshap import attribute
from shapae.deepshap.rules.terms import vmap_leading
from shapae.errors import UnsupportedOperator
from tests import cases

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@pytest.fixture(autouse=True)
def _one_by_one():
    """Torch says so where it has no vectorised form of an operator."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield


def tensor(n, d, seed=0, scale=1.0, dtype=torch.float64):
    return torch.tensor(cases.table(n, d, seed) * scale, dtype=dtype)


def positive(n, d, seed=0):
    return torch.tensor(np.random.default_rng(seed).uniform(0.1, 2, size=(n, d)))


def flat(function):
    """``function`` as a vector of scores for each row."""
    return lambda rows: function(rows).reshape(len(rows), -1)


def run(function, rows):
    with torch.no_grad():
        return function(rows).to(rows.dtype)


def near(got, want, precision=1e-10):
    np.testing.assert_allclose(got, want, rtol=0, atol=precision * max(1e-300, np.abs(np.asarray(want)).max()))


def assert_additive(function, x, b, precision=1e-10):
    near(attribute(function, x, b).sum(1), run(function, x) - run(function, b).mean(0), precision)


def test_what_is_carried_has_only_the_axes_that_it_depends_on():
    m, of_row, of_background = (torch.tensor(cases.table(n, 6, seed=n)) for n in (1, 3, 4))
    given = m[None, None], of_row[None, :, None], of_background[None, None]
    both, one, other, none = vmap_leading(lambda m, x, b: (m * x * b, m * x, m * b, 2 * m), *given)
    assert [tuple(each.shape[:3]) for each in (both, one, other, none)] == [(1, 3, 4), (1, 3, 1), (1, 1, 4), (1, 1, 1)]
    wanted = m * of_row[:, None] * of_background, (m * of_row)[:, None], m * of_background
    for got, want in zip((both, one, other), wanted, strict=True):
        near(got[0], want.reshape(got[0].shape))
    near(none.flatten(), 2 * m.flatten())


# Two players: see ``two_player_values``.

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
        of_a = value(a, c0) - value(a0, c0) + value(a, c) - value(a0, c)
        of_c = value(a0, c) - value(a0, c0) + value(a, c) - value(a, c0)
        want.append([of_a.mean() / 2, of_c.mean() / 2])
    return np.array(want)


@pytest.mark.parametrize("name", [name for name in TWO if name not in ("copysign", "heaviside")])
def test_a_function_of_two_features_gives_them_their_shapley_values(name):
    f, x, b = TWO[name], positive(6, 2, 1), positive(9, 2, 2)
    x[0, 0], x[1, 1] = b[0, 0], b[1, 1]  # and pairs of which one feature is the same
    want = two_player_values(f, x, b)
    assert (want != 0).any(axis=0).all()
    near(attribute(lambda rows: f(rows[:, 0], rows[:, 1]).to(rows.dtype), x, b), want)


SIGNED = ["a * b", "a / b", "maximum", "minimum", "atan2", "hypot", "logaddexp", "amax", "amin", "remainder", "fmod"]
SIGNED += ["copysign", "heaviside"]


@pytest.mark.parametrize("name", SIGNED)
def test_negative_features_have_their_shapley_values_too(name):
    f, x, b = TWO[name], tensor(6, 2, 1), tensor(9, 2, 2)
    near(attribute(lambda rows: f(rows[:, 0], rows[:, 1]), x, b), two_player_values(f, x, b))


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
    """As DeepLIFT: what is exact for each operator is an approximation for all of them."""
    f, x, b = CHAINS[name], positive(6, 2, 1), positive(9, 2, 2)
    assert_additive(lambda rows: f(rows[:, 0], rows[:, 1]), x, b)
    values = attribute(lambda rows: f(rows[:, 0], rows[:, 1]), x, b)
    assert np.abs(values.numpy() - two_player_values(f, x, b)).max() > 1e-3


# The largest value.


def shapley_of_largest(x, b):
    """Shapley values of max, as a mean over all orders: for one row and one background row (d,)."""
    values = np.zeros(len(x))
    for order in permutations(range(len(x))):
        now = np.array(b)
        for player in order:
            before = now.max()
            now[player] = x[player]
            values[player] += now.max() - before
    return values / factorial(len(x))


@settings(max_examples=60)
@given(st.data())
def test_the_largest_value_has_its_shapley_values(data):
    d = data.draw(st.integers(1, 6))
    numbers = st.one_of(st.integers(-2, 2).map(float), st.floats(-3, 3).map(lambda v: round(v, 3)))
    x, b = (np.array(data.draw(st.lists(numbers, min_size=d, max_size=d))) for _ in range(2))
    got = attribute(lambda rows: rows.amax(1), torch.tensor(x)[None], torch.tensor(b)[None])[0]
    np.testing.assert_allclose(got, shapley_of_largest(x, b), rtol=0, atol=1e-12)


def test_the_largest_of_seven_values_with_ties_has_its_shapley_values():
    x, b = np.array([1, 2, 2, -1, 0.5, 3, 3]), np.array([2, 2, 1, -1, 3, 0.1, 2.5])
    got = attribute(lambda rows: rows.amax(1), torch.tensor(x)[None], torch.tensor(b)[None])[0]
    np.testing.assert_allclose(got, shapley_of_largest(x, b), rtol=0, atol=1e-12)


def windowed(windows, x, b):
    """Shapley values of the largest value of each window (a list of columns): (n, d, windows)."""
    want = np.zeros((len(x), x.shape[1], len(windows)))
    for k, columns in enumerate(windows):
        for i, row in enumerate(x.numpy()):
            for base in b.numpy():
                want[i, columns, k] += shapley_of_largest(row[columns], base[columns]) / len(b)
    return want


PLANE = np.arange(12).reshape(3, 4)
LARGEST = {
    "last axis": (lambda x: x.view(-1, 3, 4).amax(2), list(PLANE)),
    "middle axis": (lambda x: x.view(-1, 3, 4).amax(1), list(PLANE.T)),
    "kept": (lambda x: x.view(-1, 3, 4).amax(-2, keepdim=True), list(PLANE.T)),
    "two axes": (
        lambda x: x.view(-1, 2, 3, 2).amax((1, 3)),
        [[2 * j, 2 * j + 1, 6 + 2 * j, 7 + 2 * j] for j in range(3)],
    ),
    "two axes, kept": (
        lambda x: x.view(-1, 3, 2, 2).amax((3, 1), keepdim=True),
        [[2 * j + 4 * i + k for i in range(3) for k in range(2)] for j in range(2)],
    ),
    "max": (lambda x: x.view(-1, 3, 4).max(1).values, list(PLANE.T)),
    "max, kept": (lambda x: x.view(-1, 3, 4).max(2, keepdim=True)[0], list(PLANE)),
    "max_pool1d": (lambda x: F.max_pool1d(x.view(-1, 3, 4), 2), [[i, i + 1] for i in range(0, 12, 2)]),
    "max_pool1d, stride": (
        lambda x: F.max_pool1d(x[:, None], 3, 2, 1),
        [[j for j in range(i - 1, i + 2) if 0 <= j < 12] for i in range(0, 12, 2)],
    ),
    "max_pool1d, dilation": (lambda x: F.max_pool1d(x[:, None], 3, 1, 0, 2), [[i, i + 2, i + 4] for i in range(8)]),
    "max_pool2d": (
        lambda x: F.max_pool2d(x.view(-1, 1, 3, 4), 2, 1),
        [PLANE[i : i + 2, j : j + 2].ravel() for i in range(2) for j in range(3)],
    ),
    "max_pool2d, padding": (
        lambda x: F.max_pool2d(x.view(-1, 3, 4), (2, 3), (1, 2), (1, 1)),
        [PLANE[max(0, i) : i + 2, max(0, j) : j + 3].ravel() for i in range(-1, 3) for j in (-1, 1)],
    ),
    "max_pool2d, dilation": (
        lambda x: F.max_pool2d(x.view(-1, 1, 3, 4), 2, 1, 0, (2, 3)),
        [PLANE[::2, ::3].ravel()],
    ),
    "module": (nn.Sequential(nn.Unflatten(1, (3, 4)), nn.MaxPool1d(4)), list(PLANE)),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_along_axes_and_in_windows_has_its_shapley_values(name):
    function, windows = LARGEST[name]
    x, b = tensor(2, 12, 1).round(decimals=1), tensor(2, 12, 2).round(decimals=1)
    np.testing.assert_allclose(attribute(flat(function), x, b), windowed(windows, x, b), rtol=0, atol=1e-12)


def test_a_float32_maximum_is_precise_to_float32():
    x, b = tensor(20, 30, 1), tensor(10, 30, 2)
    want = attribute(lambda rows: rows.amax(1), x, b)
    near(attribute(lambda rows: rows.amax(1), x.float(), b.float()), want, 1e-5)


@pytest.mark.parametrize("gap", [0, 2e-7, 1e-6, 1e-4])
def test_where_a_pair_of_the_largest_nearly_coincides_its_slope_is_one(gap):
    """The features 5 and -5 cancel before the maximum, whose first value is the largest in any case."""
    x = torch.tensor([[5, -5, 1.5 + gap, -1.0, 1.2]])
    b = torch.tensor([[-3, 3, 1.5, 0.3, -2.3]])
    values = attribute(lambda rows: torch.cat([rows[:, :3].sum(1, keepdim=True), rows[:, 3:]], 1).amax(1), x, b)
    np.testing.assert_allclose(values[:, 0] / 8, 1, rtol=1e-4)


@pytest.mark.parametrize("gap", [0, 1e-13, 1e-12])
@pytest.mark.parametrize("name", ["maximum", "hypot", "atan2", "logaddexp", "a ** b"])
def test_where_one_of_two_nearly_coincides_its_slope_is_the_derivative(name, gap):
    f = TWO[name]
    x, b = torch.tensor([[5, -5, 1.5 + gap, 0.7]]).double(), torch.tensor([[-3, 3, 1.5, 1.1]]).double()
    places = torch.full((2,), 1.5, dtype=torch.float64, requires_grad=True)
    want = torch.autograd.grad(f(places, torch.tensor([0.7, 1.1]).double()).sum(), places)[0].mean()
    values = attribute(lambda rows: f(rows[:, :3].sum(1), rows[:, 3]), x, b)
    np.testing.assert_allclose(values[0, 0] / 8, want, rtol=1e-4)


# Linear operators of a row (12,).

W, CUBE, KERNEL = tensor(7, 12, 1), tensor(3, 16, 2).view(3, 4, 4), tensor(4, 9, 3).view(4, 3, 3)
KERNEL2, KERNEL3 = tensor(5, 8, 4).view(5, 2, 2, 2), tensor(2, 8, 5).view(2, 1, 2, 2, 2)
HERE = torch.tensor([3, 0, 0, 11, 5])
PLACES = torch.randint(0, 4, (3, 6), generator=torch.Generator().manual_seed(0))
EVEN = torch.arange(12) % 2 == 0


def square(x):
    return x.view(-1, 3, 4)


def image(x):
    return x.view(-1, 1, 3, 4)


def channels(x):
    return x.view(-1, 2, 2, 3)


def volume(x):
    return x.view(-1, 1, 2, 2, 3)


def each(function):
    return torch.vmap(function)


def zeros(x, d):
    return torch.zeros(len(x), d, dtype=x.dtype)


def same(x, value):
    return value.expand(len(x), *value.shape)


def written(x):
    out = torch.zeros_like(x)
    out[:, ::2] = 3 * x[:, 1::2]
    out[:, 3:5] += x[:, :2]
    return out


LINEAR = {
    "view": square,
    "reshape": lambda x: x.t().reshape(3, 4, -1).permute(2, 1, 0),
    "unflatten": lambda x: x.unflatten(1, (3, 4)),
    "permute": lambda x: square(x).permute(0, 2, 1),
    "movedim": lambda x: square(x).movedim(1, 2),
    "mT": lambda x: square(x).mT,
    "rows last": lambda x: square(x).permute(1, 2, 0).reshape(12, -1).T,
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1),
    "cat": lambda x: torch.cat([x, 2 * x.flip(1), same(x, W[0])], 1),
    "hstack": lambda x: torch.hstack([x, x]),
    "column_stack": lambda x: torch.column_stack([x[:, 0], x[:, 3]]),
    "dstack": lambda x: torch.dstack([square(x), square(x)]),
    "stack": lambda x: torch.stack([x, -x], 2),
    "split": lambda x: sum(i * part for i, part in enumerate(torch.split(x, 3, 1))),
    "split by sizes": lambda x: torch.split(x, [2, 4, 6], 1)[2],
    "chunk": lambda x: torch.chunk(x, 5, 1)[1],
    "tensor_split": lambda x: torch.tensor_split(x, 5, dim=1)[0],
    "unbind": lambda x: sum(i * part for i, part in enumerate(square(x).unbind(1))),
    "unbound rows": lambda x: torch.stack([row * 2 for row in x]),
    "index": lambda x: x[:, HERE],
    "index by lists": lambda x: square(x)[:, [0, 2], [1, 3]],
    "index by a mask": lambda x: x[:, EVEN],
    "new axis": lambda x: x[:, None, HERE],
    "slice": lambda x: x[:, 1:10:3],
    "ellipsis": lambda x: x[..., -1:],
    "rows and slice": lambda x: x[torch.arange(len(x)), 3:5],
    "gather": lambda x: torch.gather(square(x), 2, same(x, PLACES)),
    "take_along_dim": lambda x: torch.take_along_dim(square(x), same(x, PLACES), 2),
    "index_select": lambda x: x.index_select(1, HERE),
    "triangle": lambda x: square(x)[:, *torch.triu_indices(3, 4)],
    "embedding": lambda x: F.embedding(HERE, x.T).T,
    "narrow": lambda x: x.narrow(1, 2, 5),
    "flip": lambda x: square(x).flip(1, 2),
    "roll": lambda x: torch.roll(square(x), (1, 2), (1, 2)),
    "rot90": lambda x: torch.rot90(square(x), 1, (1, 2)),
    "cumsum": lambda x: x.cumsum(1),
    "diff": lambda x: x.diff(n=2, dim=1),
    "trapezoid": lambda x: torch.trapezoid(x, dim=1),
    "sum": lambda x: square(x).sum(2),
    "mean": lambda x: square(x).mean((1, 2), keepdim=True),
    "trace": lambda x: each(torch.trace)(square(x)),
    "pad": lambda x: F.pad(square(x), (1, 2, 0, 1), value=3.0),
    "cropped": lambda x: F.pad(x, (-1, 2)),
    **{
        f"pad, {mode}, {shape.__name__}": lambda x, mode=mode, shape=shape, sizes=sizes: F.pad(
            shape(x), sizes, mode=mode
        )
        for mode in ("reflect", "replicate", "circular")
        for shape, sizes in ((square, (2, 1)), (image, (2, 1, 1, 2)), (volume, (2, 1, 1, 1, 0, 1)))
    },
    "unfold": lambda x: F.unfold(image(x), (2, 2), dilation=1, padding=1, stride=2),
    "fold": lambda x: F.fold(x.view(-1, 4, 3), (2, 4), (2, 2)),
    "as_strided": lambda x: each(lambda row: row.as_strided((3, 2), (2, 1)))(x),
    "linear": lambda x: F.linear(x, W, W[:, 0]),
    "matmul": lambda x: x @ W.T,
    "addmm": lambda x: torch.addmm(W[:, 0], x, W.T, beta=0.5, alpha=2.0),
    "matmul from the left": lambda x: W[:, :3] @ square(x),
    "bmm": lambda x: torch.bmm(square(x), same(x, CUBE[0])),
    "baddbmm": lambda x: torch.baddbmm(square(x)[:, :, :1], square(x), same(x, CUBE[0]), beta=2, alpha=3),
    "mv": lambda x: torch.mv(x, W[0]),
    "einsum": lambda x: torch.einsum("nij,kjl->nikl", square(x), CUBE),
    "einsum, elementwise": lambda x: torch.einsum("nij,ij->ni", square(x), CUBE[0, :3]),
    "tensordot": lambda x: torch.tensordot(square(x), CUBE, dims=([2], [1])),
    "inner": lambda x: torch.inner(x, W),
    "outer": lambda x: each(lambda row: torch.outer(row, W[0]))(x),
    "multi_dot": lambda x: torch.linalg.multi_dot([x, W.T, W]),
    "addmv": lambda x: each(lambda row: torch.addmv(W[:, 0], W, row))(x),
    "dot": lambda x: each(lambda row: torch.dot(row, W[0]))(x),
    "bilinear": lambda x: F.bilinear(x, same(x, W[0, :2]), CUBE.reshape(2, 12, 2)),
    "cross": lambda x: torch.linalg.cross(x.view(-1, 4, 3), same(x, W[:4, :3])),
    "conv1d": lambda x: F.conv1d(square(x), KERNEL, KERNEL[:, 0, 0], stride=2, padding=3, dilation=2),
    "conv1d, same": lambda x: F.conv1d(square(x), KERNEL, padding="same"),
    "conv1d, groups": lambda x: F.conv1d(x.view(-1, 2, 6), KERNEL[:, :1], groups=2),
    "conv2d": lambda x: F.conv2d(channels(x), KERNEL2, padding=1),
    "conv3d": lambda x: F.conv3d(volume(x), KERNEL3),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x.view(-1, 4, 3), KERNEL, stride=2, padding=1, output_padding=1),
    "conv_transpose2d": lambda x: F.conv_transpose2d(channels(x), KERNEL2[:2], stride=2),
    "conv_transpose3d": lambda x: F.conv_transpose3d(volume(x), KERNEL3[:1]),
    "circular convolution": nn.Sequential(
        nn.Unflatten(1, (3, 4)), nn.Conv1d(3, 2, 3, padding=1, padding_mode="circular")
    ).double(),
    "avg_pool1d": lambda x: F.avg_pool1d(square(x), 3, 2, 1, True, False),
    "avg_pool2d": lambda x: F.avg_pool2d(image(x), 2, 1, 1, count_include_pad=False),
    "avg_pool2d, divisor": lambda x: F.avg_pool2d(image(x), 2, 1, divisor_override=3),
    "avg_pool3d": lambda x: F.avg_pool3d(volume(x), 2),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(square(x), 3),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(image(x), (2, 3)),
    "adaptive_avg_pool2d to one": lambda x: F.adaptive_avg_pool2d(image(x), 1),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(volume(x), (2, 1, 2)),
    **{
        f"interpolate, {mode}": lambda x, mode=mode, shape=shape, size=size: F.interpolate(shape(x), size, mode=mode)
        for mode, shape, size in (
            *(("nearest", square, 7), ("nearest-exact", square, 7), ("linear", square, 7), ("area", square, 3)),
            *(("bilinear", image, (5, 7)), ("bicubic", image, (5, 7)), ("trilinear", volume, (3, 3, 3))),
        )
    },
    "interpolate, corners": lambda x: F.interpolate(image(x), (5, 7), mode="bilinear", align_corners=True),
    "interpolate, scale": lambda x: F.interpolate(image(x), scale_factor=2),
    "grid_sample": lambda x: F.grid_sample(
        image(x), same(x, CUBE[:1, :3, :2].tanh()), align_corners=False, padding_mode="border"
    ),
    "tril": lambda x: square(x).tril() + 2 * square(x).triu(1),
    "diagonal": lambda x: square(x).diagonal(dim1=1, dim2=2),
    "diag_embed": lambda x: torch.diag_embed(square(x)),
    "block_diag": lambda x: each(lambda row: torch.block_diag(row.view(3, 4), row.view(4, 3)))(x),
    "scatter": lambda x: zeros(x, 20).scatter(1, same(x, torch.arange(12) + 3), x),
    "scatter into a row": lambda x: x.scatter(1, same(x, HERE[1:]), 7.0),
    "scatter_add": lambda x: zeros(x, 20).scatter_add(1, same(x, torch.arange(12) // 2), x),
    "index_add": lambda x: zeros(x, 5).index_add(1, torch.arange(12) % 5, x, alpha=2),
    "index_copy": lambda x: x.index_copy(1, torch.tensor([2, 5]), x[:, :2]),
    "index_put": lambda x: torch.zeros_like(x).index_put(
        (torch.arange(len(x))[:, None], HERE[None]), x[:, :5], accumulate=True
    ),
    "index_fill": lambda x: x.index_fill(1, HERE, 4.0),
    "masked_fill": lambda x: x.masked_fill(EVEN, -5.0),
    "where": lambda x: torch.where(EVEN, x, 2 * x),
    "written": written,
    "select_scatter": lambda x: torch.select_scatter(square(x), x[:, :4], 1, 1),
    "slice_scatter": lambda x: torch.slice_scatter(x, x[:, :3] * 2, 1, 2, 5),
    "diagonal_scatter": lambda x: torch.diagonal_scatter(square(x), x[:, :3], 0, 1, 2),
    "repeat": lambda x: x.repeat(1, 2),
    "tile": lambda x: x.tile(2),
    "repeat_interleave": lambda x: x.repeat_interleave(torch.arange(12) % 3, 1),
    "expand": lambda x: x.unsqueeze(1).expand(-1, 3, -1),
    "broadcast": lambda x: x.unsqueeze(1) + torch.zeros(3, 1, dtype=x.dtype),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.view(-1, 4, 1, 3), 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x.view(-1, 1, 2, 6), 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x.view(-1, 4, 3), 2),
    "arithmetic": lambda x: torch.sub(1 - 3 * x, x.flip(1) / 7, alpha=3),
    "lerp": lambda x: torch.lerp(x, x.flip(1), torch.linspace(0, 1, 12, dtype=x.dtype)),
    "mask as a factor": lambda x: x * EVEN,
    "batch norm": nn.Sequential(nn.Unflatten(1, (3, 4)), nn.BatchNorm1d(3)).double().eval(),
    "batch norm as a function": lambda x: F.batch_norm(x, W[0], W[1] ** 2, W[2], W[3]),
    "dropout": nn.Dropout().eval(),
    "clone": lambda x: x.clone().contiguous(),
    "meshgrid": lambda x: each(lambda row: torch.stack(torch.meshgrid(row[:3], row[3:6], indexing="ij")))(x),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_operator_has_the_values_of_its_jacobian(name):
    function, x, b = flat(LINEAR[name]), tensor(4, 12, 6), tensor(5, 12, 7)
    jacobian = torch.func.jacrev(lambda row: function(row[None])[0])(x[0]).detach()
    near(run(function, x) - run(function, b).mean(0), (x - b.mean(0)) @ jacobian.T)
    near(attribute(function, x, b), jacobian.T * (x - b.mean(0))[:, :, None])


# Where the product of two live factors runs: quadratic forms.

BILINEAR = {
    "x @ x": lambda x: square(x) @ square(x).mT,
    "bmm": lambda x: torch.bmm(square(x), x.view(-1, 4, 3)),
    "baddbmm": lambda x: torch.baddbmm(x.view(-1, 3, 4)[:, :, :3], square(x), x.view(-1, 4, 3), beta=2, alpha=3),
    "quadratic form": lambda x: torch.einsum("ni,ij,nj->n", x, W.T @ W, x),
    "x W x": lambda x: ((x @ W.T) @ W * x).sum(1),
    "outer": lambda x: torch.einsum("ni,nj->nij", x[:, :4], x[:, 4:]),
    "einsum": lambda x: torch.einsum("nij,njk->nik", square(x), x.view(-1, 4, 3)),
    "outer, each": lambda x: each(torch.outer)(x[:, :4], x[:, 4:]),
    "dot": lambda x: torch.linalg.vecdot(x[:, :6], x[:, 6:]),
    "dot, each": lambda x: each(torch.dot)(x[:, :6], x[:, 6:]),
    "mv, each": lambda x: each(torch.mv)(x[:, :9].view(-1, 3, 3), x[:, 9:]),
    "addmv, each": lambda x: each(torch.addmv)(x[:, 3:6], x[:, :9].view(-1, 3, 3), x[:, 9:]),
    "addbmm, each": lambda x: each(lambda r: torch.addbmm(r[:4].view(2, 2), r[:8].view(2, 2, 2), r[4:].view(2, 2, 2)))(
        x
    ),
    "kron": lambda x: each(torch.kron)(x[:, :4], x[:, 4:]),
    "bilinear": lambda x: F.bilinear(x[:, :4], x[:, 4:8], CUBE),
    "convolution": lambda x: each(lambda row: F.conv1d(row[None, :8], row[8:].view(2, 1, 2)))(x),
    "squared error": lambda x: (x @ W.T @ W - x).square(),
    "squares": lambda x: x**2 + x.square() + x * x,
    "square of a sum": lambda x: x.sum(1, keepdim=True) ** 2 * 0.5,
    "cross": lambda x: torch.linalg.cross(x[:, :3], x[:, 3:6]),
    "var": lambda x: square(x).var(2),
    "complex product": lambda x: torch.stack([x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3], x[:, 0] * x[:, 3]], 1),
    "mse_loss": lambda x: each(F.mse_loss)(x[:, :6], x[:, 6:]),
    "addcmul": lambda x: torch.addcmul(x, x, x.flip(1), value=3),
    "addr": lambda x: each(lambda row: torch.addr(row[:4].view(2, 2), row[:2], row[2:4], alpha=2))(x),
    "live lerp": lambda x: torch.lerp(x[:, :4], x[:, 4:8], x[:, 8:]),
}


@pytest.mark.parametrize("name", BILINEAR)
def test_a_quadratic_form_has_the_gradient_of_the_middle_of_each_pair(name):
    function, x, b = flat(BILINEAR[name]), tensor(3, 12, 8), tensor(4, 12, 9)
    gradient = torch.func.jacrev(lambda row: function(row[None])[0])
    want = [sum(gradient((row + base) / 2).T * (row - base)[:, None] for base in b) / len(b) for row in x]
    near(attribute(function, x, b), torch.stack(want).detach())


# What torch takes apart into the operators above.


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
def test_what_is_made_of_many_operators_adds_up(name, dtype):
    x, b = tensor(9, 12, 1, dtype=dtype), tensor(11, 12, 2, dtype=dtype)
    assert_additive(composite(name, dtype), x, b, 1e-10 if dtype is torch.float64 else 1e-5)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_features_in_another_order_have_the_same_values_in_that_order(name):
    function, x, b = getattr(torch, name), tensor(4, 6, 1), tensor(5, 6, 2)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    values = attribute(lambda rows: function(rows, 1), x, b)
    moved = attribute(lambda rows: function(rows, 1), x[:, order], b[:, order])
    near(moved, values[:, order][:, :, order])


def test_logsumexp_and_the_largest_do_not_care_for_the_order_of_features():
    order, x, b = torch.tensor([3, 0, 5, 1, 4, 2]), tensor(4, 6, 1), tensor(5, 6, 2)
    for function in (lambda rows: rows.logsumexp(1), lambda rows: rows.amax(1)):
        near(attribute(function, x[:, order], b[:, order]), attribute(function, x, b)[:, order])


def test_a_layer_norm_without_weights_keeps_a_mean_of_zero():
    """The sum over its outputs is constant, so that each feature adds nothing to it."""
    values = attribute(lambda rows: F.layer_norm(rows, (6,)), tensor(4, 6, 1), tensor(5, 6, 2))
    np.testing.assert_allclose(values.sum(2), 0, atol=1e-12)


def test_layer_norm_is_written_out_in_numpy():
    """c r with c = x - mean x, v = mean c^2, r = 1 / sqrt(v + eps): products in the middle, a secant for r(v)."""
    (x,), (b,) = tensor(1, 5, 1).numpy(), tensor(1, 5, 2).numpy()
    cx, cb, eye = x - x.mean(), b - b.mean(), np.eye(5) - 1 / 5
    vx, vb = (cx**2).mean(), (cb**2).mean()
    rx, rb = (vx + 1e-5) ** -0.5, (vb + 1e-5) ** -0.5
    of_r = np.outer((cx + cb) / 5 * (rx - rb) / (vx - vb), (cx + cb) / 2)  # through r: (c, output)
    want = eye @ (of_r + np.eye(5) * (rx + rb) / 2) * (x - b)[:, None]
    got = attribute(lambda rows: F.layer_norm(rows, (5,)), torch.tensor(x)[None], torch.tensor(b)[None])[0]
    near(got, want)


@BOTH
def test_the_logsumexp_is_the_chain_of_log_sum_and_exp(dtype):
    x, b = tensor(4, 6, 1, dtype=dtype), tensor(5, 6, 2, dtype=dtype)
    want = attribute(lambda rows: rows.exp().sum(1).log(), x.double(), b.double())
    near(attribute(lambda rows: rows.logsumexp(1), x, b), want, 1e-10 if dtype is torch.float64 else 1e-5)


def test_softmax_is_exp_of_log_softmax_and_that_is_x_minus_logsumexp():
    x, b = tensor(4, 6, 1), tensor(5, 6, 2)
    logs = attribute(lambda rows: rows - rows.logsumexp(1, keepdim=True), x, b)
    near(attribute(lambda rows: rows.log_softmax(1), x, b), logs)
    near(attribute(lambda rows: rows.softmax(1), x, b), attribute(lambda rows: rows.log_softmax(1).exp(), x, b))


# Writing in place.


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
    """``steps`` on a copy of x."""
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
        lambda x: zeros(x, 20).scatter_(1, same(x, torch.arange(12) + 3), x.exp()),
        lambda x: F.pad(x.exp(), (3, 5)),
    ),
    "transpose_": (lambda x: (square(x) * 1).transpose_(1, 2).cumsum(2).exp(), lambda x: square(x).mT.cumsum(2).exp()),
    "out=": (lambda x: torch.mul(x, x.flip(1), out=torch.empty_like(x)), lambda x: x * x.flip(1)),
}
WRITING["the row itself"] = (lambda x: x.clone().relu_().add_(1).mul_(3), lambda x: (x.relu() + 1) * 3)


@pytest.mark.parametrize("name", WRITING)
def test_writing_in_place_has_the_values_of_its_functional_twin(name):
    written, twin = (flat(each) for each in WRITING[name])
    x, b = tensor(4, 12, 1), tensor(5, 12, 2)
    near(run(written, x), run(twin, x))
    near(attribute(written, x, b), attribute(twin, x, b))


# Networks at random.


class Skip(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Gate(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.first, self.second = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x):
        return self.first(x) * torch.sigmoid(self.second(x))


class Softmax(nn.Module):
    def forward(self, x):
        return torch.softmax(2 * x, 1)


class Largest(nn.Module):
    def forward(self, x):
        return torch.maximum(x, x.roll(1, 1)) + x.amax(1, keepdim=True)


LAYERS = {
    "relu": lambda d: nn.ReLU(),
    "gelu": lambda d: nn.GELU(),
    "tanh": lambda d: nn.Tanh(),
    "softplus": lambda d: nn.Softplus(),
    "norm": nn.LayerNorm,
    "softmax": lambda d: Softmax(),
    "largest": lambda d: Largest(),
    "gate": Gate,
    "skip": lambda d: Skip(nn.Sequential(nn.Linear(d, d), nn.SiLU())),
    "batch norm": nn.BatchNorm1d,
    "elu": lambda d: nn.ELU(),
}


@st.composite
def networks(draw):
    """A network of 1 to 4 layers, its number of features, and a seed."""
    d, width = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    names, seed = draw(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4)), draw(st.integers(0, 99))

    def make():
        layers = [nn.Linear(d, width)]
        for name in names:
            layers += [LAYERS[name](width), nn.Linear(width, width)]
        return nn.Sequential(*layers)

    return cases.build(make, seed=seed), d, seed


random_networks = given(networks())
few = settings(max_examples=25)


@few
@random_networks
def test_values_add_up_for_any_network(drawn):
    network, d, seed = drawn
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    rise = run(network, x) - run(network, b).mean(0)
    np.testing.assert_allclose(attribute(network, x, b).sum(1), rise, rtol=0, atol=1e-9)


@few
@random_networks
def test_a_row_has_the_same_values_alone_and_in_a_batch(drawn):
    network, d, seed = drawn
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    alone = torch.cat([attribute(network, row[None], b) for row in x])
    np.testing.assert_allclose(attribute(network, x, b), alone, rtol=0, atol=1e-9)


@few
@random_networks
def test_the_parts_of_a_background_make_up_the_whole(drawn):
    network, d, seed = drawn
    x, b = tensor(3, d, seed), tensor(7, d, seed + 1)
    first, rest = attribute(network, x, b[:2]), attribute(network, x, b[2:])
    np.testing.assert_allclose(attribute(network, x, b), (2 * first + 5 * rest) / 7, rtol=0, atol=1e-9)


@few
@random_networks
def test_a_feature_that_is_as_in_the_background_has_the_value_zero(drawn):
    network, d, seed = drawn
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    x[:, 1] = b[:, 1] = 0.7
    values = attribute(network, x, b)
    np.testing.assert_array_equal(values[:, 1], 0)
    assert (values[:, 0] != 0).any()


@few
@random_networks
def test_twin_features_have_the_same_values(drawn):
    network, d, seed = drawn
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    x[:, 1], b[:, 1] = x[:, 0], b[:, 0]
    with torch.no_grad():
        network[0].weight[:, 1] = network[0].weight[:, 0]
    values = attribute(network, x, b)
    np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=0, atol=1e-12)


@few
@random_networks
def test_values_are_linear_in_the_outputs(drawn):
    network, d, seed = drawn
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    values = attribute(network, x, b)
    both = attribute(lambda rows: network(rows)[:, 0] + 2 * network(rows)[:, 1], x, b)
    np.testing.assert_allclose(both, values[..., 0] + 2 * values[..., 1], rtol=0, atol=1e-9)


# What has no rule, and what has no values.

REFUSED = {
    "sort": lambda x: x.sort(1).values[:, 0],
    "median": lambda x: x.median(1).values,
    "topk": lambda x: x.topk(1, 1).values[:, 0],
    "cummax": lambda x: x.cummax(1).values[:, 1],
    "det": lambda x: torch.linalg.det(x[:, :9].view(-1, 3, 3)),
    "fft": lambda x: torch.fft.rfft(x).real,
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_operator_without_a_rule_is_named(name):
    with pytest.raises(UnsupportedOperator, match=r"aten\..* in the function.*backend='gradient'"):
        attribute(REFUSED[name], tensor(2, 12), tensor(3, 12))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.polar(x[:, 0], x[:, 1]).real,
        lambda x: torch.complex(x, x).imag,
        lambda x: x.quantile(0.5, dim=1),
    ],
    ids=["polar", "complex", "quantile"],
)
def test_what_is_recorded_with_difficulty_is_refused_by_name(function):
    with pytest.raises(UnsupportedOperator):
        attribute(function, tensor(2, 12), tensor(3, 12))


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_constant_scores_have_values_of_zero_in_their_shape(shape):
    values = attribute(lambda x: torch.ones(len(x), *shape).double(), tensor(2, 4), tensor(3, 4))
    assert values.shape == (2, 4, *shape)
    np.testing.assert_array_equal(values, 0)


COUNTED = {
    "integer tensor": lambda x: x / torch.tensor(3),
    "live count": lambda x: (x * (x > 0)).sum(1) / (x > 0).sum(1),
    "nanmean": lambda x: x.nanmean(1),
    "cov": lambda x: each(torch.cov)(square(x)),
}


@pytest.mark.parametrize("name", COUNTED)
def test_division_by_a_count_is_as_precise_as_what_is_divided(name):
    assert_additive(flat(COUNTED[name]), tensor(6, 12, 1), tensor(5, 12, 2))


def test_windows_of_a_row_need_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribute(lambda x: x.unfold(1, 4, 2).flatten(1), tensor(2, 12), tensor(3, 12))
