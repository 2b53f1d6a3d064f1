"""Shapley values from random orders of the players, each order forwards and backwards: for any score and any d."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.backends.base import Attribution, Backend
from shapae.backends.game import Game
from shapae.utils.memory import batched, batches
from shapae.utils.moments import Moments, gather

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
        scores = _score_rows(game, game.background)
        blocks = batches(len(rows), max(1, game.rows_at_once(BATCH_ROWS) // (4 * self._pairs(game) * game.n_players)))
        return gather((self._attribute_rows(game, rows[few], seeds[few], scores) for few in blocks), len(rows))

    def _attribute_rows(self, game: Game, rows: Tensor, seeds: Sequence[int], scores: Tensor) -> Moments:
        """Attribute the scores of ``rows`` at once, against a background of these ``scores``."""
        draws = [self._draw(game, seed) for seed in seeds]
        twos, share, places = (torch.from_numpy(np.stack(each)).to(rows.device) for each in zip(*draws, strict=True))
        share, (n, players, k) = share[0].to(rows)[:, None, None], (len(rows), game.n_players, scores.shape[1])
        mean = variance = scores.new_zeros(n, players, k)
        largest = mean[:, :1]
        for few in batches(len(share), max(1, game.rows_at_once(BATCH_ROWS) // (4 * players * n))):
            row = rows[:, None, None].expand(-1, *twos[0, few].shape, -1)
            orders = (each.flatten(0, 2) for each in (row, game.background[twos[:, few]], places[:, few]))
            gains = _contributions(game, *orders)
            one, other = gains.reshape(n, -1, 2, players, k).unbind(2)
            mean = mean + (share[few] * (one + other) / 2).sum(dim=1)
            difference = share[few] * (one - other) / 2
            squares = (difference - difference.mean(dim=2, keepdim=True)).square()
            variance = variance + squares.sum(dim=1)
            largest = torch.maximum(largest, squares.amax(dim=(1, 2)).unsqueeze(1))
        weights, own = game.background_weights, _score_rows(game, rows)
        missing = (own - weights @ scores / weights.sum()).unsqueeze(1) - mean.sum(dim=1, keepdim=True)
        # The nearest values that add up. They stay unbiased, as the map is linear, and can't be further from the truth.
        mean, unexplained = mean + missing / players, missing.abs() - 2 * variance.sqrt().sum(dim=1, keepdim=True)
        least = torch.maximum((missing / players).square(), unexplained.clamp(min=0).square()).maximum(largest)
        variance = torch.where(game.differ(rows), torch.maximum(variance, least), variance)
        pairs = len(share)
        return Moments(2 * pairs, mean, variance * (2 * pairs * pairs), n_groups=pairs + 1)

    def _pairs(self, game: Game) -> int:
        return min(self.n_samples, self.samples(game)) // 2

    def _draw(self, game: Game, seed: int) -> tuple[NDArray[Any], ...]:
        """Sample for one row: background rows (m, 2), shares (m,), and the positions of all players (m, 2, players)."""
        generator = np.random.default_rng(seed)
        twos, share = sample_background(np.asarray(game.background_weights.cpu()), self._pairs(game), generator)
        places = generator.random((twos.size, game.n_players)).argsort(axis=1)
        return twos, share, places.reshape(*twos.shape, -1)


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


def _contributions(game: Game, rows: Tensor, sampled: Tensor, places: Tensor) -> Tensor:
    """Compute the contribution of each player in each order, forwards and backwards: (orders, players, k).

    Args:
        game: Its score takes rows (n, d) and returns (n, k).
        rows: (orders, d).
        sampled: (orders, d), background rows.
        places: (orders, players), position of each player in the order.
    """
    players = places.shape[1]
    when = places[:, game.player_of_feature] if game.players else places
    size, counts = max(1, game.rows_at_once(BATCH_ROWS) // 2), torch.arange(players, device=rows.device)
    parts = []
    for few in batches(len(rows), max(1, size // players)):
        orders = rows[few], sampled[few], when[few]
        parts.append(torch.cat([_gaps(game, *orders, counts[each]) for each in batches(players, size)], dim=1))
    gaps = torch.cat(parts)
    # The gap with all players is the opposite of the gap with none.
    gains = torch.cat([gaps, -gaps[:, :1]], dim=1).diff(dim=1) / 2
    return gains.gather(1, places.unsqueeze(2).expand_as(gains))


def _gaps(game: Game, rows: Tensor, sampled: Tensor, when: Tensor, counts: Tensor) -> Tensor:
    """Score with the first players from the rows, less the score with all the others: (orders, counts, k).

    Args:
        game: Its score takes rows (n, d) and returns (n, k).
        rows: (orders, d).
        sampled: (orders, d), background rows.
        when: (orders, d), position of the player of each feature.
        counts: Numbers of first players.
    """
    first, row, other = when.unsqueeze(1) < counts.unsqueeze(1), rows.unsqueeze(1), sampled.unsqueeze(1)
    mixed = torch.where(first, row, other), torch.where(first, other, row)
    scores = [_score_rows(game, each.flatten(0, 1)) for each in mixed]
    return (scores[0] - scores[1]).reshape(*first.shape[:2], -1)


def _score_rows(game: Game, rows: Tensor) -> Tensor:
    """(n, d) -> (n, k)."""
    with torch.no_grad():
        return batched(game.score, rows, game.rows_at_once(BATCH_ROWS))
