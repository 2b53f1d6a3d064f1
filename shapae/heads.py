"""Heads say which numbers of an autoencoder are explained."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from shapae.autoencoder import Autoencoder
from shapae.errors import ModelError
from shapae.table import Table

Choice = str | int | Sequence[str | int] | None
HEADS: Table[Callable[[], "Head"]] = Table("head")
LOSSES: Table[Callable[[Tensor], Tensor]] = Table("loss")
LOSSES.enter("mse")(torch.square)
LOSSES.enter("mae")(torch.abs)


class Elementwise(nn.Module):
    """A function of each number on its own, as a module, so that hook-based explainers can see it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return self.function(values)

    def extra_repr(self) -> str:
        """Name of the function."""
        return str(getattr(self.function, "__name__", self.function))


class Head(nn.Module):
    """Base of the heads that have a name.

    A user's own head is any nn.Module with this ``forward``. Each number must depend on its own row only, and
    nonlinear parts should be modules (see ``Elementwise``), because the shap backends see nothing else.

    Args:
        chosen: Name or position of the output that is wanted, or several of them; None for all.

    Attributes:
        anchored: Whether ``forward`` is handed ``anchors``, too: (n, d), for each row the one being explained.
    """

    anchored = False

    def __init__(self, chosen: Choice = None) -> None:
        super().__init__()
        if isinstance(chosen, (str, int)):
            chosen = [chosen]
        self.chosen = None if chosen is None else [each if isinstance(each, str) else int(each) for each in chosen]

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n,), or (n, k) for several outputs, in the dtype of ``rows``."""
        raise NotImplementedError

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """``width`` names, one for each output before any are chosen."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The outputs that were chosen."""
        return "" if self.chosen is None else f"chosen={self.chosen}"


@HEADS.enter("reconstruction_error")
class ReconstructionError(Head):
    """Mean reconstruction error of each row.

    score(x) = 1/d * sum_j loss(r_j(x) - x_j), with r the model's reconstruction.

    A feature enters twice, as input of the model and as target of the error; both ways are attributed.

    Args:
        loss: "mse" for squares, "mae" for absolute values.
        target: "moving": the row is compared with itself while its features are replaced, so that the score of a
            mixed row is that row's own anomaly score. "fixed": it is compared with the row being explained, score(z) =
            1/d * sum_j loss(r_j(z) - x_j): which features let the model rebuild this row.

    Raises:
        ModelError: Another target.

    Reference:
        Antwarg et al., 2021, https://arxiv.org/abs/1903.02407
    """

    def __init__(self, loss: str = "mse", target: str = "moving") -> None:
        super().__init__()
        if target not in ("moving", "fixed"):
            raise ModelError(f"the target of the reconstruction error must be 'moving' or 'fixed', got {target!r}.")
        self.loss, self.anchored = Elementwise(LOSSES[loss]), target == "fixed"

    def forward(self, autoencoder: Autoencoder, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n,)."""
        target = rows if anchors is None else anchors
        return torch.mean(self.loss(autoencoder.reconstruct(rows) - autoencoder.target(target)), dim=1)

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """One name."""
        return ["reconstruction error"]


@HEADS.enter("feature_error")
class FeatureError(Head):
    """Reconstruction error of each feature by itself: score_j(x) = loss(r_j(x) - x_j).

    Args:
        features: Names or positions of the wanted features; None for all.
        loss: "mse" for squares, "mae" for absolute values.
    """

    def __init__(self, features: Choice = None, loss: str = "mse") -> None:
        super().__init__(features)
        self.loss = Elementwise(LOSSES[loss])

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        errors: Tensor = self.loss(autoencoder.reconstruct(rows) - autoencoder.target(rows))
        return errors

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """The features."""
        return list(features)


@HEADS.enter("reconstruction")
class Reconstruction(Head):
    """Each reconstructed feature: score_j(x) = r_j(x).

    Args:
        features: Names or positions of the wanted features; None for all.
    """

    def __init__(self, features: Choice = None) -> None:
        super().__init__(features)

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        return autoencoder.reconstruct(rows)

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """The features."""
        return list(features)


@HEADS.enter("latent")
class Latent(Head):
    """Each latent unit: score_k(x) = e_k(x), with e the encoder.

    Args:
        units: Positions of the wanted units; None for all.
    """

    def __init__(self, units: Choice = None) -> None:
        super().__init__(units)

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        return autoencoder.encode(rows)

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """Counted from 0."""
        return [f"latent {unit}" for unit in range(width)]


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
