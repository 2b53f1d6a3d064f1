"""Heads say which numbers of an autoencoder are explained."""

from torch import nn

from shapae.errors import ModelError
from shapae.heads.base import HEADS, Head
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


def named(name: str) -> Head:
    """The head of a name: "latent" for all its outputs, "latent:3" or "reconstruction:CD79A" for one.

    >>> named("latent:3")
    Latent(chosen=['3'])

    Raises:
        UnknownName: There is no such head; the message lists them.
    """
    kind, colon, choice = name.partition(":")
    head = HEADS[kind]()
    if colon:
        head.chosen = [choice]
    return head


def as_head(head: str | nn.Module) -> nn.Module:
    """The head of a name, or ``head`` itself.

    Raises:
        ModelError: It is neither a name nor a module.
    """
    if isinstance(head, str):
        return named(head)
    if not isinstance(head, nn.Module):
        call = f"; did you mean {head.__name__}()?" if isinstance(head, type) else "."
        raise ModelError(f"the head must be a name or a torch.nn.Module, got {head!r}{call}")
    return head
