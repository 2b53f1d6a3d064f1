"""What all heads that have a name share."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from shapae.models.autoencoder import Autoencoder
from shapae.utils.registry import Registry

Choice = str | int | Sequence[str | int] | None
HEADS: Registry[Callable[[], "Head"]] = Registry("head")


class Head(nn.Module):
    """Base of the heads that have a name.

    A user's own head is any nn.Module with this ``forward``. Each number must depend on its own row only, and
    nonlinear parts should be modules (see ``Elementwise``), because the shap backends see nothing else.

    Args:
        chosen: Name or position of the output that is wanted, or several of them; None for all.

    Attributes:
        anchored: Whether ``forward`` takes ``anchors``, too: (n, d), for each row the one being explained, whose
            features stay as they are.
        draws: If not 0, the outputs are so many draws of one number, whose mean is explained.
    """

    anchored = False
    draws = 0

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


class ScalarHead(Head):
    """Base of the heads with one output.

    Attributes:
        output: Its name.
    """

    output: str

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """One name."""
        return [self.output]


class PerUnitHead(Head):
    """Base of the heads with one output for each latent unit.

    Args:
        units: Positions of the wanted units; None for all.

    Attributes:
        quantity: What of the unit, after its name.
    """

    quantity = ""

    def __init__(self, units: Choice = None) -> None:
        super().__init__(units)

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """Counted from 0."""
        return [f"latent {unit}{self.quantity}" for unit in range(width)]
