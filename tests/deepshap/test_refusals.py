"""Functions and tables that the native engine refuses, and the messages."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shapae import deepshap
from shapae.errors import DataError, ModelError, ShapeError, UnsupportedOperator
from tests.deepshap.helpers import B, X


class Sorted(nn.Module):
    def forward(self, rows):
        return rows.gather(1, rows.argsort(dim=1))


def test_all_operators_without_a_rule_are_named_with_their_modules_and_another_backend():
    model = nn.Sequential(nn.Linear(6, 6), Sorted(), nn.Sequential(Sorted())).double()
    message = (
        r"^the model runs operators without an attribution rule: aten\.sort\.default in Sequential\.1, "
        r"aten\.gather\.default in Sequential\.1, aten\.sort\.default in Sequential\.2\.0, "
        r"aten\.gather\.default in Sequential\.2\.0\. Add them to shapae/deepshap/rules .*use backend='sampling'"
    )
    with pytest.raises(UnsupportedOperator, match=message):
        deepshap.attribute(model, X, B)


def test_an_operator_without_a_rule_is_ignored_if_the_scores_do_not_depend_on_it():
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
        r"multipliers of aten\.\w+\.\w+ in the function are not\. .*use backend='sampling'",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_functions_without_attributions_are_refused(kind):
    function, kind_of_error, message = BAD[kind]
    with pytest.raises(kind_of_error, match=message):
        deepshap.attribute(function, X, B)


def test_a_product_of_affine_maps_that_overflows_is_named_too():
    """Multipliers of 1e38 * 1e5, for features of size 1e-36."""
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


@pytest.mark.parametrize(
    ("rows", "background", "message"),
    [
        (X[0], B, r"got \(6,\) and \(7, 6\)"),
        (X, B[:, :5], r"got \(5, 6\) and \(7, 5\)"),
        (X[:0], B, r"got \(0, 6\) and \(7, 6\)"),
        (X.float(), B, r"both be float32 or both float64, got torch\.float32 and torch\.float64\. Use \.float\(\)"),
        (X.bfloat16(), B.bfloat16(), r"got torch\.bfloat16 and torch\.bfloat16"),
        (X.long(), B.long(), r"got torch\.int64 and torch\.int64"),
        (
            X.masked_fill(X == X[2, 3], torch.nan),
            B,
            r"^rows must be finite; 1 of 5 rows hold NaN or infinity, first row 2\. Re",
        ),
        (X, B / 0, r"^background must be finite; 7 of 7 rows hold NaN or infinity, first row 0\. Remove or impute"),
    ],
)
def test_tables_that_do_not_fit_are_refused(rows, background, message):
    with pytest.raises(DataError, match=message):
        deepshap.attribute(lambda x: x.sum(dim=1), rows, background)
