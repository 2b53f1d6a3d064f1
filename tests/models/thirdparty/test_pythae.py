"""pythae's models take dicts and return dict-like outputs; no adapter is needed."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine

from shapae import Autoencoder, Explainer

pythae = pytest.importorskip("pythae.models", reason="pip install pythae")

WINE = load_wine().data
ROWS = ((WINE - WINE.mean(axis=0)) / WINE.std(axis=0)).astype(np.float32)
MAKE = {
    "AE": lambda: pythae.AE(pythae.AEConfig(input_dim=(13,), latent_dim=3)),
    "VAE": lambda: pythae.VAE(pythae.VAEConfig(input_dim=(13,), latent_dim=3)),
}


def trained(kind):
    rows = torch.tensor(ROWS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MAKE[kind]()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(20):
            optimizer.zero_grad()
            model({"data": rows}).loss.backward()
            optimizer.step()
    return model.eval()


@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
@pytest.mark.parametrize("kind", MAKE)
def test_the_values_add_up_to_the_scores_of_the_model_itself(kind, head):
    model = trained(kind)

    explanation = Explainer(model, ROWS[:50], head=head)(ROWS[50:60])

    assert np.abs(explanation.residual).max() <= 1e-5 * np.ptp(explanation.scores)
    with torch.no_grad():  # what pythae calls predict is at the mean
        rows = torch.tensor(ROWS[50:60])
        output = model.predict(rows)
    error = (output.recon_x - rows).square().mean(dim=1)
    np.testing.assert_allclose(explanation.scores, error if head == "reconstruction_error" else output.embedding, 1e-4)


def test_mean_log_variance_and_decoder_are_found():
    model, rows = trained("VAE"), torch.tensor(ROWS[:5])
    autoencoder, encoded = Autoencoder(model), model.encoder(rows)
    autoencoder.understand(rows)
    assert "decode(encode(x)) = reconstruct(x): yes" in str(autoencoder)
    assert "the mean of the noise is used in its place" in str(autoencoder)
    assert torch.equal(autoencoder.latent_distribution(rows)[0], encoded.embedding)
    assert torch.equal(autoencoder.latent_distribution(rows)[1], encoded.log_covariance)
    assert torch.equal(autoencoder.decode(encoded.embedding), model.decoder(encoded.embedding).reconstruction)
