"""Base classes of backends: a backend binds a game, and then attributes rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
from torch import Tensor

from shapae.backends.game import Game
from shapae.errors import ShapeError
from shapae.heads.score import Score
from shapae.tables.players import Players
from shapae.utils.moments import Moments, concatenate


class Attribution(Protocol):
    """Attributes the scores of rows in one game. Work that all rows share is done once."""

    def __call__(self, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
        """Attribute the scores of ``rows`` to their features.

        Args:
            rows: (n, d), in the dtype and on the device of the background.
            seeds: n random seeds, one for each row.

        Returns:
            (n, d, k), or (n, p, k) for p players. Each row sums to score(row) - mean(score(background)), see
            ``Backend.additive``. ``count`` is the sum of the weights, if the background is weighted.
        """


class AnchoredAttribution(Protocol):
    """The same, for a score that is handed an anchor with each row."""

    def __call__(self, rows: Tensor, anchors: Tensor, *, seeds: Sequence[int]) -> Moments:
        """See ``Attribution``; ``anchors`` are (n, a)."""


class Backend(ABC):
    """Base class of all backends: how a score is attributed to features.

    A backend of your own defines ``bind``, and may change the attributes and methods below. It is used as an object,
    ``Explainer(..., backend=MyBackend())``, or by a name, see ``shapae.backends.register``. It is sent to workers, so
    it must be picklable.

    Attributes:
        additive: Whether values sum to score - base value up to rounding. Otherwise they do up to their standard
            errors; without standard errors nothing is promised.
        hint: Advice for the warning that values do not sum to score - base value.
        n_samples: Approximate number of samples per row; 0 if nothing is sampled.
        supports_groups: Whether ``Game.players`` are taken as players. Otherwise the values of their features are
            summed.
    """

    additive: bool = True
    hint: str = "The score may depend on more than its rows, or the backend may be wrong; compare backend='exact'."
    n_samples: int = 0
    supports_groups: bool = False

    @abstractmethod
    def bind(self, game: Game) -> Attribution:
        """Bind a game: return the function that attributes rows in it. Nothing is computed yet.

        Args:
            game: Its score takes rows (n, d) and returns (n, k).
        """

    def bind_anchored(self, game: Game, anchors: Tensor) -> AnchoredAttribution:
        """Bind a game whose score is handed an anchor with each row; by default row by row.

        Args:
            game: Its score is a ``Score`` that is anchored.
            anchors: (b, a), any anchors that the background can be scored with.
        """
        return partial(_attribute_one_by_one, self.bind, game)

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """Count the rows that the score is run on at once, to explain one row.

        Args:
            n_background: Number of background rows.
            n_players: Number of features, or of groups.

        Returns:
            By default the background, and the row as many times. A number that does not grow with ``n_background``
            says that the whole background is needed at once: it is not cut into parts then.
        """
        return 2 * n_background

    @property
    def name(self) -> str:
        """Name of the class, by which results and messages call the backend."""
        return type(self).__name__

    @property
    def splits_background(self) -> bool:
        """Whether rows can be compared with one part of the background after the other."""
        return self.rows_in_memory(2, 1) > self.rows_in_memory(1, 1)


class RowwiseBackend(Backend):
    """Base class of backends that attribute one row after the other."""

    @abstractmethod
    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """Attribute the score of one row.

        Args:
            game: See ``Backend.bind``.
            row: (d,).
            seed: Random seed of this row.

        Returns:
            (1, d, k), or (1, p, k); see ``Attribution``.
        """

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(self._attribute_rows, game)

    def _attribute_rows(self, game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
        pairs = zip(rows, seeds, strict=True)
        return concatenate([self.attribute_row(game, row, seed) for row, seed in pairs], axis=0)


def bind(backend: Backend, game: Game) -> Attribution:
    """Bind a game to a backend, also if its score is anchored, or if the backend does not support its groups.

    Args:
        backend: Any backend.
        game: Its score is a ``Score``.

    Returns:
        An attribution of rows (n, d), also where their latents are attributed.
    """
    score = game.score
    assert isinstance(score, Score)
    groups = None if backend.supports_groups else game.players
    plain = replace(game.clone(), score=score.per_sample(), players=None if groups else game.players)
    if score.anchored:
        anchors = score.default_anchors(plain.background)
        bound: Attribution = partial(_attribute_with_anchors, backend.bind_anchored(plain, anchors), score)
    else:
        bound = backend.bind(plain)
    shape = (plain.n_players, score.draws or score.width)
    return partial(_attribute, bound, backend.name, shape, groups)


def _attribute_with_anchors(bound: AnchoredAttribution, score: Score, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    return bound(score.inputs(rows), rows, seeds=seeds)


def _attribute_one_by_one(
    bind: Callable[[Game], Attribution], game: Game, rows: Tensor, anchors: Tensor, *, seeds: Sequence[int]
) -> Moments:
    score = game.score
    assert isinstance(score, Score)
    games = (replace(game, score=score.anchored_at(anchor)) for anchor in anchors)
    triples = zip(games, rows, seeds, strict=True)
    return concatenate([bind(each)(row.unsqueeze(0), seeds=[seed]) for each, row, seed in triples], axis=0)


def _attribute(
    bound: Attribution,
    name: str,
    shape: tuple[int, int],
    groups: Players | None,
    rows: Tensor,
    *,
    seeds: Sequence[int],
) -> Moments:
    """Attribute rows, and sum over groups. The spread of sums is not known.

    Raises:
        ShapeError: The backend returned something else than Moments, or another shape.
    """
    moments = bound(rows, seeds=seeds)
    expected = (len(rows), *shape)
    if not isinstance(moments, Moments) or np.shape(moments.mean) != expected:
        got = f"a mean of shape {np.shape(moments.mean)}" if isinstance(moments, Moments) else type(moments).__name__
        raise ShapeError(
            f"the backend {name} returned {got}. Expected are Moments with a mean of shape {expected}: rows, players "
            f"and outputs. Return shapae.backends.Moments(count, mean)."
        )
    if groups is None:
        return moments
    return Moments(moments.count, groups.sums(moments.mean), n_groups=moments.n_groups)
