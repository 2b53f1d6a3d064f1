"""The outputs of a head one by one, for heads with an anchor for each output."""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from shapae.heads.score import Score


class SeparateOutputs(nn.Module):
    """The outputs of an anchored score as one function of a row and of the anchor of one output.

    An engine that explains all outputs at once would pass zeros through the model: for each output, those of all the
    mixed rows that belong to the others.

    Args:
        score: Its head has two methods besides ``forward``: ``output_anchors(autoencoder, anchors)``, from anchors
            (n, a) to those of the outputs (n, k, c), and ``forward_output(autoencoder, rows, anchors)``, from rows and
            the anchors (n, c) of one output each to numbers (n,).
    """

    def __init__(self, score: Score) -> None:
        super().__init__()
        self.score = score

    @staticmethod
    def suits(score: nn.Module) -> TypeGuard[Score]:
        """Tell whether the head of ``score`` has these methods, and the ``forward`` of the same class."""
        if not isinstance(score, Score) or not hasattr(score.head, "forward_output"):
            return False
        kinds = [_defining_class(score.head, name) for name in ("forward", "forward_output")]
        return kinds[0] is kinds[1] and "forward" not in vars(score.head)

    def anchors(self, anchors: Tensor) -> Tensor:
        """(n, a) -> (n, k, c): the anchors of the outputs."""
        head: Any = self.score.head
        with torch.no_grad():
            each: Tensor = head.output_anchors(self.score.autoencoder, anchors)
        return each

    def forward(self, rows: Tensor, anchors: Tensor) -> Tensor:
        """(n, d), (n, c) -> (n, 1)."""
        head: Any = self.score.head
        numbers: Tensor = head.forward_output(self.score.autoencoder, rows, anchors)
        return numbers.to(rows.dtype).unsqueeze(1)


def _defining_class(head: nn.Module, method: str) -> type:
    return next(kind for kind in type(head).__mro__ if method in vars(kind))
