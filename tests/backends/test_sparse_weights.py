"""Models with sparse weights in every backend."""

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Explainer, backends
from tests import cases

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse C:UserWarning"),  # torch says once that they are in beta state
    pytest.mark.filterwarnings("ignore::shapae.errors.AdditivityWarning"),  # of few samples
]


class Sets(nn.Module):
    """Sums over known sets of features."""

    def __init__(self, layout, learned):
        super().__init__()
        membership = layout((torch.arange(18).view(3, 6) % 4 > 1).double())
        if learned:
            self.membership = nn.Parameter(membership, requires_grad=False)
        else:
            self.register_buffer("membership", membership)

    def forward(self, rows):
        return (self.membership @ rows.T).T


class Pathways(nn.Module):
    def __init__(self, layout, learned):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(3, 6), Sets(layout, learned)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


@pytest.mark.parametrize("learned", [False, True], ids=["buffer", "parameter"])
@pytest.mark.parametrize("layout", [torch.Tensor.to_sparse_csr, torch.Tensor.to_sparse], ids=["csr", "coo"])
@pytest.mark.parametrize("backend", backends.names())
def test_sparse_weights_have_the_values_of_dense_weights(backend, layout, learned):
    tables = cases.table(3, seed=1), cases.table(5, seed=2)
    dense, sparse = (
        Explainer(cases.build(lambda layout=layout: Pathways(layout, learned)), tables[1], backend=backend, seed=0)
        for layout in (torch.Tensor.contiguous, layout)
    )
    np.testing.assert_allclose(sparse(tables[0]).values, dense(tables[0]).values, rtol=0, atol=1e-10)
