"""Shapley values by enumeration of all coalitions: slow, and right for every score."""

from collections.abc import Sequence
from functools import partial
from math import comb

import torch
from torch import Tensor

from shapae.backends import Attribution, Game
from shapae.errors import TooLarge
from shapae.utils.moments import Moments

ADDITIVE = True
DRAWS = 0
PLAYERS = True
REMEDY = "The score may depend on something else than its rows."
MOST = 12


def held(background: int, features: int) -> int:
    """See ``Backend.held``.

    Raises:
        TooLarge: More than 12 features or players.
    """
    if features > MOST:
        raise TooLarge(
            f"the exact backend takes at most {MOST} features, got {features} (that is 2**{features} coalitions); "
            f"use backend='deep', fewer features, or groups of them: Explainer(..., groups=...)."
        )
    return background * int(2**features)


def against(game: Game) -> Attribution:
    """See ``Backend.against``."""
    return partial(attribute, game)


def attribute(game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    """Shapley values of v(S) = score(x_S, b_rest), averaged over the background; see ``Attribution``.

    phi_i = sum over S without i of |S|! (d - |S| - 1)! / d! * (v(S + i) - v(S)).

    Reference:
        Shapley, 1953, A value for n-person games; Lundberg and Lee, 2017, equation 8
    """
    players = torch.arange(rows.shape[1]) if game.players is None else game.players.cpu()
    coalitions = _coalitions(int(players.max()) + 1)
    weights = _weights(coalitions.shape[1]).to(rows)
    pairs = torch.stack([_of_one_row(game, row, coalitions.to(row.device), players, weights) for row in rows])
    if game.weights is not None:
        count = float(game.weights.sum())
        return Moments(count, torch.einsum("npbk,b->npk", pairs, game.weights / count).cpu().numpy())
    mean = pairs.mean(dim=2)
    spread = (pairs - mean.unsqueeze(2)).square().sum(dim=2)
    return Moments(len(game.background), mean.cpu().numpy(), spread.cpu().numpy())


def _of_one_row(game: Game, row: Tensor, coalitions: Tensor, players: Tensor, weights: Tensor) -> Tensor:
    """Shapley values of ``row`` against each background row: (p, b, k)."""
    mixed = torch.where(coalitions[:, players].unsqueeze(1), row, game.background)  # (2**p, b, d)
    with torch.no_grad():
        scores: Tensor = game.score(mixed.flatten(0, 1)).detach()  # of models that enable gradients themselves
        games = scores.reshape(*mixed.shape[:2], -1)
    gains = (games[joined] - games[~joined] for joined in coalitions.T)
    return torch.stack([torch.tensordot(weights, gain, dims=1) for gain in gains])


def _coalitions(d: int) -> Tensor:
    """All subsets of ``d`` players: (2**d, d), True for members."""
    return (torch.arange(2**d).unsqueeze(1) >> torch.arange(d)) & 1 == 1


def _weights(d: int) -> Tensor:
    """(2**(d - 1),), float64: the weight of each coalition that a player joins, whichever player."""
    joins = torch.tensor([1 / (d * comb(d - 1, size)) for size in range(d)], dtype=torch.float64)
    return joins[_coalitions(d - 1).sum(dim=1)]
