"""Products of two variable factors: quadratic forms."""

import pytest
import torch
from torch.nn import functional as F

from shapae.deepshap import attribute
from tests.deepshap.helpers import CUBE, W, assert_close, flat, square, tensor

BILINEAR = {
    "x @ x": lambda x: square(x) @ square(x).mT,
    "bmm": lambda x: torch.bmm(square(x), x.view(-1, 4, 3)),
    "baddbmm": lambda x: torch.baddbmm(x.view(-1, 3, 4)[:, :, :3], square(x), x.view(-1, 4, 3), beta=2, alpha=3),
    "quadratic form": lambda x: torch.einsum("ni,ij,nj->n", x, W.T @ W, x),
    "x W x": lambda x: ((x @ W.T) @ W * x).sum(1),
    "outer": lambda x: torch.einsum("ni,nj->nij", x[:, :4], x[:, 4:]),
    "einsum": lambda x: torch.einsum("nij,njk->nik", square(x), x.view(-1, 4, 3)),
    "outer, each": lambda x: torch.vmap(torch.outer)(x[:, :4], x[:, 4:]),
    "dot": lambda x: torch.linalg.vecdot(x[:, :6], x[:, 6:]),
    "dot, each": lambda x: torch.vmap(torch.dot)(x[:, :6], x[:, 6:]),
    "mv, each": lambda x: torch.vmap(torch.mv)(x[:, :9].view(-1, 3, 3), x[:, 9:]),
    "addmv, each": lambda x: torch.vmap(torch.addmv)(x[:, 3:6], x[:, :9].view(-1, 3, 3), x[:, 9:]),
    "addbmm, each": lambda x: torch.vmap(
        lambda r: torch.addbmm(r[:4].view(2, 2), r[:8].view(2, 2, 2), r[4:].view(2, 2, 2))
    )(x),
    "kron": lambda x: torch.vmap(torch.kron)(x[:, :4], x[:, 4:]),
    "bilinear": lambda x: F.bilinear(x[:, :4], x[:, 4:8], CUBE),
    "convolution": lambda x: torch.vmap(lambda row: F.conv1d(row[None, :8], row[8:].view(2, 1, 2)))(x),
    "squared error": lambda x: (x @ W.T @ W - x).square(),
    "squares": lambda x: x**2 + x.square() + x * x,
    "square of a sum": lambda x: x.sum(1, keepdim=True) ** 2 * 0.5,
    "cross": lambda x: torch.linalg.cross(x[:, :3], x[:, 3:6]),
    "var": lambda x: square(x).var(2),
    "complex product": lambda x: torch.stack([x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3], x[:, 0] * x[:, 3]], 1),
    "mse_loss": lambda x: torch.vmap(F.mse_loss)(x[:, :6], x[:, 6:]),
    "addcmul": lambda x: torch.addcmul(x, x, x.flip(1), value=3),
    "addr": lambda x: torch.vmap(lambda row: torch.addr(row[:4].view(2, 2), row[:2], row[2:4], alpha=2))(x),
    "variable lerp": lambda x: torch.lerp(x[:, :4], x[:, 4:8], x[:, 8:]),
}


@pytest.mark.parametrize("name", BILINEAR)
def test_a_quadratic_form_has_the_gradient_at_the_midpoint_of_each_pair(name):
    function, x, b = flat(BILINEAR[name]), tensor(3, 12, 8), tensor(4, 12, 9)
    gradient = torch.func.jacrev(lambda row: function(row[None])[0])
    want = [sum(gradient((row + base) / 2).T * (row - base)[:, None] for base in b) / len(b) for row in x]
    assert_close(attribute(function, x, b), torch.stack(want).detach())
