"""shap.DeepExplainer: DeepLIFT's rescale rule through hooks on modules, one row and one output at a time."""

from collections.abc import Sequence
from functools import partial, reduce
from operator import add

import shap
import torch
from torch import Tensor

from shapae.backends import Attribution, Game
from shapae.backends.external._shap import lent
from shapae.utils.moments import Moments

ADDITIVE = True
DRAWS = 0
REMEDY = (
    "shap sees torch's own elementwise modules only, each once: functional calls, a module used twice, softmax, layer "
    "norm, attention and products, in the model or in a head, get plain gradients. Use backend='deep'."
)


def held(background: int, features: int) -> int:
    """See ``Backend.held``: the background, and the row as many times."""
    return 2 * background


def against(game: Game) -> Attribution:
    """See ``Backend.against``."""
    return partial(attribute, game)


def attribute(game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    """DeepSHAP values; see ``Attribution``. Nothing is drawn.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """
    weights = [len(game.background)] if game.weights is None else game.weights.tolist()
    parts = torch.chunk(game.background, len(weights))
    return reduce(add, (_against(game, rows, *part) for part in zip(parts, weights, strict=True)))


def _against(game: Game, rows: Tensor, background: Tensor, weight: float) -> Moments:
    """Against ``background``, all of whose rows count the same."""
    with lent(game.score) as copy:
        values = shap.DeepExplainer(copy, background).shap_values(rows, check_additivity=False)
    return Moments(weight, values)
