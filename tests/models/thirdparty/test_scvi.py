"""scVI takes counts with the index of a batch, and returns distributions."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import shapae
from shapae import Explainer

with warnings.catch_warnings():  # its own, at import
    warnings.simplefilter("ignore")
    scvi = pytest.importorskip("scvi", reason="pip install scvi-tools anndata")
    anndata = pytest.importorskip("anndata", reason="pip install scvi-tools anndata")

# Real counts, 0 to 16, of which no row is empty.
PIXELS = load_digits().data
COUNTS = PIXELS[:300, PIXELS.std(axis=0) > 1].astype(np.float32)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        table = anndata.AnnData(COUNTS)
        scvi.model.SCVI.setup_anndata(table)
        model = scvi.model.SCVI(table, n_hidden=16, n_latent=3)
        model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False, logger=False)
    return model


@pytest.mark.parametrize("head", ["latent", "reconstruction_error", "reconstruction:0"])
def test_the_values_add_up(model, head):
    autoencoder = shapae.adapters.scvi(model)
    explanation = Explainer(autoencoder, COUNTS[:50], head=head)(COUNTS[50:60])

    assert np.abs(explanation.residual).max() <= 1e-5 * np.ptp(explanation.scores, axis=0).min()
    assert np.abs(explanation.values).max() > 0


def test_latents_and_reconstruction_are_those_of_the_model(model):
    autoencoder, rows = shapae.adapters.scvi(model), torch.tensor(COUNTS[:20])
    with torch.no_grad():
        mean, log_variance = autoencoder.latent_distribution(rows)
        latents, counts = autoencoder.encode(rows), autoencoder.reconstruct(rows)
        size = torch.log(rows.sum(dim=1, keepdim=True))
        px = model.module.generative(latents, size, torch.zeros(20, 1, dtype=torch.int64))["px"]
    want_mean, want_variance = model.get_latent_representation(indices=range(20), return_dist=True)
    np.testing.assert_allclose(latents, model.get_latent_representation(indices=range(20)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean, want_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_variance.exp(), want_variance, rtol=1e-4)
    np.testing.assert_allclose(counts, px.mean, rtol=1e-5)
