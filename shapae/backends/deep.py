"""DeepSHAP on a tape of aten operators: no hooks, no copies, nothing left on the model."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from shapae import deepshap
from shapae.backends import Attribution, Game
from shapae.moments import Moments

ADDITIVE = True
DRAWS = 0
REMEDY = "Look for values that overflow, or jump between a row and the background; backend='exact' needs no rules."


def held(background: int, features: int) -> int:
    """See ``Backend.held``: the values of the background, and those of as many rows."""
    return 2 * background


def against(game: Game) -> Attribution:
    """See ``Backend.against``."""
    anchors = [game.score.own(game.background)] if game.score.anchored else []
    return partial(attribute, deepshap.Against(game.score, game.background, *anchors, weights=game.weights))


def attribute(score: deepshap.Against, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    """DeepSHAP values; see ``Attribution`` and ``shapae.deepshap``. Nothing is drawn.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """
    return score.moments(rows, *([rows] if score.anchors else []))
