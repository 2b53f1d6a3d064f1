"""An autoencoder seen from its latents: what is explained is what the decoder makes of them."""

from torch import Tensor

from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder


class DecoderOnly:
    """Stands for an autoencoder in heads whose rows are latents.

    Args:
        autoencoder: Its decoder is run.
        originals: (n, d), the rows that the latents being explained were encoded from: a target that stays.
    """

    def __init__(self, autoencoder: Autoencoder, originals: Tensor) -> None:
        self.autoencoder, self.originals = autoencoder, originals

    def reconstruct(self, latents: Tensor) -> Tensor:
        """(n, m) -> (n, d)."""
        return self.autoencoder.decode(latents)

    def target(self, latents: Tensor) -> Tensor:
        """(n, m) -> (n, d): the original rows, whatever the latents."""
        return self.autoencoder.target(self.originals)

    def encode(self, latents: Tensor) -> Tensor:
        """Refuse what would explain latents by themselves.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            "with source='latent' the decoder alone is explained, so the head can't be one of latents; use "
            "head='reconstruction_error', 'feature_error' or 'reconstruction', or source='input'."
        )

    latent_distribution = encode
