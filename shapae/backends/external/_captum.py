"""What keeps captum harmless and right: a copy of the score, its table of nonlinear modules borrowed."""

from collections.abc import Iterator
from contextlib import contextmanager

from captum.attr._core import deep_lift
from torch import nn

from shapae.backends.external._common import ACTIVATIONS, alone
from shapae.heads.score import Differentiable
from shapae.models.unwrapping import deep_copy


@contextmanager
def lent(score: nn.Module, seed: int | None = None) -> Iterator[nn.Module]:
    """A copy of ``score`` for captum to mutate, with the rescale rule for all elementwise modules in its table.

    Args:
        score: (n, d) -> (n, k).
        seed: Of what captum draws.
    """
    table = deep_lift.SUPPORTED_NON_LINEAR
    with alone(seed):
        before = dict(table)
        try:
            table.update(dict.fromkeys(ACTIVATIONS, deep_lift.nonlinear))
            # captum's rule for softmax mixes rows, and adds up for none; a plain gradient is in the residual.
            table.pop(nn.Softmax, None)
            yield Differentiable(deep_copy(score))
        finally:
            table.clear()
            table.update(before)
