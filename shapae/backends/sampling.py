"""Shapley values from random orders of the players, each order forwards and backwards: for any score and any d."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.backends.base import Attribution, Backend
from shapae.backends.game import Game
from shapae.utils.memory import batched, batches
from shapae.utils.moments import Moments, concatenate

# Number of rows that are scored at once.
BATCH_ROWS = 2**11


class Sampling(Backend):
    """Shapley values from about 400 samples of a background row and an order of the players.

    A sample adds the players of a row to the background row in this order, and in the reverse order; the contribution
    of a player to the score is averaged over both. Up to 300 background rows are all taken, as often as their weights
    say, so that no error comes from the background. Of more rows some are sampled in proportion to their weights, and
    so they are if fewer than 400 samples are wanted. Samples come in pairs from the same background row, or from
    neighbours; the difference of a pair gives the standard errors.

    An effect that was never sampled has no spread. So a feature that differs from the background has at least the
    standard error that one sample of the largest difference of any feature in this row would give it (an effect that
    happens less often than once in m samples is easily missed in m samples), and at least the part of the sum that its
    value was corrected by. A sum that no feature with a spread explains may belong to any feature.

    Reference:
        Castro, Gomez and Tejada, 2009, Polynomial calculation of the Shapley value based on sampling; Mitchell et
        al., 2022, section 4.1 (antithetic orders), https://arxiv.org/abs/2104.12199; Hanley and Lippman-Hand, 1983, If
        nothing goes wrong, is everything all right? (events that were not seen in m trials)
    """

    name = "sampling"
    quantity = "Shapley values by random orders"
    unit = "orders"
    supports_groups = True
    hint = "The score may depend on more than its rows."
    n_samples = 400

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: a batch of mixed rows, from the whole background."""
        return BATCH_ROWS

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(self._attribute, game)

    def _attribute(self, game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
        score_background = lru_cache(maxsize=1)(partial(_score_rows, game.background))
        pairs = zip(rows, seeds, strict=True)
        parts = [self._attribute_row(game, row, seed, score_background(game.score)) for row, seed in pairs]
        return concatenate(parts, axis=0)

    def _attribute_row(self, game: Game, row: Tensor, seed: int, scores: Tensor) -> Moments:
        """Attribute the score of ``row`` against a background of these ``scores``: (1, players, k)."""
        generator, player_of, weights = np.random.default_rng(seed), game.player_of_feature, game.background_weights
        n_samples = min(self.n_samples, game.n_samples or self.n_samples)
        twos, part = sample_background(np.asarray(weights.cpu()), n_samples // 2, generator)
        players, samples = game.n_players, twos.size
        sampled = game.background[torch.as_tensor(twos.ravel(), device=row.device)]
        places = torch.as_tensor(generator.random((samples, players)).argsort(axis=1), device=row.device)
        share = torch.as_tensor(part).to(row)[:, None, None]
        mean = variance = largest = scores.new_zeros(players, scores.shape[1])
        for few in batches(len(twos), max(1, BATCH_ROWS // (4 * players))):
            both = slice(2 * few.start, 2 * few.stop)
            gains = _contributions(game.score, row, sampled[both], places[both], player_of)
            one, other = gains.reshape(-1, 2, *mean.shape).unbind(1)
            mean = mean + (share[few] * (one + other) / 2).sum(dim=0)
            difference = share[few] * (one - other) / 2
            squares = (difference - difference.mean(dim=1, keepdim=True)).square()
            variance, largest = variance + squares.sum(dim=0), torch.maximum(largest, squares.amax(dim=(0, 1)))
        missing = _score_rows(row[None], game.score)[0] - weights @ scores / weights.sum() - mean.sum(dim=0)
        # The nearest values that add up. They stay unbiased, as the map is linear, and can't be further from the truth.
        mean, unexplained = mean + missing / players, missing.abs() - 2 * variance.sqrt().sum(dim=0)
        least = torch.stack([largest[0], (missing / players).square(), unexplained.clamp(min=0).square()]).amax(dim=0)
        variance = torch.where(_changes(game, row), torch.maximum(variance, least), variance)
        squares = variance * samples * len(twos)
        return Moments(samples, mean[None].cpu().numpy(), squares[None].cpu().numpy(), n_groups=len(twos) + 1)


def _changes(game: Game, row: Tensor) -> Tensor:
    """Tell whether any background row differs from ``row`` in a feature of each player: (players, 1)."""
    differs = (game.background != row).any(dim=0)
    players = game.player_of_feature[differs]
    return torch.zeros(game.n_players, 1, dtype=torch.bool, device=row.device).index_fill(0, players, True)


def sample_background(
    weights: NDArray[Any], pairs: int, generator: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sample background rows, (pairs, 2), and the share of the whole that each pair stands for, (pairs,)."""
    shares = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    present = np.flatnonzero(shares)
    if len(present) <= 1.5 * pairs:
        often = np.maximum(1, np.rint(shares[present] * pairs)).astype(int)
        return np.stack([present.repeat(often)] * 2, axis=1), (shares[present] / often).repeat(often)
    # Each pair from an equal part of the whole, in which a row is as wide as its weight.
    at = (np.arange(pairs)[:, None] + generator.random((pairs, 2))) / pairs
    return np.searchsorted(shares.cumsum(), at, side="right").clip(max=len(weights) - 1), np.full(pairs, 1 / pairs)


def _contributions(score: nn.Module, row: Tensor, sampled: Tensor, places: Tensor, player_of: Tensor) -> Tensor:
    """Compute the contribution of each player in each order, forwards and backwards: (samples, players, k).

    Args:
        score: (n, d) -> (n, k).
        row: (d,).
        sampled: (samples, d), background rows.
        places: (samples, players), position of each player in the order.
        player_of: (d,).
    """
    samples, players = places.shape
    when = places[:, player_of]

    def gap(at: Tensor) -> Tensor:
        """Score with the first players from ``row``, less the score with all the other players from it."""
        first = when[at // players] < (at % players).unsqueeze(1)
        others = sampled[at // players]
        mixed = torch.where(first, row, others), torch.where(first, others, row)
        return _score_rows(mixed[0], score) - _score_rows(mixed[1], score)

    gaps = batched(gap, torch.arange(samples * players, device=row.device), BATCH_ROWS // 2)
    gaps = gaps.reshape(samples, players, -1)
    # The gap with all players is the opposite of the gap with none.
    gains = torch.cat([gaps, -gaps[:, :1]], dim=1).diff(dim=1) / 2
    return gains.gather(1, places.unsqueeze(2).expand_as(gains))


def _score_rows(rows: Tensor, score: nn.Module) -> Tensor:
    """(n, d) -> (n, k)."""
    with torch.no_grad():
        return batched(score, rows, BATCH_ROWS)
