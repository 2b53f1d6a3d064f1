"""Heads on the latents."""

import torch
from torch import Tensor

from shapae.heads.base import HEADS, PerUnitHead, ScalarHead
from shapae.heads.losses import Elementwise
from shapae.models.autoencoder import Autoencoder


@HEADS.register("latent")
class Latent(PerUnitHead):
    """Each latent unit: score_k(x) = e_k(x), with e the encoder.

    Args:
        units: Positions of latent units; None for all units.
    """

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        return autoencoder.encode(rows)


@HEADS.register("latent_norm")
class LatentNorm(ScalarHead):
    """Squared length of the latents: score(x) = sum_k e_k(x)**2."""

    output = "latent norm"

    def __init__(self) -> None:
        super().__init__()
        self.square = Elementwise(torch.square)

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n,)."""
        norm: Tensor = self.square(autoencoder.encode(rows)).sum(dim=1)
        return norm


@HEADS.register("label_free")
class LabelFree(ScalarHead):
    """Label-free importance: score(z) = <e(x), e(z)>, with e the encoder and x the explained row.

    The values are the contributions of the features to the position of the row in the latent space, independent of
    rotations of this space.

    Reference:
        Crabbe and van der Schaar, 2022, section 3.1, https://arxiv.org/abs/2203.01928
    """

    output, anchored = "label-free", True

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n,)."""
        latents = autoencoder.encode(rows)
        return (latents * (latents if anchors is None else autoencoder.encode(anchors))).sum(dim=1)
