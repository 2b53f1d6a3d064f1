"""DeepSHAP on a tape of aten operators: no hooks, no copies, nothing left on the model."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from shapae import deepshap
from shapae.backends import AnchoredAttribution, Attribution, Game
from shapae.utils.moments import Moments

ADDITIVE = True
DRAWS = 0
PLAYERS = False
REMEDY = "Look for values that overflow, or jump between a row and the background; backend='exact' needs no rules."


def held(background: int, features: int) -> int:
    """See ``Backend.held``: the values of the background, and those of as many rows."""
    return 2 * background


def against(game: Game) -> Attribution:
    """See ``Backend.against``."""
    return partial(attribute, deepshap.DeepShap(game.score, game.background, weights=game.weights))


def against_anchored(game: Game, anchors: Tensor) -> AnchoredAttribution:
    """See ``AnchoredAttribution``.

    Args:
        game: Of a score that is handed anchors.
        anchors: (b, a), any that the background can be scored with.
    """
    return partial(attribute, deepshap.DeepShap(game.score, game.background, anchors, weights=game.weights))


def attribute(score: deepshap.DeepShap, rows: Tensor, *anchors: Tensor, seeds: Sequence[int]) -> Moments:
    """DeepSHAP values; see ``Attribution`` and ``shapae.deepshap``. Nothing is drawn.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """
    return score.attribute(rows, *anchors)
