"""What keeps shap's explainers harmless and right: a copy of the score, its operator table borrowed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shap.explainers._deep import deep_pytorch
from torch import Tensor, nn

from shapae.backends import Game
from shapae.backends.external._common import ACTIVATIONS, alone, in_pieces
from shapae.heads.score import Differentiable
from shapae.models.unwrapping import deep_copy

# What shap takes for a model.
Function = Callable[[NDArray[Any]], NDArray[Any]]


@contextmanager
def lent(score: nn.Module) -> Iterator[nn.Module]:
    """A copy of ``score`` for shap to mutate, with rules for all of its modules in shap's table.

    Elementwise functions get the rescale rule of DeepLIFT. Modules that shap does not know keep their plain
    gradient, as shap does with a warning: what that breaks is in the residual.
    """
    table = deep_pytorch.op_handler
    with alone():
        before = dict(table)
        try:
            for module in score.modules():
                table.setdefault(type(module).__name__, deep_pytorch.passthrough)
            table.update({kind.__name__: deep_pytorch.nonlinear_1d for kind in ACTIVATIONS})
            # shap has softmax as elementwise, which it is not: wrong values that add up, so that no residual tells.
            table["Softmax"] = deep_pytorch.passthrough
            yield Differentiable(deep_copy(score))
        finally:
            table.clear()
            table.update(before)


@contextmanager
def lent_as_function(score: nn.Module, like: Tensor, seed: int) -> Iterator[Function]:
    """A copy of ``score`` from arrays to arrays, for explainers that draw from the global generator.

    Args:
        score: (n, d) -> (n, k).
        like: Of the dtype and on the device that it takes.
        seed: Of what is drawn.
    """
    scored = in_pieces(deep_copy(score))

    def function(rows: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(scored(torch.as_tensor(rows).to(like)).double().cpu())

    with alone(seed):
        yield function


class Masker:
    """Background rows for shap, each as often in every coalition, so that they can be weighted.

    shap's own masker leaves out rows that are as they were, and the mean over the background is one without weights.

    Args:
        game: Its background, and how much each of its rows counts.
        clustering: (d - 1, 4), of the features, as scipy's.
    """

    def __init__(self, game: Game, clustering: NDArray[Any] | None = None) -> None:
        self._rows, counts = game.background.cpu().numpy(), game.counts.cpu().numpy()
        self._weights = counts / counts.mean()
        self.shape, self.clustering = self._rows.shape, clustering

    def __call__(self, mask: Any, row: NDArray[Any]) -> NDArray[Any]:
        """(b, d): the background, with the features of ``row`` where ``mask`` has them."""
        return np.asarray(np.where(mask, row, self._rows))

    def weighted(self, function: Function) -> Function:
        """``function``, so that the mean over the background is the weighted one."""

        def weighted(rows: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(function(rows) * np.tile(self._weights, len(rows) // len(self._weights))[:, None])

        return weighted
