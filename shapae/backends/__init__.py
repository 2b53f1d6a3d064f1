"""Backends say how a score is attributed to features. Each file is one; its name is the backend's name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor

from shapae.moments import Moments
from shapae.score import Score
from shapae.table import Folder

_FOLDER = Folder("backend", __name__, __path__)


@dataclass(frozen=True, eq=False)
class Game:
    """What is shared out: v(S) = mean over the background of score(x_S, b_rest).

    Attributes:
        score: From rows (n, d) to scores (n, k); in eval mode, and the same afterwards. Where it is anchored,
            ``score.at(row)`` is what is shared out for ``row``.
        background: (b, d), floating point.
        weights: (b,), how much each background row counts, 1 on average; None where all count the same.
        players: (d,), integers from 0: to which player each feature belongs; None where each is one by itself.
    """

    score: Score
    background: Tensor
    weights: Tensor | None = None
    players: Tensor | None = None


class Attribution(Protocol):
    """Attributes blocks of rows against one background; what they share is computed once."""

    def __call__(self, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
        """Attribute the scores of ``rows`` to their features.

        Args:
            rows: (n, d), in the dtype and on the device of the background.
            seeds: n integers, from which all that is drawn for a row is drawn.

        Returns:
            (n, d, k), or (n, p, k) of p players. Each row sums to score(row) - mean(score(background)), see
            ``Backend.ADDITIVE``. ``count`` is the sum of the weights, where there are some.
        """


class Backend(Protocol):
    """What a backend's file holds.

    Attributes:
        ADDITIVE: The values sum to score - base value up to rounding; otherwise, up to their standard errors.
        REMEDY: What to do where they do not.
        DRAWS: How many times it draws from the background for each row; 0 if it goes through all of it.
        PLAYERS: It takes ``Game.players``. One without this attribute does not.
    """

    ADDITIVE: bool
    REMEDY: str
    DRAWS: int

    def against(self, game: Game) -> Attribution:
        """What attributes rows; nothing is computed yet."""

    def held(self, background: int, features: int) -> int:
        """How many rows the score is run on at once, to explain one row.

        Args:
            background: Number of background rows.
            features: Number of features, or of players.

        Returns:
            It does not grow with ``background`` where all of the background has to be there at once.
        """


def names() -> list[str]:
    """The names of all backends."""
    return list(_FOLDER)


def named(name: str) -> Backend:
    """The backend of a name.

    Raises:
        UnknownName: There is no such backend; the message lists them.
    """
    return cast(Backend, _FOLDER[name])
