"""Random coalitions, and averages of gradients at the mixtures that they make of a row and the background rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from shapae.backends._intervals import widen
from shapae.backends.differentiation import gradients
from shapae.backends.game import Game
from shapae.deepshap import ManyOutputs
from shapae.utils.memory import batches
from shapae.utils.moments import Moments
from shapae.utils.random import random_bits

# Number of parts of the background whose draws give a variance each, where only sums over them are known.
PARTS = 16


class Average(NamedTuple):
    """Average over background rows and draws.

    Attributes:
        mean: (n, p, k).
        variance: (n, p, k), of the draws.
        background_variance: (n, p, k), over other backgrounds; None where it is not known.
    """

    mean: Tensor
    variance: Tensor
    background_variance: Tensor | None = None


class Part(NamedTuple):
    """Draws of n rows for some of the background rows.

    Attributes:
        background: (m, d).
        shares: (m, 1, 1), part of the whole that each background row stands for.
        members: (n, m, pairs, p). Whether each player is in each coalition.
        weights: (n, m, pairs, p), of sum 1 over the pairs.
        signs: (n, m, pairs, signs), random, 1 or -1; one for each deviation of ``average_outputs``.
    """

    background: Tensor
    shares: Tensor
    members: Tensor
    weights: Tensor
    signs: Tensor

    def mixtures(self, game: Game, rows: Tensor) -> Tensor:
        """Mix each row with each background row, by each coalition and by its complement: (n, m, 2, pairs, d)."""
        row, other = rows[:, None, None], self.background[:, None]
        inside = self.members[..., game.player_of_feature] if game.players else self.members
        return torch.stack([torch.where(inside, row, other), torch.where(inside, other, row)], dim=2)


@dataclass(frozen=True)
class Draws:
    """Random coalitions of n rows, each with its complement.

    Attributes:
        game: Background (b, d), and p players.
        pairs: Number of coalitions for each background row.
        seeds: n random seeds.
    """

    game: Game
    pairs: int
    seeds: Sequence[int]

    def parts(self, size: int) -> Iterator[Part]:
        """Draw the coalitions of ``size`` background rows at a time; they do not depend on ``size``."""
        game, (b, pairs) = self.game, (len(self.game.background), self.pairs)
        generators = [np.random.default_rng(seed) for seed in self.seeds]
        probabilities = self._stack(_probabilities(b, pairs, each) for each in generators)
        signs = self._stack(each.integers(2, size=(b, pairs, max(1, PARTS // b))) * 2 - 1 for each in generators)
        integers = [each.integers(-(2**31), 2**31, (b, pairs), dtype=np.int32) for each in generators]
        keys = torch.from_numpy(np.stack(integers)).to(game.background.device)
        shares = game.background_weights / game.background_weights.sum()
        for part in batches(b, size):
            q = probabilities[:, part]
            below = (q * 2**32).to(torch.int64) - 2**31  # the part q of all integers of 32 bits is smaller
            members = random_bits(keys[:, part], game.n_players) < below
            weights = torch.where(members, 1 / q, 1 / (1 - q))
            weights = weights / weights.sum(dim=2, keepdim=True)
            yield Part(game.background[part], shares[part, None, None], members, weights, signs[:, part])

    def _stack(self, arrays: Iterator[np.ndarray]) -> Tensor:
        stacked = torch.from_numpy(np.stack([*arrays])).to(self.game.background)
        return stacked if stacked.ndim == 4 else stacked.unsqueeze(3)


def _probabilities(b: int, pairs: int, generator: np.random.Generator) -> np.ndarray:
    """Sample the probabilities q of members, (b, pairs): in strata for each background row, and over all of them.

    They are at most 1/2, as the complement of a coalition has the others; and so large that 1 / q is finite.
    """
    order = generator.permuted(np.tile(np.arange(b)[:, None], pairs), axis=0)
    within = (order + generator.uniform(1e-6, 1, (b, pairs))) / b
    return np.asarray((np.arange(pairs) + within) / (2 * pairs))


def average_draws(draws: Draws, rows: Tensor, *anchors: Tensor, batch_size: int) -> Average:
    """Average the gradients at coalitions, by autograd.

    Args:
        draws: Draws of n rows.
        rows: (n, d).
        anchors: (n, a), if the score is anchored.
        batch_size: Number of points that the score is run on at once.
    """
    sums: list[Tensor] = []
    pilot = None
    for part in draws.parts(max(1, batch_size // (2 * draws.pairs * len(rows)))):
        mean, variance, bias = _average_pairs(_changes(draws.game, part, rows, *anchors, batch_size=batch_size), part)
        pilot = mean[:, :1] if pilot is None else pilot  # differences from it have no rounding errors of their mean
        shares, centred = part.shares, mean - pilot
        squares = shares.square()
        terms = [shares * centred, squares * centred, squares * centred**2, squares * variance, shares * bias]
        new = [term.sum(dim=1) for term in (*terms, terms[3].square())]
        sums = [one + other for one, other in zip(sums, new, strict=True)] if sums else new
    assert pilot is not None
    mean, linear, square, variance, bias, spread = sums
    b, weight = len(draws.game.background), (draws.game.background_weights / draws.game.background_weights.sum())
    total = (square - 2 * mean * linear + mean**2 * weight.square().sum()).clamp(min=0) * (b / max(1, b - 1))
    if draws.pairs == 1:
        return Average(mean + pilot[:, 0], total)
    variance = widen(variance, spread, draws.pairs - 1) + bias**2
    return Average(mean + pilot[:, 0], variance, (total - variance).clamp(min=0))


def _changes(game: Game, part: Part, rows: Tensor, *anchors: Tensor, batch_size: int) -> Tensor:
    """Compute the mean of g at each coalition and its complement, (n, m, pairs, p, k)."""
    points = part.mixtures(game, rows)
    tables = [each[:, None, None, None].expand(*points.shape[:-1], -1).flatten(0, 3) for each in anchors]
    slopes = gradients(game.score, points.flatten(0, 3), *tables, batch_size=batch_size)
    steps = rows[:, None, None] - part.background[:, None]
    return _sum_players(game, slopes.reshape(*points.shape, -1).mean(dim=2) * steps.unsqueeze(4))


def _sum_players(game: Game, changes: Tensor) -> Tensor:
    """Sum over the features of each player: (..., d, k) becomes (..., p, k)."""
    if not game.players:
        return changes
    sums = changes.new_zeros(*changes.shape[:-2], game.n_players, changes.shape[-1])
    return sums.index_add_(changes.ndim - 2, game.player_of_feature, changes)


def _average_pairs(changes: Tensor, part: Part) -> tuple[Tensor, Tensor, Tensor]:
    """Average over the pairs of each background row: the mean, its variance and its bias, (n, m, p, k) each.

    The bias of a mean with normalized weights falls with the number of pairs; that of one pair has no weights at all.

    Args:
        changes: (n, m, pairs, p, k).
        part: See ``Part``.

    Reference:
        Quenouille, 1956, Notes on bias in estimation (the bias from estimates of two sizes)
    """
    weights = part.weights.unsqueeze(4)
    mean = (weights * changes).sum(dim=2)
    squares = (weights * (changes - mean.unsqueeze(2)).square()).sum(dim=2)
    bias = (changes.mean(dim=2) - mean) / max(1, changes.shape[2] - 1)
    return mean, squares * _variance_factor(part.weights).unsqueeze(3), bias


def _variance_factor(weights: Tensor) -> Tensor:
    """Divide the variance of a mean with ``weights`` (n, m, pairs, p) by its weighted mean of squares: (n, m, p)."""
    spread = (weights * (1 - weights)).sum(dim=2)  # 0 for a single pair
    return weights.square().sum(dim=2) / spread.clamp(min=torch.finfo(spread.dtype).tiny)


def average_outputs(draws: Draws, outputs: ManyOutputs, rows: Tensor) -> Average | None:
    """Average the gradients of all outputs of a feed-forward chain at once; None for other functions.

    Only sums over background rows are computed. Their variance comes from sums of deviations with random signs, each
    over a part of the background: the mean of their squares is the sum of the variances. Few background rows have
    several of these sums each.

    Args:
        draws: Draws of n rows.
        outputs: The outputs of the score of the game.
        rows: (n, d).
    """
    game, count = draws.game, 0
    sums: list[Tensor] = []
    size = min(-(-len(game.background) // PARTS), game.batch_size // (2 * draws.pairs * len(rows)))
    for part in draws.parts(max(1, size)):
        points = part.mixtures(game, rows).transpose(2, 3).flatten(1, 3)
        steps = part.shares * (rows[:, None, None] - part.background[:, None]) / 2
        found = []
        for weights in (part.weights, *_deviations(part)):
            factors = (weights[..., game.player_of_feature] * steps).repeat_interleave(2, dim=2).flatten(1, 2)
            changes = outputs.weighted_gradients(points, factors)
            if changes is None:
                return None
            found.append(_sum_players(game, changes))
        mean, share = found[0], part.shares.sum()
        squares = torch.stack(found[1:]).square() / len(found[1:])
        new = [mean, mean.square(), share * mean, share.square(), squares.sum(dim=0), squares.square().sum(dim=0)]
        sums, count = [one + other for one, other in zip(sums, new, strict=True)] if sums else new, count + 1
    mean, square, linear, weight, variance, spread = sums
    if draws.pairs > 1:
        return Average(mean, widen(variance, spread, 1))
    freedom = max(1, count - 1)
    variance = (square - 2 * mean * linear + mean.square() * weight).clamp(min=0) * (count / freedom)
    return Average(mean, widen(variance, variance.square(), freedom))


def _deviations(part: Part) -> Tensor:
    """Compute weights of deviations from the mean of each background row, whose squares have its variance as mean.

    Returns:
        (signs, n, m, pairs, p).
    """
    roots = part.weights.sqrt() * part.signs.movedim(3, 0).unsqueeze(4)
    weights = roots - part.weights * roots.sum(dim=3, keepdim=True)
    return weights * _variance_factor(part.weights).sqrt().unsqueeze(2)


def add_up(draws: Draws, rows: Tensor, average: Average, gaps: Tensor) -> Moments:
    """Make the values add up: divide the missing sum among the players in proportion to the variances of the draws.

    Args:
        draws: Draws of n rows.
        rows: (n, d).
        average: Average over the draws.
        gaps: (n, k), the sums that the values should have.
    """
    missing = (gaps - average.mean.sum(dim=1)).unsqueeze(1)
    added = missing * _parts_of_missing(average.variance, draws.game.differ(rows).to(rows))
    groups = draws.pairs * len(draws.game.background)
    squares = torch.maximum(average.variance, added.square()) * (2 * groups * (groups - 1))
    mean = average.mean + added
    return Moments(2 * groups, mean, squares, groups, background_variance=average.background_variance)


def _parts_of_missing(variance: Tensor, differ: Tensor) -> Tensor:
    """Divide a sum among the players in proportion to their variances; evenly among those that differ if all are 0."""
    total = variance.sum(dim=1, keepdim=True)
    even = differ / differ.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(total > 0, variance / total, even)
