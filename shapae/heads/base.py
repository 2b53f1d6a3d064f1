"""Base classes of the heads with a name."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor, nn

from shapae.models.autoencoder import Autoencoder
from shapae.utils.constraints import check_optional
from shapae.utils.registry import Registry

Choice = str | int | Sequence[str | int] | None
HEADS: Registry[Callable[[], "Head"]] = Registry("head")


class Head(nn.Module):
    """Base of the heads with a name.

    A user's own head is any nn.Module with this ``forward``. Each output must depend on its own row only. Nonlinear
    parts should be modules (see ``Elementwise``), because the shap backends detect only modules.

    Args:
        chosen: Names or positions of outputs, or a single one; None for all outputs.

    Attributes:
        anchored: Whether ``forward`` also takes ``anchors`` (n, d): for each row the explained row, whose features are
            not replaced.
        draws: Number of samples of one output, whose mean is explained; 0 for outputs that are not random.
    """

    anchored = False
    draws = 0

    def __init__(self, chosen: Choice = None) -> None:
        super().__init__()
        check_optional(chosen=chosen)
        if isinstance(chosen, str | int | np.integer):
            chosen = [chosen]
        self.chosen = None if chosen is None else [each if isinstance(each, str) else int(each) for each in chosen]

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n,), or (n, k) for several outputs, in the dtype of ``rows``."""
        raise NotImplementedError

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """Return ``width`` names, one for each output before outputs are chosen."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Return the chosen outputs."""
        return "" if self.chosen is None else f"chosen={self.chosen}"


class ScalarHead(Head):
    """Base of the heads with one output.

    Attributes:
        output: Name of the output.
    """

    output: str

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """Return the name of the output."""
        return [self.output]


class PerUnitHead(Head):
    """Base of the heads with one output per latent unit.

    Args:
        units: Positions of latent units; None for all units.

    Attributes:
        quantity: Name of the quantity, appended to the name of the unit.
    """

    quantity = ""

    def __init__(self, units: Choice = None) -> None:
        check_optional(units=units)
        super().__init__(units)

    def output_names(self, features: Sequence[str], width: int) -> list[str]:
        """Return the names of the units, numbered from 0."""
        return [f"latent {unit}{self.quantity}" for unit in range(width)]
