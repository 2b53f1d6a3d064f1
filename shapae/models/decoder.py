"""The decoder of an autoencoder, for explanations whose rows are latents."""

from torch import Tensor

from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder


class DecoderOnly:
    """Substitute for an autoencoder in heads whose rows are latents.

    Args:
        autoencoder: The autoencoder whose decoder is run.
        originals: (n, d), the rows from which the explained latents were encoded. They are the target for all latents.
    """

    def __init__(self, autoencoder: Autoencoder, originals: Tensor) -> None:
        self.autoencoder, self.originals, self.model = autoencoder, originals, autoencoder.model

    def reconstruct(self, latents: Tensor) -> Tensor:
        """(n, m) -> (n, d)."""
        return self.autoencoder.decode(latents)

    def target(self, latents: Tensor) -> Tensor:
        """(n, m) -> (n, d): the original rows, for any latents."""
        return self.autoencoder.target(self.originals)

    def encode(self, latents: Tensor) -> Tensor:
        """Refuse heads on the latents.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            "source='latent' explains the decoder alone, so that the head can't be a head on the latents. Use "
            "head='reconstruction_error', 'feature_error' or 'reconstruction', or source='input'."
        )

    latent_distribution = encode
