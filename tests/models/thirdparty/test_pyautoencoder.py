"""pyautoencoder's models encode under no_grad and return dataclasses with an axis of draws; no adapter is needed."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn

from shapae import Autoencoder, Explainer

vanilla = pytest.importorskip("pyautoencoder.vanilla", reason="pip install pyautoencoder")
variational = pytest.importorskip("pyautoencoder.variational", reason="pip install pyautoencoder")

WINE = load_wine().data
SCALER = StandardScaler().fit(WINE)
ACTIVATION = nn.Softplus()  # one for both halves, which explainers with hooks can't take apart


def halves(latents):
    encoder = nn.Sequential(nn.Linear(13, 8), ACTIVATION, nn.Linear(8, latents))
    return encoder, nn.Sequential(nn.Linear(3, 8), ACTIVATION, nn.Linear(8, 13))


MAKE = {"AE": lambda: vanilla.AE(*halves(3)), "VAE": lambda: variational.VAE(*halves(8), latent_dim=3)}


def trained(kind):
    rows = torch.tensor(SCALER.transform(WINE)).float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MAKE[kind]()
        model.build(rows)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(20):
            optimizer.zero_grad()
            model.compute_loss(rows, model(rows)).objective.backward()
            optimizer.step()
    return model.eval()


@pytest.mark.parametrize("backend", ["deep", "gradient"])
@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
@pytest.mark.parametrize("kind", MAKE)
def test_the_values_add_up_to_the_scores_of_the_model_itself(kind, head, backend):
    model = trained(kind)

    autoencoder = Autoencoder(model, preprocess=SCALER, noise="mean")
    explanation = Explainer(autoencoder, WINE[:50], head=head, backend=backend)(WINE[50:60])

    spread = np.ptp(explanation.scores)
    assert np.abs(explanation.residual).max() <= (1e-5 if backend == "deep" else 0.5) * spread
    assert (np.abs(explanation.values).max(axis=(0, 1) if head == "latent" else 0) > 0.01 * spread).any()
    rows = torch.tensor(SCALER.transform(WINE[50:60])).float()
    encoded = model.encode(rows).z
    error = (model.decode(encoded).x_hat.reshape(10, 13) - rows).square().mean(dim=1)
    want = error if head == "reconstruction_error" else encoded.reshape(10, 3)
    np.testing.assert_allclose(explanation.scores, want, rtol=1e-3, atol=1e-5)


def test_mean_log_variance_and_decoder_are_found():
    model, rows = trained("VAE"), torch.tensor(SCALER.transform(WINE[:5])).float()
    autoencoder, encoded = Autoencoder(model, decode="decoder"), model.encode(rows)
    autoencoder.understand(rows)
    assert "decode(encode(x)) = reconstruct(x): yes" in str(autoencoder)
    assert torch.equal(autoencoder.latent_distribution(rows)[0], encoded.mu)
    assert torch.equal(autoencoder.latent_distribution(rows)[1], encoded.log_var)
    assert torch.equal(autoencoder.decode(encoded.mu), model.decode(encoded.z).x_hat.squeeze(1))
