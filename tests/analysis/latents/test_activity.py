"""Active units: all planted ones are found, by numbers that have a closed form."""

import numpy as np
import pytest
import torch
from torch import nn

import shapae
from shapae.analysis.latents.activity import measure_activity
from tests import cases
from tests.analysis.latents import planted

EPS32, EPS64 = (float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_planted_units_are_found_and_no_other(dtype):
    report = shapae.latents(planted.vae(dtype), planted.rows())
    assert {*report.active} == {f"latent {unit}" for unit in planted.USED}
    assert list(report.table.index[report.table["active"]]) == report.active


def test_the_divergence_and_the_variance_of_each_unit_have_their_closed_form():
    model, rows = planted.vae(), planted.rows()
    report = shapae.latents(model, rows)
    x = rows.to_numpy()
    mean = x @ model.mean.weight.detach().numpy().T + model.mean.bias.detach().numpy()
    log_variance = x @ model.log_variance.weight.detach().numpy().T + model.log_variance.bias.detach().numpy()
    kl = (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(axis=0) / 2
    np.testing.assert_allclose(report.latents, mean, atol=1e-12)
    np.testing.assert_allclose(report.log_variances, log_variance, atol=1e-12)
    np.testing.assert_allclose(report.activity.kl, kl, atol=1e-12)
    table = report.table.loc[[f"latent {unit}" for unit in range(planted.UNITS)]]
    np.testing.assert_allclose(table["variance"], mean.var(axis=0), atol=1e-12)
    np.testing.assert_allclose(table["share"], mean.var(axis=0) / mean.var(axis=0).sum(), atol=1e-12)
    np.testing.assert_allclose(table["noise"], np.exp(log_variance).mean(axis=0), atol=1e-12)
    shares = report.table["share"].to_numpy()
    assert (np.diff(shares[: len(planted.USED)]) <= 0).all()


def train(rows, units=8, beta=1.0, steps=1500):
    """A variational autoencoder with a strong divergence, which needs a unit for each cause and no other."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, table = cases.Variational(rows.shape[1], units), torch.tensor(rows.to_numpy())
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(steps):
            reconstruction, mean, log_variance = model(table)
            divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
            optimizer.zero_grad()
            torch.autograd.backward(((reconstruction - table) ** 2).sum(dim=1).mean() / 2 + beta * divergence)
            optimizer.step()
    return model


def test_a_trained_vae_with_a_strong_divergence_uses_a_unit_for_each_cause_and_knows_all_causes():
    genes = shapae.datasets.gene_modules(n=400, d=30, modules=3, noise=0.2, seed=1)
    causes = genes.latents.assign(nothing=np.random.default_rng(0).normal(size=400))
    report = shapae.latents(train(genes.X), genes.X, covariates=causes)
    assert len(report.active) == 3
    assert report.activity.kl[~report.activity.active].max() < 0.01
    r2 = report.causes.table["r2"]
    assert r2[genes.latents.columns].min() > 0.95
    assert abs(r2["nothing"]) < 0.05


class Relu(nn.Module):
    """Three ReLU latents: one is dead, one is constant but not zero."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(cases.D, 3), nn.ReLU())
        self.decoder = nn.Linear(3, cases.D)
        with torch.no_grad():
            self.encoder[0].weight[1:] = 0
            self.encoder[0].bias[:] = torch.tensor([0.1, -5.0, 1.3])
            for each in self.encoder[0].parameters():
                each *= scale


@pytest.mark.parametrize("scale", [1e-4, 1, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dead_and_constant_units_of_any_scale_are_inactive(scale, dtype):
    report = shapae.latents(cases.build(Relu, scale=scale, dtype=dtype), cases.table(40))
    assert report.active == ["latent 0"]
    assert report.activity.kl is None
    assert "kl" not in report.table
    np.testing.assert_allclose(report.table["share"], [1, 0, 0], atol=1e-12)


def test_no_unit_is_active_if_all_are_constant_up_to_rounding():
    rounding = 1e3 * (1 + EPS32 * np.random.default_rng(0).choice([0, 1], (50, 2)))
    assert not measure_activity(rounding.astype(np.float32), None, EPS32).active.any()
    assert not measure_activity(np.zeros((5, 2)), None, EPS64).active.any()
    np.testing.assert_array_equal(measure_activity(np.zeros((5, 2)), None, EPS64).share, [0, 0])


def test_a_unit_with_a_divergence_but_no_information_is_inactive():
    """Its variance is not that of the prior, for any row the same."""
    latents = np.c_[np.random.default_rng(0).normal(size=50), np.zeros(50)]
    kl = np.full((50, 2), 0.8)
    np.testing.assert_array_equal(measure_activity(latents, kl, EPS64).active, [True, False])
    np.testing.assert_array_equal(measure_activity(latents, 0.001 * kl, EPS64).active, [False, False])
    faint = np.random.default_rng(1).normal(size=(50, 2)) * [1, 0.05]
    np.testing.assert_array_equal(measure_activity(faint, kl, EPS64).active, [True, False])
