"""Reconstructions, latents and distributions in the outputs of users' models."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from shapae import Autoencoder
from shapae.errors import ModelError
from tests import cases
from tests.models.vae import Encoding, Vae

X = torch.tensor(cases.table(4))


class Output(dict):
    """A dict with attributes, as in pythae and transformers."""

    def __setattr__(self, name, value):
        self[name] = value


@dataclass(slots=True)
class Slotted:
    x_hat: torch.Tensor
    z: torch.Tensor
    loss: float = 0.5


@dataclass
class Encoded:
    z: torch.Tensor
    mu: torch.Tensor
    log_var: torch.Tensor


Pair = namedtuple("Pair", ["latent", "recon"])


class Whole(nn.Module):
    """A VAE without encoder and decoder as attributes. Forward returns ``function(reconstruction, mean, ...)``."""

    def __init__(self):
        super().__init__()
        self.inner = Vae()

    def forward(self, rows):
        return self.function(*self.inner.parts(rows))


# From reconstruction (4, 6) and latents (4, 3) to an output of forward.
FORWARDS = {
    "tensor": lambda r, z: r,
    "tuple": lambda r, z: (r, z),
    "the other tuple": lambda r, z: [z, r],
    "tuple with a loss": lambda r, z: (r.sum(), z, r),
    "tuple with a codebook": lambda r, z: (r, torch.zeros(9, 3), z),
    "dict": lambda r, z: {"z": z, "recon_x": r, "twice": 2 * r},
    "dict of other names": lambda r, z: {"this": z, "that": r},
    "dict-like": lambda r, z: Output(x_hat=r, embedding=z),
    "slots": Slotted,
    "named tuple": lambda r, z: Pair(z, r),
    "distribution": lambda r, z: Normal(r, torch.ones_like(r)),
    "tuple with a distribution": lambda r, z: (Normal(r, torch.ones_like(r)), z),
    "draws": lambda r, z: {"x_hat": torch.stack([r, r], dim=1), "z": z},
    "one draw": lambda r, z: (z, r.unsqueeze(1)),
}


@pytest.mark.parametrize("kind", FORWARDS)
def test_the_reconstruction_is_found_in_the_output_of_forward(kind):
    function = FORWARDS[kind]
    autoencoder = Autoencoder(cases.build(Vae, lambda r, z, _: function(r, z)))
    torch.testing.assert_close(autoencoder.reconstruct(X), autoencoder.model.parts(X)[0])


@pytest.mark.parametrize("kind", [kind for kind in FORWARDS if kind not in ("tensor", "distribution")])
def test_the_latents_are_found_beside_the_reconstruction_if_there_is_no_encoder(kind):
    model, function = cases.build(Whole), FORWARDS[kind]
    model.function = lambda r, z, _: function(r, z)
    assert torch.equal(Autoencoder(model).encode(X), model.inner.parts(X)[1])


# From mean and log variance, (4, 3) each, to an output of an encoder.
ENCODES = {
    "pair": lambda mu, logvar: (mu, logvar),
    "dict": lambda mu, logvar: {"z": mu + 1, "log_var": logvar, "mu": mu},
    "pythae's": lambda mu, logvar: Output(embedding=mu, log_covariance=logvar),
    "dataclass": lambda mu, logvar: Encoded(mu.unsqueeze(1), mu, logvar),
    "standard deviation": lambda mu, logvar: {"mean": mu, "std": (logvar / 2).exp()},
    "variance": lambda mu, logvar: {"loc": mu, "var": logvar.exp()},
    "normal": lambda mu, logvar: Normal(mu, (logvar / 2).exp()),
    "normal in a tuple": lambda mu, logvar: (Normal(mu, (logvar / 2).exp()), mu + 1),
    "independent": lambda mu, logvar: Independent(Normal(mu, (logvar / 2).exp()), 1),
}


@pytest.mark.parametrize("kind", ENCODES)
def test_mean_and_log_variance_are_found_in_the_output_of_encode(kind):
    autoencoder = Autoencoder(cases.build(Encoding, ENCODES[kind]))
    _, mean, log_variance = autoencoder.model.parts(X)
    for got, want in zip(autoencoder.latent_distribution(X), (mean, log_variance), strict=True):
        torch.testing.assert_close(got, want)
    assert torch.equal(autoencoder.encode(X), mean)


@pytest.mark.parametrize(
    "function",
    [
        lambda *parts: parts,
        lambda r, mu, logvar: {"recon": r, "mu": mu, "logvar": logvar},
        lambda r, mu, logvar: (r, Normal(mu, (logvar / 2).exp())),
    ],
)
def test_the_output_of_a_trunk_is_not_taken_for_the_latents_of_a_vae(function):
    """The output of the trunk also has n rows, so that it could be explained by mistake without an error."""
    autoencoder = Autoencoder(cases.build(Vae, function))
    assert autoencoder.model.encoder(X).shape == (4, 5)
    assert torch.equal(autoencoder.encode(X), autoencoder.model.parts(X)[1])
    torch.testing.assert_close(autoencoder.latent_distribution(X), autoencoder.model.parts(X)[1:])


def test_an_axis_of_one_draw_is_removed_from_the_latents():
    autoencoder = Autoencoder(cases.build(Encoding, lambda mu, _: {"z": mu.unsqueeze(1)}))
    assert torch.equal(autoencoder.encode(X), autoencoder.model.parts(X)[1])


def test_channels_are_not_taken_for_draws():
    autoencoder = Autoencoder(cases.build(Encoding, lambda mu, _: mu.unsqueeze(1).expand(-1, 2, -1)), encode="encode")
    with pytest.raises(ModelError, match=r"returns none\. .*encode gives shape \(4, 2, 3\)"):
        autoencoder.encode(X)
