"""Shapley values from gradients at coalitions: the price does not grow with the number of features."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.backends.base import AnchoredAttribution, Attribution, Backend
from shapae.backends.differentiation import gradients
from shapae.backends.exact import MAX_PLAYERS, Exact
from shapae.backends.game import Game
from shapae.backends.sampling import Sampling
from shapae.errors import DataError
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, concatenate

# Largest number of players that "sampling" explains better at its own price: there the step of one player is so large a
# part of the whole way that the trapezoid rule is biased (benchmarks/shapley_error.py).
FEW_PLAYERS = 64
# Numbers of pairs of coalitions for each background row: fewer are biased by the normalization of their weights, and
# more are drawn in several rounds.
MIN_PAIRS, MAX_PAIRS = 2, 32
# Largest number of points that the score is run on at once, so that they stay in a cache.
BATCH_POINTS = 2**10


class Coalitions(Backend):
    """Shapley values from gradients at coalitions.

    The marginal contribution of feature i to a coalition S is about (g_i(S) + g_i(S + i)) / 2, by the trapezoid rule;
    g_i(S) = (x_i - b_i) d score / d z_i, at the mixture z of a row x and a background row b. One gradient at S has g_i
    for all features: it is the upper end of a contribution for members of S, and the lower end for all others.

    Each background row has the same number of random coalitions S, each with its complement. A feature is a member with
    probability q, where q is uniform and stratified. The weights 1 / q of members and 1 / (1 - q) of all others let
    both ends count the same. They are normalized for each background row. The values are exact for quadratic scores.

    The values are made to add up: the missing part is divided in proportion to the variances of the draws. Standard
    errors are those of the draws, with the bias of the normalization; with only one pair, they include those of the
    background instead of this bias.

    The step of one player must be small beside the whole way, so that there must be many players. Fewer players are
    left to other backends, see ``for_game``.

    Args:
        pairs: Number of pairs of a coalition and its complement for each background row. A row takes 2 * pairs * b
            gradients. One pair has a bias of some percent. None: about 400 gradients, and 2 pairs or more.
        min_players: Smallest number of players that are not left to other backends.

    Raises:
        DataError: ``pairs`` is not a positive integer.

    Reference:
        Owen, 1972, Multilinear extensions of games, section 4 (the integral over q)
    """

    name = "coalitions"
    supports_groups = True
    needs_gradients = True
    hint = "The score may depend on more than its rows."
    quantity = "Shapley values by coalitions"
    n_samples = 400
    unit = "gradients"

    def __init__(self, pairs: int | None = None, *, min_players: int = FEW_PLAYERS + 1) -> None:
        if pairs is not None and (not isinstance(pairs, int) or pairs < 1):
            raise DataError(
                f"pairs is the number of pairs of coalitions for each background row, 1 or more, got {pairs!r}. Write "
                f"Coalitions(pairs={MIN_PAIRS})."
            )
        self.pairs, self.min_players = pairs, min_players

    def for_game(self, game: Game) -> Backend:
        """Choose the backend: "exact" for up to 12 players, "sampling" for up to 64, and this one for more."""
        if game.n_players >= self.min_players:
            return self
        return Exact() if game.n_players <= MAX_PLAYERS else Sampling()

    def samples(self, game: Game) -> int:
        """See ``Backend.samples``."""
        return 2 * self.pairs_per_row(game) * len(game.background)

    def samples_in_round(self, number: int) -> int:
        """See ``Backend.samples_in_round``: twice as many in each round."""
        return int(self.n_samples * 2 ** min(number, 16))

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: the coalitions of one background row."""
        return 2 * (self.pairs or MIN_PAIRS)

    def pairs_per_row(self, game: Game) -> int:
        """Count the pairs of coalitions for each background row."""
        if game.n_samples is None and self.pairs is not None:
            return self.pairs
        wanted = round((game.n_samples or self.n_samples) / (2 * len(game.background)))
        return min(max(wanted, MIN_PAIRS), MAX_PAIRS)

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(self._attribute, game)

    def bind_anchored(self, game: Game, anchors: Tensor) -> AnchoredAttribution:
        """See ``Backend.bind_anchored``: the gradients of several rows are computed at once."""
        return partial(self._attribute, game)

    def _attribute(self, game: Game, rows: Tensor, *anchors: Tensor, seeds: Sequence[int]) -> Moments:
        base_value = lru_cache(maxsize=1)(partial(_base_values, game))
        parts = []
        for few in batches(len(rows), max(1, _batch_size(game) // self.samples(game))):
            few_anchors = [each[few] for each in anchors]
            base = _base_values(game, *few_anchors) if anchors else base_value()
            scores = _score(game.score, rows[few], *few_anchors, batch_size=_batch_size(game))
            parts.append(self._attribute_few(game, rows[few], *few_anchors, seeds=seeds[few], gaps=scores - base))
        return concatenate(parts, axis=0)

    def _attribute_few(self, game: Game, rows: Tensor, *anchors: Tensor, seeds: Sequence[int], gaps: Tensor) -> Moments:
        """Attribute the scores of a few rows; ``gaps`` (n, k) are their scores less their base values."""
        n, b, pairs = len(rows), len(game.background), self.pairs_per_row(game)
        generators = [np.random.default_rng(seed) for seed in seeds]
        shares = torch.stack([torch.from_numpy(_shares(b, pairs, each)) for each in generators]).to(rows)
        parts = []
        for part in batches(b, max(1, _batch_size(game) // (2 * pairs * n))):
            sampled, share = game.slice(part), shares[:, part].unsqueeze(3)
            shape = (len(sampled.background), pairs, game.n_players)
            ranks = np.stack([each.random(shape, dtype=np.float32) for each in generators])
            members = torch.from_numpy(ranks).to(rows) < share  # (n, b, pairs, p)
            changes = _changes(sampled, rows, *anchors, members=members)
            weights = torch.where(members, 1 / share, 1 / (1 - share))
            parts.append(_average(changes, (weights / weights.sum(dim=2, keepdim=True)).unsqueeze(4)))
        averages = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
        return _moments(game, rows, *averages, gaps=gaps, pairs=pairs)


def _batch_size(game: Game) -> int:
    return min(game.batch_size, BATCH_POINTS)


def _base_values(game: Game, *anchors: Tensor) -> Tensor:
    """Compute the base values of rows with these anchors, (n, k); (1, k) without anchors."""
    n, b = len(anchors[0]) if anchors else 1, len(game.background)
    tables = [game.background.repeat(n, 1), *(each.repeat_interleave(b, dim=0) for each in anchors)]
    scores = _score(game.score, *tables, batch_size=_batch_size(game)).reshape(n, b, -1)
    weights = game.background_weights
    return torch.einsum("nbk,b->nk", scores, weights / weights.sum())


def _score(score: nn.Module, *tables: Tensor, batch_size: int) -> Tensor:
    with torch.no_grad():
        return torch.cat([score(*(table[rows] for table in tables)) for rows in batches(len(tables[0]), batch_size)])


def _shares(b: int, pairs: int, generator: np.random.Generator) -> NDArray[Any]:
    """Sample the probabilities of members, (b, pairs): in strata for each background row, and over all of them.

    They are at most 1/2, as the complement of a coalition has the others; and so large that 1 / q is finite.
    """
    order = generator.permuted(np.tile(np.arange(b)[:, None], pairs), axis=0)
    within = (order + generator.uniform(1e-6, 1, (b, pairs))) / b
    return np.asarray((np.arange(pairs) + within) / (2 * pairs))


def _changes(game: Game, rows: Tensor, *anchors: Tensor, members: Tensor) -> Tensor:
    """Compute the mean of g at each coalition and its complement, (n, b, pairs, p, k).

    Args:
        game: Score, background (b, d) and players.
        rows: (n, d).
        anchors: (n, a), if the score is anchored.
        members: (n, b, pairs, p). Whether each player is in each coalition.
    """
    row, other = rows[:, None, None], game.background[:, None]
    inside = members[..., game.player_of_feature] if game.players else members
    points = torch.stack([torch.where(inside, row, other), torch.where(inside, other, row)])  # (2, n, b, pairs, d)
    tables = [each[None, :, None, None].expand(*points.shape[:-1], -1).flatten(0, 3) for each in anchors]
    slopes = gradients(game.score, points.flatten(0, 3), *tables, batch_size=_batch_size(game))
    changes = slopes.reshape(*points.shape, -1).mean(dim=0) * (row - other).unsqueeze(4)
    if not game.players:
        return changes
    sums = changes.new_zeros(*members.shape, changes.shape[4])
    return sums.index_add_(3, game.player_of_feature, changes)


def _average(changes: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Average over the pairs of each background row: the mean, its variance and its bias, (n, b, p, k) each.

    The bias of a mean with normalized weights falls with the number of pairs; that of one pair has no weights at all.

    Args:
        changes: (n, b, pairs, p, k).
        weights: (n, b, pairs, p, 1), of sum 1 over the pairs.

    Reference:
        Quenouille, 1956, Notes on bias in estimation (the bias from estimates of two sizes)
    """
    pairs = changes.shape[2]
    mean = (weights * changes).sum(dim=2)
    squares = (weights * (changes - mean.unsqueeze(2)).square()).sum(dim=2)
    spread = (weights * (1 - weights)).sum(dim=2)  # 0 for a single pair
    variance = squares * weights.square().sum(dim=2) / spread.clamp(min=torch.finfo(spread.dtype).tiny)
    return mean, variance, (changes.mean(dim=2) - mean) / max(1, pairs - 1)


def _moments(
    game: Game, rows: Tensor, estimates: Tensor, variances: Tensor, biases: Tensor, *, gaps: Tensor, pairs: int
) -> Moments:
    """Average over the background rows, and make the values add up.

    Args:
        game: Background (b, d), its weights, and players.
        rows: (n, d).
        estimates: (n, b, p, k), for each background row.
        variances: (n, b, p, k), of the draws of each estimate.
        biases: (n, b, p, k), of each estimate.
        gaps: (n, k), the sums that the values should have.
        pairs: Number of pairs of coalitions for each background row.
    """
    b = len(game.background)
    shares = (game.background_weights / game.background_weights.sum())[:, None, None]
    mean = (shares * estimates).sum(dim=1)
    total = (shares * (estimates - mean.unsqueeze(1))).square().sum(dim=1) * (b / max(1, b - 1))
    variance = (shares.square() * variances).sum(dim=1) if pairs > 1 else total
    missing = (gaps - mean.sum(dim=1)).unsqueeze(1)
    added = missing * _parts_of_missing(variance, _differ(game, rows))
    variance = torch.maximum(variance + (shares * biases).sum(dim=1).square(), added.square())
    count, groups = 2 * pairs * b, pairs * b
    values, squares, rest = (
        each.cpu().numpy() for each in (mean + added, variance * count * (groups - 1), (total - variance).clamp(min=0))
    )
    return Moments(count, values, squares, groups, background_variance=rest if pairs > 1 else None)


def _differ(game: Game, rows: Tensor) -> Tensor:
    """Tell which players of each row differ from the background in a feature: (n, p, 1), 0 or 1."""
    differ = torch.stack([(game.background != row).any(dim=0) for row in rows]).to(rows)
    counts = rows.new_zeros(len(rows), game.n_players).index_add_(1, game.player_of_feature, differ)
    return counts.clamp(max=1).unsqueeze(2)


def _parts_of_missing(variance: Tensor, differ: Tensor) -> Tensor:
    """Divide a sum among the players in proportion to their variances; evenly among those that differ if all are 0."""
    total = variance.sum(dim=1, keepdim=True)
    even = differ / differ.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(total > 0, variance / total, even)
