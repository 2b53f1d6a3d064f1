"""Models that take gradients of themselves, recompute or hold sparse matrices, in an Explainer."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from shapae import Explainer, backends
from shapae.errors import ModelError
from tests import cases

OWN = ("deep", "exact", "gradient", "sampling")
MATRIX = torch.tensor(np.where(cases.table(6, seed=5) > 0, cases.table(6, seed=6), 0))


class Twin(nn.Module):
    """A one-layer network and a matrix; ``by_hand`` is the same function as forward, written out."""

    def __init__(self):
        super().__init__()
        self.layer, self.energy = nn.Linear(cases.D, 4), nn.Linear(cases.D, 4)
        self.last = nn.Linear(4, cases.D)

    def network(self, rows):
        return self.last(torch.tanh(self.layer(rows)))

    def by_hand(self, rows):
        return self.network(rows)

    def slopes(self, rows):
        """(n, 4): derivatives of tanh."""
        return 1 - torch.tanh(self.layer(rows)).square()


class Denoising(Twin):
    """One step down an energy, by its gradient."""

    def forward(self, rows):
        return rows - torch.func.grad(lambda x: self.energy(x).square().sum() / 2)(rows)

    def by_hand(self, rows):
        return rows - self.energy(rows) @ self.energy.weight


class DenoisingByRow(Denoising):
    def forward(self, rows):
        return rows - torch.func.vmap(torch.func.grad(lambda x: self.energy(x).square().sum() / 2))(rows)


class DenoisingByAutograd(Denoising):
    def forward(self, rows):
        with torch.enable_grad():
            rows = rows if rows.requires_grad else rows.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(rows).square().sum() / 2, rows, create_graph=True)
        return rows - slope


class Contractive(Twin):
    """Beside the network, the Jacobian of its hidden layer, as in a contractive penalty."""

    jacobian = staticmethod(torch.func.jacrev)

    def forward(self, rows):
        jacobians = torch.func.vmap(self.jacobian(lambda x: torch.tanh(self.layer(x))))(rows)
        return self.network(rows) + jacobians.sum(dim=1)

    def by_hand(self, rows):
        return self.network(rows) + self.slopes(rows) @ self.layer.weight


class ContractiveForward(Contractive):
    jacobian = staticmethod(torch.func.jacfwd)


class Tangent(Twin):
    def forward(self, rows):
        return sum(torch.func.jvp(self.network, (rows,), (torch.ones_like(rows),)))

    def by_hand(self, rows):
        return self.network(rows) + (self.slopes(rows) * self.layer.weight.sum(dim=1)) @ self.last.weight.T


class Recomputing(Twin):
    def forward(self, rows):
        return checkpoint(self.network, rows, use_reentrant=False)


class Offloading(Twin):
    def forward(self, rows):
        with torch.autograd.graph.save_on_cpu():
            return self.network(rows)


class Sparse(Twin):
    def __init__(self):
        super().__init__()
        self.register_buffer("matrix", MATRIX.to_sparse())

    def forward(self, rows):
        return self.network(torch.sparse.mm(self.matrix, rows.T).T)

    def by_hand(self, rows):
        return self.network(rows @ MATRIX.T)


class Compressed(Sparse):
    def __init__(self):
        super().__init__()
        self.matrix = MATRIX.to_sparse_csr()

    def forward(self, rows):
        return self.network((self.matrix @ rows.T).T)


class SparseParameter(Sparse):
    def __init__(self):
        super().__init__()
        del self.matrix
        self.matrix = nn.Parameter(MATRIX.to_sparse())


class LeavingTorch(Twin):
    """Computes by numpy where gradients forbid it."""

    def forward(self, rows):
        return torch.from_numpy(np.tanh(rows.numpy())) if not rows.requires_grad else torch.tanh(rows)

    def by_hand(self, rows):
        return torch.tanh(rows)


class ByHand(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, rows):
        return self.model.by_hand(rows)


MODELS = [Denoising, DenoisingByRow, DenoisingByAutograd, Contractive, ContractiveForward, Tangent, Recomputing]
MODELS += [Offloading, Sparse, Compressed, SparseParameter]
every_model = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
pytestmark = [  # torch's own
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit._script"),
]


def both(make):
    model = cases.build(make)
    return model, ByHand(model)


@every_model
@pytest.mark.parametrize("backend", OWN)
def test_a_model_has_the_values_of_the_same_function_written_out(make, backend, rows, background):
    got, want = (Explainer(model, background, backend=backend)(rows) for model in both(make))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.scores, want.scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [Denoising, DenoisingByRow, DenoisingByAutograd])
def test_deep_is_exact_for_a_step_down_a_quadratic_energy(make, rows, background):
    got, want = (Explainer(cases.build(make), background, backend=backend)(rows) for backend in ("deep", "exact"))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [Denoising, ContractiveForward, Recomputing, Sparse, Compressed, SparseParameter])
@pytest.mark.parametrize("backend", sorted({*backends.names()} - {*OWN, "captum_deep", "shap_deep"}))
def test_other_libraries_that_need_no_rules_give_the_same_values(make, backend, rows, background, monkeypatch):
    kind = type(backends.named(backend))
    monkeypatch.setattr(kind, "n_samples", min(kind.n_samples, 20))
    got, want = (Explainer(model, background, backend=backend)(rows[:2]) for model in both(make))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("make", "backend"), [(Denoising, "shap_deep")])
def test_hooks_that_fail_within_a_transform_are_an_error_with_a_way_out(make, backend, rows, background):
    class Hooked(make):
        def __init__(self):
            super().__init__()
            self.tanh = nn.Tanh()
            self.energy = nn.Sequential(self.energy, nn.Tanh())

        def forward(self, rows):
            return super().forward(self.tanh(rows)) + torch.func.vmap(self.tanh)(rows)

    message = r"the library of this backend can't explain the model: RuntimeError: .*Use backend='sampling', or 'exact'"
    with pytest.raises(ModelError, match=message):
        Explainer(cases.build(Hooked), background, backend=backend)(rows)


@pytest.mark.parametrize("backend", ["exact", "sampling", "shap_kernel"])
def test_a_model_that_leaves_torch_is_run_where_no_gradient_is_needed(backend, rows, background):
    got, want = (Explainer(model, background, backend=backend)(rows) for model in both(LeavingTorch))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


def test_the_error_of_a_model_is_shown_as_it_is(background):
    class Failing(Twin):
        def forward(self, rows):
            return torch.func.grad(lambda x: self.energy(x))(rows)  # of a vector

    with pytest.raises(ModelError, match=r"forward gives RuntimeError .*to return a scalar Tensor"):
        Explainer(cases.build(Failing), background)
