"""DeepSHAP on a tape of aten operators: no hooks, no copies, nothing left on the model."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from shapae import deepshap
from shapae.backends.base import AnchoredAttribution, Attribution, Backend
from shapae.backends.game import Game
from shapae.utils.moments import Moments


class Deep(Backend):
    """DeepSHAP values of shapae's own engine; see ``shapae.deepshap``. Nothing is sampled.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """

    name = "deep"
    hint = (
        "Look for values that overflow, or that jump between a row and the background. backend='sampling' needs no "
        "rules, nor does backend='exact' for at most 12 features or groups."
    )

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(_attribute, deepshap.DeepShap(game.score, game.background, weights=game.weights))

    def bind_anchored(self, game: Game, anchors: Tensor) -> AnchoredAttribution:
        """Bind a game whose score is anchored: one tape serves all rows."""
        return partial(_attribute, deepshap.DeepShap(game.score, game.background, anchors, weights=game.weights))


def _attribute(engine: deepshap.DeepShap, rows: Tensor, *anchors: Tensor, seeds: Sequence[int]) -> Moments:
    return engine.attribute(rows, *anchors)
