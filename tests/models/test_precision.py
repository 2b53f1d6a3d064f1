"""The dtype in which a model takes its rows, and its copy in full precision."""

import pytest
import torch
from torch import nn

from shapae.errors import ModelError
from shapae.models.precision import full_precision, row_dtypes, run_in_precision
from tests import cases

BOTH = [torch.float32, torch.float64]
X = torch.tensor(cases.table(2))


def most_in(dtype, other):
    return nn.Sequential(nn.Linear(1, 1).to(other), nn.Linear(6, 6).to(dtype))


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("other", [*BOTH, torch.float16])
def test_the_dtype_of_most_parameters_comes_first_then_that_of_buffers_or_else_of_the_rows(dtype, other):
    assert row_dtypes(most_in(dtype, other), X)[0] == dtype
    assert row_dtypes(nn.BatchNorm1d(3, affine=False).to(dtype), X)[0] == dtype
    assert row_dtypes(nn.Identity(), X.to(dtype))[0] == dtype
    assert set(row_dtypes(nn.Identity(), X.to(dtype))) == {*BOTH}


def test_half_precision_and_integers_are_taken_for_float32():
    assert row_dtypes(most_in(torch.bfloat16, torch.float64), X)[0] == torch.float32
    assert row_dtypes(nn.Identity(), X.long())[0] == torch.float32


def test_full_precision_changes_nothing_but_halves():
    model = most_in(torch.bfloat16, torch.float64)
    got = full_precision(model)
    assert [each.dtype for each in got.parameters()] == [torch.float64, torch.float64, torch.float32, torch.float32]
    assert [each.dtype for each in model.parameters()][2] == torch.bfloat16
    plain = most_in(torch.float32, torch.float64)
    assert full_precision(plain) is plain


def test_the_second_dtype_and_the_model_as_it_is_are_tried_in_turn():
    tried = []

    def run(module, rows):
        tried.append((module[1].weight.dtype, rows.dtype))
        if len(tried) < 4:
            raise RuntimeError("expected scalar type Double but found Float")
        return rows.sum()

    assert run_in_precision(run, X, [most_in(torch.bfloat16, torch.float32)]) == X.sum()
    assert tried == [(weight, rows) for weight in (torch.float32, torch.bfloat16) for rows in BOTH]


def test_another_error_comes_before_those_of_dtypes():
    def run(module, rows):
        raise ValueError("too narrow" if rows.dtype == torch.float64 else "Found dtype Float but expected Double")

    with pytest.raises(ValueError, match="too narrow"):
        run_in_precision(run, X, [nn.Linear(6, 6)])


@pytest.mark.parametrize(
    ("model", "held"),
    [(nn.Linear(6, 6), "torch.float32 tensors weight, bias"), (nn.Identity(), "no floating point parameters")],
)
def test_errors_of_dtypes_name_the_tensors_and_the_dtypes_of_the_rows(model, held):
    def run(module, rows):
        raise RuntimeError("expected scalar type Double but found Float")

    message = rf"found Float\. Rows of torch\.float64 were tried; the model has {held}.*register_buffer"
    with pytest.raises(ModelError, match=message):
        run_in_precision(run, X, [model], [torch.float64])
