"""Keep shap's explainers harmless and right: they get a copy of the score, and their operator table is borrowed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shap.explainers._deep import deep_pytorch
from torch import Tensor, nn

from shapae.backends.external._common import ACTIVATIONS, BorrowedTable, exclusive, hooked_copy, in_batches
from shapae.backends.game import Game
from shapae.heads.base import HEADS
from shapae.heads.functions import FunctionHead
from shapae.models.unwrapping import deep_copy

# The kind of model that shap's other explainers take.
Function = Callable[[NDArray[Any]], NDArray[Any]]
TABLE = BorrowedTable(deep_pytorch.op_handler)


@contextmanager
def patched_copy(score: nn.Module) -> Iterator[nn.Module]:
    """Copy ``score`` for shap to mutate, with rules for all of its modules in shap's table.

    Modules that shap does not know keep their plain gradient, as they do in shap with a warning: a wrong sum is in the
    residual.
    """
    with exclusive(), rules(score.modules()):
        yield hooked_copy(score)


def rules(modules: Iterable[nn.Module] = ()) -> AbstractContextManager[None]:
    """Enter the rescale rule for all elementwise modules into shap's table; see ``shapae.backends.shap_rules``.

    Args:
        modules: Modules that pass gradients on where shap has no rule for them.
    """
    return TABLE.changed(partial(_add_rules, [*modules]))


def _add_rules(modules: Iterable[nn.Module], table: dict[Any, Any]) -> None:
    kinds: list[Any] = [*HEADS.values(), FunctionHead, *map(type, modules)]
    for kind in kinds:
        table.setdefault(kind.__name__, deep_pytorch.passthrough)
    table.update({kind.__name__: deep_pytorch.nonlinear_1d for kind in ACTIVATIONS})
    # shap takes softmax for elementwise, which it is not: wrong values that add up, so that no residual tells.
    table["Softmax"] = deep_pytorch.passthrough


@contextmanager
def copy_as_function(score: nn.Module, like: Tensor, seed: int) -> Iterator[Function]:
    """Copy ``score`` as a function of arrays, for explainers that draw from the global generator.

    Args:
        score: (n, d) -> (n, k).
        like: A tensor of the dtype and on the device of the score.
        seed: Random seed.
    """
    scores = in_batches(deep_copy(score))

    def function(rows: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(scores(torch.as_tensor(rows).to(like)).double().cpu())

    with exclusive(seed):
        yield function


class Masker:
    """Background rows for shap, each as often in every coalition, so that they can be weighted.

    shap's own masker leaves out unchanged rows, and its mean over the background has no weights.

    Args:
        game: Its background and weights are used.
        clustering: (d - 1, 4), linkage of the features, as in scipy.
    """

    def __init__(self, game: Game, clustering: NDArray[Any] | None = None) -> None:
        self._rows, weights = game.background.cpu().numpy(), game.background_weights.cpu().numpy()
        self._weights = weights / weights.mean()
        self.shape, self.clustering = self._rows.shape, clustering

    def __call__(self, mask: Any, row: NDArray[Any]) -> NDArray[Any]:
        """(b, d): the background, with the features of ``row`` where ``mask`` is true."""
        return np.asarray(np.where(mask, row, self._rows))

    def weighted(self, function: Function) -> Function:
        """Weight the results of ``function``, so that their plain mean over the background is the weighted mean."""

        def weighted(rows: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(function(rows) * np.tile(self._weights, len(rows) // len(self._weights))[:, None])

        return weighted
