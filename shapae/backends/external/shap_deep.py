"""shap.DeepExplainer: DeepLIFT's rescale rule through hooks on modules, one row and one output at a time."""

from collections.abc import Sequence
from functools import partial, reduce
from operator import add

import shap
import torch
from torch import Tensor

from shapae.backends.base import Attribution, Backend
from shapae.backends.external._shap import patched_copy
from shapae.backends.game import Game
from shapae.utils.moments import Moments


class ShapDeep(Backend):
    """DeepSHAP values of shap. Nothing is sampled.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """

    name = "shap_deep"
    quantity = "DeepLIFT approximation of Shapley values by shap"
    hint = (
        "shap sees torch's own elementwise modules only, each once: functional calls, a module used twice, softmax, "
        "layer norm, attention and products, in the model or in a head, get plain gradients. Use backend='deep'."
    )

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(_attribute, game)


def _attribute(game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    weights = [len(game.background)] if game.weights is None else game.weights.tolist()
    parts = zip(torch.chunk(game.background, len(weights)), weights, strict=True)
    return reduce(add, (_attribute_part(game, rows, *part) for part in parts))


def _attribute_part(game: Game, rows: Tensor, background: Tensor, weight: float) -> Moments:
    """Attribute against ``background``, whose rows all have the same weight."""
    with patched_copy(game.score) as copy:
        values = shap.DeepExplainer(copy, background).shap_values(rows, check_additivity=False)
    return Moments(weight, values)
