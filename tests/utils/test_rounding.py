"""Rounding errors, also of products that torch computes less precisely than their dtype, as the user allows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shapae import Explainer
from shapae.utils.rounding import rounding_error
from tests import cases


@pytest.fixture
def precision():
    """Sets the precision of products, and sets it back."""
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", ["highest", "high", "medium"])
def test_products_are_as_precise_as_is_said(name, precision):
    """Each within the error of its factors: sum |a| |b| times the rounding error, as in Higham's bounds for two."""
    precision(name)
    a, b = torch.tensor(cases.table(200, 300)).float(), torch.tensor(cases.table(300, 100, seed=1)).float()
    bound = 2 * rounding_error(torch.float32) * (a.abs() @ b.abs()).double()
    assert ((a @ b).double() - a.double() @ b.double()).abs().le(bound).all()


def test_only_float32_has_products_of_less_precision(precision):
    want = {dtype: torch.finfo(dtype).eps for dtype in (torch.float64, torch.bfloat16, torch.float16)}
    precision("medium")
    assert {dtype: rounding_error(dtype) for dtype in want} == want
    assert rounding_error(torch.float32) == torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("allowed", [True, False])
def test_cudnn_has_a_permission_of_its_own(allowed):
    with torch.backends.cudnn.flags(allow_tf32=allowed):
        eps = rounding_error(torch.float32, by_cudnn=True)
    assert (eps == 2**-10) == allowed
    assert rounding_error(torch.float32) == torch.finfo(torch.float32).eps


EACH_BACKEND = """
import torch
from shapae import Explainer
from shapae.analysis.comparison.resources import describe_machine
from shapae.utils.rounding import rounding_error

torch.manual_seed(0)
table = torch.randn(20, 4)
explainer = Explainer(torch.nn.Identity(), table, head=lambda model, rows: rows.square().sum(dim=1))
before = explainer(table[:3]).values
torch.backends.cuda.matmul.fp32_precision = "tf32"
assert (explainer(table[:3]).values == before).all()
assert (explainer(table[:3]).values == before).all()
assert rounding_error(torch.float32) == 2**-10
assert describe_machine(torch.device("cpu"))["float32 matmul precision"] is None
"""


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch has one precision only")
def test_a_precision_for_each_backend_is_no_failure():
    """torch refuses to tell it as one word. In a process of its own, as nothing sets it back."""
    subprocess.run([sys.executable, "-c", EACH_BACKEND], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("head", ["latent", "reconstruction_error", "reconstruction"])
def test_less_precise_products_are_no_mistake_of_the_model(head, precision):
    """The precision may change after the explainer was made. Values are near those of float64; nothing is set."""
    model, rows, background = cases.build(cases.Question, d=60), cases.table(20, 60), cases.table(30, 60, seed=1)
    want = Explainer(model, background, head=head)(rows)
    explainer = Explainer(model.float(), background.astype(np.float32), head=head)
    precision("medium")
    for each in (explainer, Explainer(model, background.astype(np.float32), head=head)):
        got = each(rows)
        size = np.abs(want.values).sum(axis=1, keepdims=True).max()
        np.testing.assert_allclose(got.values, want.values, rtol=0, atol=2**-7 * size)
    assert torch.get_float32_matmul_precision() == "medium"
