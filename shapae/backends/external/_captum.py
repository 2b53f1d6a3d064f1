"""Keep captum harmless and right: it gets a copy of the score, and its table of nonlinear modules is borrowed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from captum.attr._core import deep_lift
from torch import nn

from shapae.backends.external._common import ACTIVATIONS, BorrowedTable, differentiable_copy, exclusive
from shapae.errors import ModelError

TABLE = BorrowedTable(deep_lift.SUPPORTED_NON_LINEAR)


@contextmanager
def patched_copy(score: nn.Module) -> Iterator[nn.Module]:
    """Copy ``score`` for captum to mutate, with the rescale rule for all elementwise modules in its table.

    Raises:
        ModelError: captum refuses a module that runs more than once.
        RuntimeError: Something else fails.
    """
    with exclusive(), rules():
        try:
            yield differentiable_copy(score)
        except RuntimeError as error:
            if "more than once" not in str(error):
                raise
            raise ModelError(
                f"captum takes each module once, but one runs several times for the same rows: {error} Use "
                f"backend='deep'."
            ) from error


def rules() -> AbstractContextManager[None]:
    """Enter the rescale rule for all elementwise modules into captum's table; see ``shapae.backends.captum_rules``."""
    return TABLE.changed(_add_rules)


def _add_rules(table: dict[Any, Any]) -> None:
    table.update(dict.fromkeys(ACTIVATIONS, deep_lift.nonlinear))
    # captum's rule for softmax mixes rows, and its values do not add up; a plain gradient shows in the residual.
    table.pop(nn.Softmax, None)
