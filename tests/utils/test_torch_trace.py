"""The least precise dtype that a function computes in."""

import pytest
import torch
from torch import nn

from shapae.utils.torch_trace import coarsest_dtype, result_bytes_per_row

WEIGHT = torch.ones(6, 2)


def autocast(rows):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return rows.float() @ WEIGHT


FUNCTIONS = {
    "float64": (lambda x: x.exp(), torch.float64),
    "float32 inside": (lambda x: (x.float() @ WEIGHT).double(), torch.float32),
    "float16 inside": (lambda x: x.half().double() @ WEIGHT.double(), torch.float16),
    "bfloat16 by autocast": (autocast, torch.bfloat16),
    "a constant in float16": (lambda x: x * WEIGHT.half().sum().float(), torch.float64),
    "integers": (lambda x: (x > 0).long() * x, torch.float64),
    "under vmap": (torch.vmap(lambda x: x.float().exp()), torch.float32),
    "sparse": (lambda x: torch.sparse.mm(x.float().to_sparse(), WEIGHT), torch.float32),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_the_coarsest_dtype_is_that_of_a_result_which_grows_with_the_rows(kind):
    function, want = FUNCTIONS[kind]
    assert coarsest_dtype(function, torch.ones(1, 6).double()) == want


def test_a_coarse_row_is_the_coarsest():
    assert coarsest_dtype(lambda x: x.double() @ WEIGHT.double(), torch.ones(1, 6)) == torch.float32


def test_bytes_of_each_row_are_counted_by_dtype_and_views_are_not():
    got = result_bytes_per_row(lambda x: (x.float()[:, :4] @ WEIGHT[:4]).T.double(), torch.ones(2, 6).double())
    assert got == {torch.float32: 4 * (6 + 2), torch.float64: 8 * 2}


def test_the_bytes_of_a_fused_kernel_are_those_of_its_parts():
    """Without gradients, attention is one kernel, which hides n x n weights."""
    attention = nn.MultiheadAttention(4, 2, batch_first=True).eval()

    def attend(rows):
        rows = rows.reshape(len(rows), 10, 4)
        return attention(rows, rows, rows, need_weights=False)[0].flatten(1)

    with torch.no_grad():
        assert sum(result_bytes_per_row(attend, torch.ones(1, 40)).values()) >= 4 * (3 * 40 + 2 * 40)
