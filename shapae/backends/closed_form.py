"""Shapley values of all outputs of one hidden layer in closed form: nothing is sampled."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from shapae.backends.base import Attribution, Backend
from shapae.backends.game import Game
from shapae.deepshap import ManyOutputs
from shapae.errors import ModelError
from shapae.heads.score import Score
from shapae.utils.moments import Moments


class ClosedForm(Backend):
    """Shapley values of a chain with one hidden layer, whose inputs at random coalitions are taken to be normal.

    See ``shapae.deepshap.feedforward.closed_form``.
    """

    name = "closed_form"
    quantity = "Shapley values in closed form, for normal inputs of the hidden units"

    @staticmethod
    def takes(game: Game) -> bool:
        """Tell whether the score of a game is such a chain of the features themselves."""
        score = game.score
        assert isinstance(score, Score)
        plain = not (score.anchored or score.draws or game.players)
        return plain and ManyOutputs(score, game.background[:2]).has_closed_form

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(_attribute, ManyOutputs(game.score, game.background, weights=game.weights))


def _attribute(outputs: ManyOutputs, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    values = outputs.closed_form(rows)
    if values is None:
        raise ModelError(
            "the closed form of the Shapley values is not finite, or the model chooses its operators by the values of "
            "a row. Use backend=shapae.backends.Coalitions(pairs=2), which has no closed form."
        )
    count = len(outputs.background) if outputs.weights is None else float(outputs.weights.sum())
    return Moments(count, values)
