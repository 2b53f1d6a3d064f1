"""Keep other libraries harmless: one thread at a time, generators and log as they were, no output."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from shapae.backends.differentiation import Differentiable
from shapae.errors import ModelError, ShapaeError
from shapae.heads.losses import Elementwise
from shapae.models.unwrapping import deep_copy
from shapae.utils.context import ignored_warnings, seeded
from shapae.utils.hooks import hide_constants
from shapae.utils.memory import batched

# Elementwise modules that are missing in the tables of shap 0.51 or captum 0.9.
ACTIVATIONS = (
    Elementwise,
    *(nn.CELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LogSigmoid, nn.Mish, nn.PReLU),
    *(nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Softshrink, nn.Softsign, nn.Tanhshrink, nn.Threshold),
)
# Number of rows that are scored at once if a library asks for more.
BATCH_ROWS = 2**11


@contextmanager
def exclusive(seed: int | None = None) -> Iterator[None]:
    """Run one library at a time, without output; its random numbers come from ``seed``.

    Raises:
        ModelError: The library, or the model under its hooks, fails.
        ShapaeError: An error of shapae, as it is.
    """
    log = logging.getLogger("shap")
    with seeded(seed), ignored_warnings():
        before, log.disabled = log.disabled, True
        try:
            yield
        except ShapaeError:
            raise
        except Exception as error:  # hooks and gradients of the library, which not every model takes
            raise ModelError(
                f"the library of this backend can't explain the model: {type(error).__name__}: {error}. Use "
                f"backend='sampling', or 'exact' for few features, which only run the model."
            ) from error
        finally:
            log.disabled = before


def differentiable_copy(score: nn.Module) -> nn.Module:
    """Copy ``score`` for a library to mutate, whose hooks see only what depends on the rows.

    Raises:
        ModelError: Some modules are scripted, which take no hooks.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in score.modules()):
        raise ModelError(
            "the model is scripted, frozen or traced by torch.jit, whose modules take no hooks, so that this backend "
            "can't see its operators. Use backend='deep', which needs no hooks, or hand over the original model."
        )
    copy = Differentiable(deep_copy(score))
    hide_constants(copy)
    return copy


class BorrowedTable:
    """A table of another library that is changed while somebody uses the changes, in any thread.

    Args:
        table: Table of the library, which is mutated.
    """

    def __init__(self, table: dict[Any, Any]) -> None:
        self.table, self._lock, self._users, self._before = table, Lock(), 0, dict[Any, Any]()

    @contextmanager
    def changed(self, change: Callable[[dict[Any, Any]], None]) -> Iterator[None]:
        """Apply ``change`` to the table; after the last use, the table is as it was before the first."""
        with self._lock:
            self._before = self._before if self._users else dict(self.table)
            self._users += 1
            change(self.table)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self.table.clear()
                    self.table.update(self._before)


def in_batches(score: nn.Module) -> Callable[[Tensor], Tensor]:
    """Turn ``score`` into a function (n, d) -> (n, k) without gradients, however large n is."""

    def function(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return batched(score, rows, BATCH_ROWS)

    return function
