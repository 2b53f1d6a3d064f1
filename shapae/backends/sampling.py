"""Shapley values from random orders of the players, each one forwards and backwards: for any score and any d."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.backends import Attribution, Game
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, concatenate

ADDITIVE = True
DRAWS = 400
PLAYERS = True
REMEDY = "The score may depend on something else than its rows."
# So many rows are scored at once.
AT_ONCE = 2**11


def held(background: int, features: int) -> int:
    """See ``Backend.held``: a piece of all rows that are mixed, out of the whole background."""
    return AT_ONCE


def against(game: Game) -> Attribution:
    """See ``Backend.against``."""
    return partial(attribute, game)


def attribute(game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    """Shapley values from about 400 draws of a background row and an order of the players; see ``Attribution``.

    A draw adds the players of a row to the background row in this order, and in the reverse of it; what a player adds
    to the score is averaged over both. Up to 300 background rows are all drawn, as often as their weights say, so that
    no error is left that comes from the background; more are drawn in proportion to their weights, and so are fewer
    where there are to be less than 400 draws. Draws come two by two from the same background row, or from neighbours,
    so that how much the two differ tells the standard errors.

    Reference:
        Castro, Gomez and Tejada, 2009, Polynomial calculation of the Shapley value based on sampling; Mitchell et
        al., 2022, section 4.1 (antithetic orders), https://arxiv.org/abs/2104.12199
    """
    scored = lru_cache(maxsize=1)(partial(_scored, game.background))
    parts = [_of_one_row(game, row, seed, scored(game.score)) for row, seed in zip(rows, seeds, strict=True)]
    return concatenate(parts, axis=0)


def _of_one_row(game: Game, row: Tensor, seed: int, scores: Tensor) -> Moments:
    """Values of ``row`` against a background of these ``scores``: (1, players, k)."""
    generator, player_of, score = np.random.default_rng(seed), game.player_of, game.score
    twos, part = _drawn(np.asarray(game.counts.cpu()), min(DRAWS, game.draws or DRAWS) // 2, generator)
    players, draws = int(player_of.max()) + 1, twos.size
    drawn = game.background[torch.as_tensor(twos.ravel(), device=row.device)]
    places = torch.as_tensor(generator.random((draws, players)).argsort(axis=1), device=row.device)
    share = torch.as_tensor(part).to(row)[:, None, None]
    mean = variance = scores.new_zeros(players, scores.shape[1])
    for few in batches(len(twos), max(1, AT_ONCE // (4 * players))):
        both = slice(2 * few.start, 2 * few.stop)
        one, other = _values(score, row, drawn[both], places[both], player_of).reshape(-1, 2, *mean.shape).unbind(1)
        mean = mean + (share[few] * (one + other) / 2).sum(dim=0)
        apart = share[few] * (one - other) / 2
        variance = variance + (apart - apart.mean(dim=1, keepdim=True)).square().sum(dim=0)
    missing = _scored(row[None], score)[0] - game.counts @ scores / game.counts.sum() - mean.sum(dim=0)
    # To the nearest values that add up. These stay unbiased, as that is linear; and can't be further from the truth.
    mean, spread = mean + missing / players, variance * draws * len(twos)
    return Moments(draws, mean[None].cpu().numpy(), spread[None].cpu().numpy(), draws=len(twos) + 1)


def _drawn(counts: NDArray[Any], pairs: int, generator: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which background rows, (pairs, 2), and what part of the whole each pair stands for, (pairs,)."""
    whole = counts.astype(np.float64) / counts.sum(dtype=np.float64)
    present = np.flatnonzero(whole)
    if len(present) <= 1.5 * pairs:
        often = np.maximum(1, np.rint(whole[present] * pairs)).astype(int)
        return np.stack([present.repeat(often)] * 2, axis=1), (whole[present] / often).repeat(often)
    # Each two from an equal part of the whole: there, a row is as wide as its weight.
    at = (np.arange(pairs)[:, None] + generator.random((pairs, 2))) / pairs
    return np.searchsorted(whole.cumsum(), at, side="right").clip(max=len(counts) - 1), np.full(pairs, 1 / pairs)


def _values(score: nn.Module, row: Tensor, drawn: Tensor, places: Tensor, player_of: Tensor) -> Tensor:
    """What each player adds to the score in each order, forwards and backwards: (draws, players, k).

    Args:
        score: (n, d) -> (n, k).
        row: (d,).
        drawn: (draws, d), background rows.
        places: (draws, players), when each player comes.
        player_of: (d,).
    """
    draws, players = places.shape
    when = places[:, player_of]

    def gap(at: Tensor) -> Tensor:
        """The score where the first players are those of ``row``, less the score where all others are."""
        first = when[at // players] < (at % players).unsqueeze(1)
        others = drawn[at // players]
        return _scored(torch.where(first, row, others), score) - _scored(torch.where(first, others, row), score)

    parts = torch.split(torch.arange(draws * players, device=row.device), AT_ONCE // 2)
    gaps = torch.cat([gap(part) for part in parts]).reshape(draws, players, -1)
    # With all players it is the opposite of that with none.
    gains = torch.cat([gaps, -gaps[:, :1]], dim=1).diff(dim=1) / 2
    return gains.gather(1, places.unsqueeze(2).expand_as(gains))


def _scored(rows: Tensor, score: nn.Module) -> Tensor:
    """(n, d) -> (n, k), so many rows at a time."""
    with torch.no_grad():
        return torch.cat([score(part) for part in torch.split(rows, AT_ONCE)])
