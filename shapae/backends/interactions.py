"""Shapley interaction values of pairs of players: exact for few players, sampled for many; for any score."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.backends.exact import MAX_PLAYERS, gain_weights, list_coalitions
from shapae.backends.game import Game
from shapae.backends.sampling import sample_background
from shapae.utils.blocks import block_rows
from shapae.utils.memory import batched, batches

# Number of coalitions of one row, which are drawn in fours: two for one background row, each with its complement.
N_COALITIONS = 400
# Number of rows that are scored at once.
BATCH_ROWS = 2**9


@dataclass(frozen=True, eq=False)
class Pairs:
    """Interaction values of m players of one row.

    Attributes:
        values: (m, m), float64, symmetric: main effects on the diagonal, half of each interaction index beside it.
        standard_errors: (m, m), of the random draws; zeros where all coalitions were enumerated.
    """

    values: NDArray[Any]
    standard_errors: NDArray[Any]


def interact(game: Game, row: Tensor, chosen: Tensor, *, seed: int, batch_rows: int = BATCH_ROWS) -> Pairs:
    """Compute the interaction values of the players ``chosen``.

    I_ij = sum over S without i and j of |S|! (p - |S| - 2)! / (p - 1)! * D_ij(S), with the second difference
    D_ij(S) = v(S + ij) - v(S + i) - v(S + j) + v(S). Half of it is the value of (i, j), the other half that of (j, i),
    and what is left of the Shapley value phi_i is the value of (i, i), so that each row sums to phi_i.

    At most 12 players are enumerated. Otherwise coalitions are drawn: a size, uniform over 0 .. p, and players, uniform
    too. Without i and j these have the distribution of S above, so that one coalition gives an unbiased value of each
    pair, from 1 + m + m (m - 1) / 2 scores. No gradient is needed, nor is a step assumed to be small. A quadratic score
    is exact from any coalition. Each coalition comes with its complement, which cancels effects of third order.

    Args:
        game: Its score takes rows (n, d) and returns (n, 1).
        row: (d,).
        chosen: (m,), positions of two players or more.
        seed: Random seed of this row.
        batch_rows: Number of rows that may be scored at once.

    Reference:
        Grabisch and Roubens, 1999, An axiomatic approach to the concept of interaction among players (the index);
        Lundberg et al., 2020, From local explanations to global understanding with explainable AI for trees (halves);
        Bordt and von Luxburg, 2023, From Shapley values to generalized additive models and back (n-Shapley values)
    """
    batch_rows = min(batch_rows, block_rows(BATCH_ROWS, row[None]))
    if game.n_players <= MAX_PLAYERS:
        return _enumerate(game, row, chosen, batch_rows)
    return sample(game, row, chosen, seed=seed, batch_rows=batch_rows)


def _enumerate(game: Game, row: Tensor, chosen: Tensor, batch_rows: int) -> Pairs:
    p = game.n_players
    coalitions = list_coalitions(p).to(row.device)
    worths = batched(partial(_worth, game, row, batch_rows), coalitions, max(1, batch_rows // len(game.background)))
    cube = worths.reshape([2] * p).permute([*range(p)][::-1])  # axis i: without player i, and with it
    values = torch.zeros(p, p, dtype=torch.float64)
    for i, j in torch.combinations(torch.arange(p)).tolist():
        values[i, j] = values[j, i] = _mean_gain(cube, i, j) / 2
    values.diagonal().copy_(torch.stack([_mean_gain(cube, i) for i in range(p)]))
    values = _main_effects(values[chosen.cpu()][:, chosen.cpu()])
    return Pairs(values.numpy(), np.zeros(values.shape))


def _worth(game: Game, row: Tensor, batch_rows: int, coalitions: Tensor) -> Tensor:
    """Compute the worths of some coalitions (c, p): (c,), float64."""
    mixed = torch.where(coalitions[:, game.player_of_feature].unsqueeze(1), row, game.background)
    scores = _score(game, mixed.flatten(0, 1), batch_rows).reshape(mixed.shape[:2])
    weights = game.background_weights.double()
    return (scores @ weights / weights.sum()).cpu()


def _score(game: Game, rows: Tensor, batch_rows: int) -> Tensor:
    """(n, d) -> (n,), float64."""
    with torch.no_grad():
        return batched(game.score, rows, batch_rows)[:, 0].detach().double()


def _mean_gain(cube: Tensor, *players: int) -> Tensor:
    """Average what one player adds, or two beyond what each adds alone, with the weights of Shapley values."""
    rest = cube.ndim - len(players)
    for player in players:
        cube = cube.diff(dim=player)
    return gain_weights(rest + 1) @ cube.flatten()


def _main_effects(values: Tensor) -> Tensor:
    """Take the interactions beside the diagonal of (..., m, m) off the Shapley values on it."""
    diagonal = values.diagonal(dim1=-2, dim2=-1)
    diagonal.sub_(values.sum(dim=-1) - diagonal)
    return values


def sample(game: Game, row: Tensor, chosen: Tensor, *, seed: int, batch_rows: int = BATCH_ROWS) -> Pairs:
    """Estimate interaction values from random coalitions, about 400; see ``interact``.

    Up to 150 background rows are all taken, as often as their weights say; of more rows some are sampled, see
    ``Sampling``. Sizes are stratified. The standard errors come from the differences between two draws for the same
    background row, less the trend of these differences in the size, which the strata take out of the values, too.
    """
    generator, m = np.random.default_rng(seed), len(chosen)
    units, part = sample_background(np.asarray(game.background_weights.cpu()), N_COALITIONS // 4, generator)
    draw = partial(_draw, game, row, chosen, batch_rows)
    share, sizes = torch.as_tensor(part)[:, None, None], torch.as_tensor(_strata(len(units), generator))
    uneven = (sizes - 0.5).square()  # the mean over a coalition and its complement is even in size - 1/2
    gaps = share * (uneven[:, :1] - uneven[:, 1:])[:, None] / 2
    mean = squares = trend = torch.zeros(m, m, dtype=torch.float64)
    for few in batches(len(units), max(1, batch_rows // (2 * m * (m + 1)))):
        inside = torch.as_tensor(generator.random((*sizes[few].shape, game.n_players))) < sizes[few, :, None]
        one, other = draw(game.background[units[few]], inside.to(row.device)).unbind(dim=1)
        difference = share[few] * (one - other) / 2
        mean = mean + (share[few] * (one + other) / 2).sum(dim=0)
        squares = squares + difference.square().sum(dim=0)
        trend = trend + (gaps[few] * difference).sum(dim=0)
    variance = (squares - trend.square() / gaps.square().sum()).clamp(min=0) * len(units) / (len(units) - 1)
    return Pairs(mean.numpy(), variance.sqrt().numpy())


def _strata(n: int, generator: np.random.Generator) -> NDArray[Any]:
    """Draw n pairs of parts of all players, up to one half, as complements have the other halves; each in n strata."""
    strata = np.stack([generator.permutation(n) for _ in range(2)], axis=1)
    return np.asarray((strata + generator.random((n, 2))) / n / 2)


def _draw(game: Game, row: Tensor, chosen: Tensor, batch_rows: int, background: Tensor, inside: Tensor) -> Tensor:
    """Compute the interaction values from one coalition each, averaged with that from its complement: (..., m, m).

    Args:
        game: See ``interact``.
        row: (d,).
        chosen: (m,).
        batch_rows: See ``interact``.
        background: (..., d), background rows.
        inside: (..., p), the coalitions.
    """
    first, second = torch.triu_indices(len(chosen), len(chosen), device=row.device)
    single = first == second
    both = torch.stack([inside, ~inside], dim=-2)
    scores = _score_switched(game, row, background, both, _switches(game, chosen), batch_rows)
    gains = scores[..., 1:] - scores[..., :1]
    alone, sign = gains[..., single], 1 - 2 * both[..., chosen].double()
    gains = torch.where(single, gains, gains - alone[..., first] - alone[..., second])
    gains = (gains * sign[..., first] * torch.where(single, 1, sign[..., second])).mean(dim=-2)
    values = gains.new_zeros(*gains.shape[:-1], len(chosen), len(chosen))
    values[..., first, second] = gains / 2
    return _main_effects(values + values.mT).cpu()


def _switches(game: Game, chosen: Tensor) -> Tensor:
    """List none, each player and each pair of ``chosen``, to be switched in or out: (2, 1 + m (m + 1) / 2).

    The number p, of no player, stands for a player less.
    """
    first, second = torch.triu_indices(len(chosen), len(chosen), device=chosen.device)
    pairs = torch.stack([chosen[first], chosen[second].where(first != second, game.n_players)])
    return torch.cat([torch.full_like(pairs[:, :1], game.n_players), pairs], dim=1)


def _score_switched(
    game: Game, row: Tensor, background: Tensor, inside: Tensor, switches: Tensor, batch_rows: int
) -> Tensor:
    """Score all switches of coalitions ``inside`` (..., 2, p): (..., 2, switches), float64."""
    count, player_of = switches.shape[1], game.player_of_feature
    coalitions, background = nn.functional.pad(inside, (0, 1)).flatten(0, -2), background.flatten(0, -2)

    def score(at: Tensor) -> Tensor:
        coalition = at // count
        switched = coalitions[coalition]
        for players in switches[:, at % count]:
            switched[torch.arange(len(at), device=at.device), players] ^= True
        mixed = torch.where(switched[:, player_of], row, background[coalition // 2])
        return _score(game, mixed, len(mixed))

    scores = batched(score, torch.arange(len(coalitions) * count, device=row.device), batch_rows)
    return scores.reshape(*inside.shape[:-1], count)
