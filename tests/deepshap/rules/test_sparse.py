"""Constant weights in a sparse layout."""

import pytest
import torch
from torch.nn import functional as F

from shapae.deepshap import attribute
from shapae.errors import UnsupportedOperator
from tests.deepshap.helpers import BOTH, assert_close, tensor

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning")  # torch says once that they are in beta state

WEIGHT = tensor(5, 12, 3) * (tensor(5, 12, 4) > 0.3)
BIAS = tensor(1, 5, 5)[0]
LAYOUTS = {
    "coo": torch.Tensor.to_sparse,
    "csr": torch.Tensor.to_sparse_csr,
    "csc": torch.Tensor.to_sparse_csc,
}
# Functions of a table and of weights (5, 12), in any layout.
PRODUCTS = {
    "w @ x": lambda x, w, bias: (w @ x.T).T,
    "x @ w.t()": lambda x, w, bias: x @ w.t(),
    "x @ w.mT": lambda x, w, bias: x @ w.mT,
    "mm": lambda x, w, bias: torch.mm(w, x.T).T,
    "sparse.mm": lambda x, w, bias: torch.sparse.mm(w, x.T).T,
    "addmm": lambda x, w, bias: torch.addmm(bias[:, None], w, x.T, beta=0.5, alpha=2).T,
    "sparse.addmm": lambda x, w, bias: torch.sparse.addmm(bias[:, None].expand(5, len(x)), w, x.T, beta=2, alpha=3).T,
    "linear without bias": lambda x, w, bias: F.linear(x, w),
    "row by row": lambda x, w, bias: torch.stack([w @ row for row in x]),
    "mv": lambda x, w, bias: torch.stack([torch.mv(w, row) for row in x]),
}


@BOTH
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_sparse_weights_have_the_values_of_dense_weights(name, layout, dtype):
    x, b, weight, bias = (each.to(dtype) for each in (tensor(4, 12, 1), tensor(6, 12, 2), WEIGHT, BIAS))
    sparse, last = LAYOUTS[layout](weight), torch.arange(10, dtype=dtype).view(5, 2)

    def network(weight):
        return lambda rows: PRODUCTS[name](rows, weight, bias).sigmoid() @ last

    precision = 1e-12 if dtype is torch.float64 else 1e-5
    assert_close(attribute(network(sparse), x, b), attribute(network(weight), x, b), precision)
    assert sparse.layout == LAYOUTS[layout](weight).layout


@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_linear_takes_compressed_weights_with_a_bias(layout):
    x, b = tensor(4, 12, 1), tensor(6, 12, 2)
    want = attribute(lambda rows: F.linear(rows, WEIGHT, BIAS).tanh(), x, b)
    assert_close(attribute(lambda rows: F.linear(rows, LAYOUTS[layout](WEIGHT), BIAS).tanh(), x, b), want)


def test_a_sparse_constant_may_be_added():
    x, b, mask = tensor(4, 12, 1), tensor(6, 12, 2), WEIGHT[:1].to_sparse()
    values = attribute(lambda rows: torch.cat([(row[None] + mask) for row in rows]).exp(), x, b)
    assert_close(values, attribute(lambda rows: (rows + WEIGHT[:1]).exp(), x, b))


VARYING = {
    "values of the row": lambda x: torch.sparse.mm(x.to_sparse(), WEIGHT.T),
    "compressed": lambda x: x.to_sparse_csr() @ WEIGHT.T,
    "built": lambda x: torch.stack([torch.sparse_coo_tensor([[0, 2], [1, 0]], row[:2]).to_dense().sum(0) for row in x]),
    "masked": lambda x: torch.stack([row.expand(5, 12).sparse_mask(WEIGHT.to_sparse()).to_dense().sum(0) for row in x]),
}


@pytest.mark.parametrize("name", VARYING)
def test_sparse_tensors_that_vary_with_the_row_are_refused_by_name(name):
    with pytest.raises(UnsupportedOperator, match=r"aten\.\w*sparse\w*\."):
        attribute(VARYING[name], tensor(2, 12), tensor(3, 12))
