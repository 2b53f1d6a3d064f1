"""Generated rows have the distribution that they are said to have."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import shapae
from shapae import Autoencoder
from shapae.errors import DataError, ModelError
from tests import cases
from tests.models.vae import Vae


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(5, 2), nn.Linear(2, 5)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


def check_moments(rows, mean, covariance):
    """Within five standard errors of normal rows."""
    n, sizes = len(rows), np.sqrt(np.diag(covariance))
    assert (np.abs(rows.mean(axis=0) - mean) < 5 * sizes / n**0.5).all()
    assert (np.abs(np.cov(rows.T) - covariance) < 5 * np.outer(sizes, sizes) * (2 / n) ** 0.5).all()


@pytest.mark.parametrize("scaled", [False, True])
def test_a_linear_autoencoder_generates_the_moments_of_its_reconstructions(scaled):
    model = cases.build(Linear)
    X = pd.DataFrame(cases.table(50, 5), columns=list("abcde")) @ np.diag([1, 2, 3, 4, 5]) + 7
    X.columns = list("abcde")
    preprocess = (X.mean().to_numpy(), X.std().to_numpy()) if scaled else None
    autoencoder = Autoencoder(model, preprocess=preprocess)
    rows = shapae.generate_rows(autoencoder, X, 20_000)
    assert [*rows.columns] == list("abcde")
    inputs = (X - X.mean()) / X.std() if scaled else X
    with torch.no_grad():
        reconstructed = model(torch.tensor(inputs.to_numpy())).numpy()
    if scaled:
        reconstructed = reconstructed * preprocess[1] + preprocess[0]
    check_moments(rows.to_numpy(), reconstructed.mean(axis=0), np.cov(reconstructed.T, bias=True))


def test_a_variational_autoencoder_generates_from_its_prior():
    vae = cases.build(lambda: Vae(lambda r, mean, log_variance: {"recon_x": r, "mu": mean, "log_var": log_variance}))
    rows = shapae.generate_rows(vae, cases.table(20, 6), 20_000)
    weight, bias = vae.decoder.weight.detach().numpy(), vae.decoder.bias.detach().numpy()
    check_moments(rows.to_numpy(), bias, weight @ weight.T)


def test_the_seed_decides_and_the_generators_do_not():
    model, X = cases.build(Linear), cases.table(20, 5)
    first = shapae.generate_rows(model, X, 5, seed=3)
    np.random.seed(1)
    pd.testing.assert_frame_equal(shapae.generate_rows(model, X, 5, seed=3), first)
    assert not np.allclose(shapae.generate_rows(model, X, 5, seed=4), first)


def test_generated_rows_have_proponents():
    model, X = cases.build(Linear), cases.table(20, 5)
    influence = shapae.influence(model, X, shapae.generate_rows(model, X, 4))
    assert influence.values.shape == (4, 20)
    assert (influence.places == -1).all()


def test_what_can_not_be_generated_is_refused():
    X = cases.table(20, 5)
    with pytest.raises(DataError, match="at least 1, got 0"):
        shapae.generate_rows(cases.build(Linear), X, 0)
    with pytest.raises(ModelError, match="has no inverse"):
        shapae.generate_rows(Autoencoder(cases.build(Linear), preprocess=nn.Tanh()), X)
    with pytest.raises(ModelError, match="encode"):
        shapae.generate_rows(cases.build(lambda: nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 5))), X)
