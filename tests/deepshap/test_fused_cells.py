"""Fused operators that only other devices run: what they are decomposed into is what the cells compute."""

import pytest
import torch
from torch import nn

from shapae import deepshap
from shapae.deepshap.tracing.decompositions import DECOMPOSITIONS
from tests import cases


def gates(cell, x, h):
    """What torch hands to the fused operators: the products of the input and of the state, and both biases."""
    biases = (cell.bias_ih, cell.bias_hh) if cell.bias else ()
    return x @ cell.weight_ih.T, h @ cell.weight_hh.T, biases


@pytest.mark.parametrize("bias", [True, False])
def test_the_fused_gru_cell_is_the_cell(bias):
    cell = cases.build(nn.GRUCell, 5, 4, bias=bias)
    x, h = torch.tensor(cases.table(7, 5)), torch.tensor(cases.table(7, 4, seed=1))
    own, hidden, biases = gates(cell, x, h)
    got, _ = DECOMPOSITIONS["_thnn_fused_gru_cell"](own, hidden, h, *biases)
    torch.testing.assert_close(got, cell(x, h), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("bias", [True, False])
def test_the_fused_lstm_cell_is_the_cell(bias):
    cell = cases.build(nn.LSTMCell, 5, 4, bias=bias)
    x, h, c = (torch.tensor(cases.table(7, d, seed=d)) for d in (5, 4, 40))
    own, hidden, biases = gates(cell, x, h)
    got = DECOMPOSITIONS["_thnn_fused_lstm_cell"](own, hidden, c[:, :4], *biases)[:2]
    torch.testing.assert_close(got, cell(x, (h, c[:, :4])), rtol=1e-12, atol=1e-13)


class Squares(torch.autograd.Function):
    """In the style that torch.func runs, but not within functionalization."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0]


def test_a_function_that_can_t_be_functionalized_is_recorded_without():
    rows, background = torch.tensor(cases.table(3)), torch.tensor(cases.table(4, seed=1))
    got = deepshap.attribute(lambda x: Squares.apply(x).sum(dim=1), rows, background)
    torch.testing.assert_close(got, (rows[:, None].square() - background.square()).mean(dim=1))
