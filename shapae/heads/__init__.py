"""Heads say which numbers of an autoencoder are explained."""

from shapae.heads.base import HEADS, Head
from shapae.heads.functions import as_head, named
from shapae.heads.latent import LabelFree, Latent, LatentNorm
from shapae.heads.losses import Elementwise
from shapae.heads.reconstruction import ErrorFromOthers, FeatureError, Reconstruction, ReconstructionError
from shapae.heads.variational import ELBO, KL, LatentLogVariance, LatentMean, UnitKL

__all__ = [
    "ELBO",
    "HEADS",
    "KL",
    "Elementwise",
    "ErrorFromOthers",
    "FeatureError",
    "Head",
    "LabelFree",
    "Latent",
    "LatentLogVariance",
    "LatentMean",
    "LatentNorm",
    "Reconstruction",
    "ReconstructionError",
    "UnitKL",
    "as_head",
    "named",
]


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
