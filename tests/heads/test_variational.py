"""Heads of variational autoencoders, compared with torch.distributions."""

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from shapae import Autoencoder, Explainer, heads
from shapae.errors import DataError, ModelError
from shapae.heads.losses import GaussianNLL
from tests import cases

X = torch.tensor(cases.table(5, seed=1))
B = cases.table(7, seed=2)
HEADS = ["latent_mean", "latent_log_variance", "kl", "unit_kl", "elbo"]


@pytest.fixture
def vae():
    return Autoencoder(cases.build(cases.Variational))


def posterior(vae):
    mean, log_variance = vae.model.encoder(X)
    return Normal(mean, torch.exp(log_variance / 2))


def divergence(vae):
    return kl_divergence(posterior(vae), Normal(torch.zeros(3).double(), 1.0))


def test_means_and_log_variances_are_the_outputs_of_the_encoder(vae):
    mean, log_variance = vae.model.encoder(X)
    torch.testing.assert_close(heads.LatentMean()(vae, X), mean)
    torch.testing.assert_close(heads.LatentLogVariance()(vae, X), log_variance)


def test_the_divergence_equals_the_divergence_of_torch(vae):
    torch.testing.assert_close(heads.UnitKL()(vae, X), divergence(vae))
    torch.testing.assert_close(heads.KL()(vae, X), divergence(vae).sum(dim=1))


def test_the_elbo_at_the_mean_equals_the_elbo_of_torch(vae):
    likelihood = Independent(Normal(vae.model.decoder(posterior(vae).mean), 0.5**0.5), 1).log_prob(X)
    want = likelihood - 3 * divergence(vae).sum(dim=1)
    torch.testing.assert_close(heads.ELBO(GaussianNLL(0.5), beta=3)(vae, X), want)


def test_the_elbo_of_samples_equals_the_elbo_of_torch_with_equal_noise(vae):
    got = heads.ELBO(draws=4, seed=3)(vae, X)
    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(3)).double()
    for draw, each in enumerate(noise):
        latents = posterior(vae).mean + posterior(vae).stddev * each
        likelihood = Independent(Normal(vae.model.decoder(latents), 1.0), 1).log_prob(X)
        torch.testing.assert_close(got[:, draw], likelihood - divergence(vae).sum(dim=1))


def test_the_elbo_of_truth_values_equals_the_elbo_of_torch(vae):
    vae.model.decoder.append(torch.nn.Sigmoid())
    rows = (X > 0).double()
    mean, log_variance = vae.model.encoder(rows)
    want = Bernoulli(vae.model.decoder(mean)).log_prob(rows).sum(dim=1)
    want -= kl_divergence(Normal(mean, torch.exp(log_variance / 2)), Normal(torch.zeros(3).double(), 1.0)).sum(dim=1)
    torch.testing.assert_close(heads.ELBO("bce")(vae, rows), want)


@pytest.mark.parametrize("backend", ["deep", "exact"])
@pytest.mark.parametrize("head", HEADS)
def test_values_add_up_for_a_model_that_samples(head, backend, vae):
    got = Explainer(vae, B, head=head, backend=backend)(X)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    alone = Explainer(vae, B, head=head, backend=backend)(X[2:3])
    np.testing.assert_allclose(alone.values, got.values[2:3], atol=1e-12)


@pytest.mark.parametrize(
    ("draws", "wanted"), [(-1, "an integer, at least 0"), (1, "0 for the mean of the latents, or")]
)
def test_one_or_a_negative_number_of_samples_is_refused(draws, wanted):
    with pytest.raises((DataError, ModelError), match=f"draws must be {wanted}.*, got {draws}"):
        heads.ELBO(draws=draws)
