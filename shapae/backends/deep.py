"""DeepSHAP on a tape of aten operators: no hooks, no copies, nothing left on the model."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from shapae import deepshap
from shapae.backends.base import AnchoredAttribution, Attribution, Backend
from shapae.backends.game import Game
from shapae.deepshap.engine import HINT
from shapae.heads.outputs import SeparateOutputs
from shapae.heads.score import Score
from shapae.utils.moments import Moments

# Number of rows, of those to explain and of the background, on which the residual of integrated gradients is measured.
NOTED_ROWS = 4


class Deep(Backend):
    """DeepSHAP values of shapae's own engine; see ``shapae.deepshap``. Nothing is sampled.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """

    name = "deep"
    quantity = "DeepLIFT approximation of Shapley values (DeepSHAP)"
    hint = f"{HINT} backend='sampling', or backend='exact' for at most 12 features, needs no rules."

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(_attribute, game.recording(deepshap.DeepShap))

    def bind_anchored(self, game: Game, anchors: Tensor) -> AnchoredAttribution:
        """Bind a game whose score is anchored: one tape serves all rows, and all outputs with anchors of their own."""
        if SeparateOutputs.suits(game.score):
            outputs = SeparateOutputs(game.score)
            engine = replace(game, score=outputs).recording(deepshap.DeepShap, outputs.anchors(anchors)[:, 0])
            return partial(_attribute_outputs, engine, outputs)
        return partial(_attribute, game.recording(deepshap.DeepShap, anchors))

    def notes(self, game: Game, rows: Tensor) -> dict[str, Any]:
        """Name the operators through which gradients are integrated; see ``Backend.notes``.

        What the integrals miss is measured on the first rows and background rows.
        """
        score = game.score
        assert isinstance(score, Score)
        game = replace(game, score=score.per_sample())
        if not game.recording(deepshap.DeepShap, *_anchors(score, game.background)).integrates:
            return {}
        few, rows = game.slice(slice(NOTED_ROWS)), rows[:NOTED_ROWS]
        engine = few.recording(deepshap.DeepShap, *_anchors(score, few.background))
        missed = engine.integrated(score.inputs(rows), *([rows] if score.anchored else []))
        return {
            "integrated gradients through": list(missed),
            "largest residual of integrated gradients": max(missed.values()),
        }


def _anchors(score: Score, background: Tensor) -> list[Tensor]:
    return [score.default_anchors(background)] if score.anchored else []


def _attribute(engine: deepshap.DeepShap, rows: Tensor, *anchors: Tensor, seeds: Sequence[int]) -> Moments:
    return engine.moments(rows, *anchors)


def _attribute_outputs(
    engine: deepshap.DeepShap, outputs: SeparateOutputs, rows: Tensor, anchors: Tensor, *, seeds: Sequence[int]
) -> Moments:
    """Attribute each output of each row as if it were a row by itself."""
    each = outputs.anchors(anchors)
    n, k = each.shape[:2]
    moments = engine.moments(rows.repeat_interleave(k, dim=0), each.flatten(0, 1))

    def of_rows(values: Any) -> Any:
        """(n * k, d, 1) -> (n, d, k)."""
        return values.reshape(n, k, -1).swapaxes(1, 2)

    squares = None if moments.sum_of_squares is None else of_rows(moments.sum_of_squares)
    return replace(moments, mean=of_rows(moments.mean), sum_of_squares=squares)
