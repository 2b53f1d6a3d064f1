"""What rows are compared with, and who shares their scores: all of a game but the score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.backends import AnchoredAttribution, Attribution, Backend, Game
from shapae.heads.score import Score
from shapae.tables.players import Players
from shapae.utils.moments import Moments, concatenate


@dataclass(frozen=True, eq=False)
class Compared:
    """A background, its weights and the players of a backend.

    Attributes:
        backend: Some take groups as players; of others the values of their features are added up.
        background: (b, d), of rows; or (b, m), of latents.
        weights: (b,), 1 on average; None where all rows count the same.
        players: None where each feature is one by itself.
    """

    backend: Backend
    background: Tensor
    weights: Tensor | None
    players: Players | None

    @property
    def width(self) -> int:
        """Number of features, or of groups."""
        return len(self.players) if self.players else self.background.shape[1]

    @property
    def attributed(self) -> int:
        """Number of those to which the backend itself attributes."""
        return self.width if self._plays else self.background.shape[1]

    @property
    def _plays(self) -> bool:
        return bool(getattr(self.backend, "PLAYERS", False))

    @property
    def shares(self) -> NDArray[Any] | None:
        """(b,): ``weights``."""
        return None if self.weights is None else self.weights.cpu().numpy()

    def against(self, score: Score, start: int, stop: int, draws: int | None = None) -> Attribution:
        """What attributes ``score`` against a part of the background, see ``Game.draws``; nothing is computed yet."""
        # Clones, because a view would be pickled with all that it is a view of.
        part, weights = self.background[start:stop].clone(), self.weights
        weights = None if weights is None else weights[start:stop].clone()
        players = self.players.player_of_feature().to(part.device) if self.players and self._plays else None
        found = _attribution(self.backend, Game(score.per_sample(), part, weights, players, draws), score)
        return partial(_summed, found, self.players) if self.players and not self._plays else found

    def shuffled(self, seed: int) -> "Compared":
        """The same background in random order, for one without weights."""
        order = np.random.default_rng(seed).permutation(len(self.background))
        return replace(self, background=self.background[torch.as_tensor(order, device=self.background.device)])


def _attribution(backend: Backend, game: Game, score: Score) -> Attribution:
    """From rows (n, d), or what latents were encoded from, to the values of the game."""
    if not score.anchored:
        return backend.against(game)
    if hasattr(backend, "against_anchored"):
        return partial(_at_once, backend.against_anchored(game, score.default_anchors(game.background)), score)
    return partial(_one_by_one, backend.against, game, score)


def _at_once(found: AnchoredAttribution, score: Score, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    return found(score.inputs(rows), rows, seeds=seeds)


def _one_by_one(
    against: Callable[[Game], Attribution], game: Game, score: Score, rows: Tensor, *, seeds: Sequence[int]
) -> Moments:
    each = zip(score.inputs(rows), rows, seeds, strict=True)
    games = ((row, seed, replace(game, score=score.per_sample().anchored_at(anchor))) for row, anchor, seed in each)
    return concatenate([against(game)(row.unsqueeze(0), seeds=[seed]) for row, seed, game in games], axis=0)


def _summed(found: Attribution, players: Players, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    """The values of groups of features, (n, p, k), of a backend that knows features only; their spread is not known."""
    moments = found(rows, seeds=seeds)
    return Moments(moments.count, players.sums(moments.mean), draws=moments.draws)
