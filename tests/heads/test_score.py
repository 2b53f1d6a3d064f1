"""Scores that can't be explained are refused before the work starts."""

import pytest
import torch
from torch import nn

from shapae import Autoencoder
from shapae.errors import ModelError, ShapeError
from shapae.heads import Head, ReconstructionError
from shapae.heads.checks import check_finite_scores, check_score
from shapae.heads.score import Score
from tests import cases

X = torch.tensor(cases.table(6))


class Function(nn.Module):
    """A function as a model, or as a head."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *given):
        return self.function(*given)


def score_of(function, rows=X):
    return Score(Autoencoder(Function(function)), ReconstructionError(), list("abcdef"), rows).eval()


def test_scores_always_have_two_axes(model):
    for head in (ReconstructionError(), Function(lambda autoencoder, rows: autoencoder(rows).sum(dim=1))):
        assert Score(Autoencoder(model), head, list("abcdef"), X)(X).shape == (6, 1)


@pytest.mark.parametrize(
    ("head", "got"),
    [
        (lambda autoencoder, rows: rows.sum(), r"\(\)"),
        (lambda autoencoder, rows: rows[:, None], r"\(6, 1, 6\)"),
        (lambda autoencoder, rows: rows[:3], r"\(3, 6\)"),
        (lambda autoencoder, rows: (rows,), "tuple"),
        (lambda autoencoder, rows: (rows > 0).sum(dim=1), r"torch\.int64"),
    ],
    ids=["scalar", "three axes", "fewer rows", "tuple", "integers"],
)
def test_a_head_that_returns_something_else_is_refused(head, got):
    with pytest.raises(ShapeError, match=rf"head Function must return .*\(6,\).*\(6, k\), floating point, got {got}"):
        Score(Autoencoder(nn.Identity()), Function(head), list("abcdef"), X)


MIXING = {
    "a mean over rows": lambda rows: rows - rows.mean(dim=0),
    "batch statistics": nn.BatchNorm1d(6, track_running_stats=False).double().eval(),
    "softmax over rows": lambda rows: torch.softmax(rows, dim=0),
    "neighbours": lambda rows: rows + 1e-3 * rows.roll(1, dims=0),
    "the largest": lambda rows: rows / rows.abs().max(),
}


@pytest.mark.parametrize("kind", MIXING)
def test_a_model_that_mixes_rows_is_refused(kind):
    score = score_of(MIXING[kind])
    with pytest.raises(
        ModelError, match="mixes rows: .*BatchNorm with track_running_stats=False, or a mean over dim=0"
    ):
        check_score(score, X)


@pytest.mark.parametrize("size", [1, 1e-5])
def test_a_model_that_is_random_in_eval_mode_is_refused(size):
    with (
        torch.random.fork_rng(),
        pytest.raises(ModelError, match="random in eval mode: two runs .* differ.*rand_like"),
    ):
        check_score(score_of(lambda rows: rows + 1 + size * torch.rand_like(rows)), X)


@pytest.mark.parametrize("scale", [1e-9, 1, 1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_not_taken_for_mixing(scale, dtype):
    model = cases.build(cases.Nested, dtype=dtype)
    score = Score(Autoencoder(model), ReconstructionError(), list("abcdef"), X.to(dtype)).eval()
    check_score(score, scale * X.to(dtype))


def test_scores_that_are_not_finite_are_counted_and_their_first_row_is_named():
    score, scores = score_of(lambda rows: rows), torch.zeros(5, 2)
    check_finite_scores(score, X, scores, "background rows")
    scores[3, 1], scores[4, 0] = torch.nan, torch.inf
    with pytest.raises(ModelError, match="NaN or infinite scores for 2 of 5 background rows, first for row 3"):
        check_finite_scores(score, X, scores, "background rows")


def test_the_operators_that_make_infinity_and_nan_are_named_with_their_module():
    score = score_of(lambda rows: (rows - rows).log() * 0 + rows)
    message = (
        r"look at aten\.log\.default in Score\.autoencoder\.model, the first to make infinity "
        r"and aten\.mul\.Tensor in Score\.autoencoder\.model, the first to make NaN\."
    )
    with torch.no_grad(), pytest.raises(ModelError, match=message):
        check_finite_scores(score, X, score(X), "rows")


def test_weights_that_are_nan_are_named():
    score = score_of(lambda rows: rows * torch.tensor(torch.nan))
    with torch.no_grad(), pytest.raises(ModelError, match=r"look at the weights, which are not finite\."):
        check_finite_scores(score, X, score(X), "rows")


def test_a_head_without_a_forward_says_so(model):
    with pytest.raises(ModelError, match="Head fails on rows of shape .*: NotImplementedError"):
        Score(Autoencoder(model), Head(), list("abcdef"), X)
