"""pyod's detectors: their own scores are explained, on rows as they are."""

import contextlib
import copy
import io
from importlib import import_module

import numba
import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine

import shapae
from shapae import Explainer, heads
from shapae.errors import ModelError

with pytest.MonkeyPatch.context() as patch:  # compiling its distances would take ten seconds
    patch.setattr(numba.config, "DISABLE_JIT", True)
    auto_encoder = pytest.importorskip("pyod.models.auto_encoder", reason="pip install pyod")
    vae = pytest.importorskip("pyod.models.vae", reason="pip install pyod")
    ae1svm, alad = import_module("pyod.models.ae1svm"), import_module("pyod.models.alad")
    deep_svdd, iforest = import_module("pyod.models.deep_svdd"), import_module("pyod.models.iforest")

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


def test_the_detector_itself_is_explained_and_the_record_says_what_its_own_score_is():
    detector, rows = fitted("AutoEncoder", True)
    got = Explainer(detector, rows[:50])(rows[50:60])
    want = Explainer(shapae.adapters.pyod(detector), rows[:50])(rows[50:60])
    np.testing.assert_array_equal(got.values, want.values)
    assert got.output_names == "reconstruction error"
    assert "is ReconstructionError('l2'), the distance on scaled rows" in got.made_by["model"]["pyod"]
    own = Explainer(detector, rows[:50], head=heads.ReconstructionError("l2"))
    assert own.output_names == ["reconstruction error (l2)"]


@pytest.mark.parametrize("preprocessing", [True, False])
def test_the_scores_of_an_autoencoder_with_a_support_vector_machine_are_its_own(preprocessing):
    with torch.random.fork_rng(), contextlib.redirect_stdout(io.StringIO()):
        detector = ae1svm.AE1SVM(preprocessing=preprocessing, epochs=2, hidden_neurons=[8, 6]).fit(WINE)
    explanation = Explainer(detector, WINE[:50], head=heads.ReconstructionError("l2"))(WINE[50:60])
    np.testing.assert_allclose(explanation.scores, detector.decision_function(WINE[50:60]), rtol=1e-4)
    assert np.abs(explanation.residual).max() <= 1e-5 * np.ptp(explanation.scores)
    assert "decode(encode(x)) = reconstruct(x): yes" in explanation.made_by["model"]["latents"]


def test_the_two_halves_of_an_adversarial_autoencoder_are_explained():
    with torch.random.fork_rng(), contextlib.redirect_stdout(io.StringIO()):
        detector = alad.ALAD(preprocessing=True, epochs=2, latent_dim=3, batch_size=32, verbose=0).fit(WINE)
    scores = Explainer(detector, WINE[:50]).scores(WINE[50:60])
    with torch.no_grad():
        rows = torch.tensor(detector.scaler_.transform(WINE[50:60])).float()
        want = (detector.dec.eval()(detector.enc.eval()(rows)) - rows).square().mean(dim=1)
    np.testing.assert_allclose(scores, want, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: auto_encoder.AutoEncoder(),
            r"the AutoEncoder of pyod is not fitted\. Call detector\.fit\(X\)",
        ),
        (lambda: vae.VAE(), "the VAE of pyod is not fitted"),
        (lambda: ae1svm.AE1SVM(), "the AE1SVM of pyod is not fitted"),
        (lambda: deep_svdd.DeepSVDD(13), r"DeepSVDD of pyod does not reconstruct .*AutoEncoder, VAE, AE1SVM, ALAD\."),
        (
            lambda: iforest.IForest(),
            r"IForest of pyod does not .*KernelExplainer\(detector\.decision_function",
        ),
    ],
)
def test_detectors_that_are_not_fitted_or_do_not_reconstruct_are_refused(make, message):
    for wrap in (shapae.adapters.pyod, lambda detector: Explainer(detector, WINE)):
        with pytest.raises(ModelError, match=message):
            wrap(make())
