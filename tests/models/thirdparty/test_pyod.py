"""pyod's detectors: their own scores are explained, on rows as they are."""

import copy

import numba
import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine

import shapae
from shapae import Explainer, heads

with pytest.MonkeyPatch.context() as patch:  # compiling its distances would take ten seconds
    patch.setattr(numba.config, "DISABLE_JIT", True)
    auto_encoder = pytest.importorskip("pyod.models.auto_encoder", reason="pip install pyod")
    vae = pytest.importorskip("pyod.models.vae", reason="pip install pyod")

WINE = load_wine().data
MAKE = {
    "AutoEncoder": lambda **settings: auto_encoder.AutoEncoder(hidden_neuron_list=[8, 4], **settings),
    "VAE": lambda **settings: vae.VAE(encoder_neuron_list=[8, 6], decoder_neuron_list=[6, 8], **settings),
}


def fitted(kind, preprocessing):
    rows = WINE if preprocessing else (WINE - WINE.mean(axis=0)) / WINE.std(axis=0)
    with torch.random.fork_rng():
        return MAKE[kind](preprocessing=preprocessing, epoch_num=3, verbose=0, device="cpu").fit(rows), rows


def own_scores(detector, rows):
    """pyod's decision function, at the mean of the noise if there is any."""
    detector = copy.deepcopy(detector)
    detector.model.reparameterize = lambda mean, logvar: mean
    return detector.decision_function(rows)


@pytest.mark.parametrize("preprocessing", [True, False])
@pytest.mark.parametrize("kind", MAKE)
def test_the_scores_are_those_of_the_decision_function_and_the_values_add_up(kind, preprocessing):
    detector, rows = fitted(kind, preprocessing)

    autoencoder = shapae.adapters.pyod(detector)
    explanation = Explainer(autoencoder, rows[:50], head=heads.ReconstructionError("l2"))(rows[50:70])

    spread = np.ptp(explanation.scores)
    np.testing.assert_allclose(explanation.scores, own_scores(detector, rows[50:70]), rtol=1e-4)
    assert np.abs(explanation.residual).max() <= 1e-5 * spread


@pytest.mark.parametrize("kind", MAKE)
def test_the_named_heads_work(kind):
    detector, rows = fitted(kind, True)
    autoencoder = shapae.adapters.pyod(detector)
    for head in ("reconstruction_error", "latent"):
        explanation = Explainer(autoencoder, rows[:50], head=head)(rows[50:60])
        assert np.abs(explanation.residual).max() <= 1e-5 * np.ptp(explanation.scores)
    scaled = torch.tensor((rows[50:60] - detector.X_mean) / detector.X_std).float()
    with torch.no_grad():
        model = detector.model.eval()
        latents = model.encode(scaled)[0] if kind == "VAE" else model.encoder(scaled)
    np.testing.assert_allclose(explanation.scores, latents, rtol=1e-4, atol=1e-4)
