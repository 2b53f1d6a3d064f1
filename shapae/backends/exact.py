"""Shapley values by enumeration of all coalitions: slow, and right for every score."""

from collections.abc import Sequence
from functools import partial
from math import comb

import torch
from torch import Tensor

from shapae.backends.base import Attribution, Backend
from shapae.backends.game import Game
from shapae.errors import TooLarge
from shapae.utils.moments import Moments

MAX_PLAYERS = 12


class Exact(Backend):
    """Shapley values of v(S) = score(x_S, b_rest), averaged over the background.

    phi_i = sum over S without i of |S|! (p - |S| - 1)! / p! * (v(S + i) - v(S)), for p players.

    Reference:
        Shapley, 1953, A value for n-person games; Lundberg and Lee, 2017, equation 8
    """

    name = "exact"
    quantity = "Shapley values by enumeration"
    supports_groups = True
    hint = "The score may depend on more than its rows."

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: the background for each coalition.

        Raises:
            TooLarge: There are more than 12 players.
        """
        if n_players > MAX_PLAYERS:
            raise TooLarge(
                f"the exact backend takes at most {MAX_PLAYERS} features, got {n_players} (that is 2**{n_players} "
                f"coalitions). Use backend='sampling', fewer features, or groups of them: Explainer(..., groups=...)."
            )
        return n_background * int(2**n_players)

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(_attribute, game)


def _attribute(game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    player_of = game.player_of_feature.cpu()
    coalitions = list_coalitions(game.n_players)
    weights = gain_weights(game.n_players).to(rows)
    pairs = torch.stack([_attribute_row(game, row, coalitions.to(row.device), player_of, weights) for row in rows])
    if game.weights is not None:
        count = float(game.weights.sum())
        return Moments(count, torch.einsum("npbk,b->npk", pairs, game.weights / count))
    mean = pairs.mean(dim=2)
    squares = (pairs - mean.unsqueeze(2)).square().sum(dim=2)
    return Moments(len(game.background), mean, squares)


def _attribute_row(game: Game, row: Tensor, coalitions: Tensor, player_of: Tensor, weights: Tensor) -> Tensor:
    """Compute the Shapley values of ``row`` against each background row: (p, b, k)."""
    mixed = torch.where(coalitions[:, player_of].unsqueeze(1), row, game.background)  # (2**p, b, d)
    with torch.no_grad():
        scores: Tensor = game.score(mixed.flatten(0, 1)).detach()  # for models that enable gradients themselves
        worths = scores.reshape(*mixed.shape[:2], -1)
    gains = (worths[joined] - worths[~joined] for joined in coalitions.T)
    return torch.stack([torch.tensordot(weights, gain, dims=1) for gain in gains])


def list_coalitions(p: int) -> Tensor:
    """List all subsets of p players: (2**p, p), True for members."""
    return (torch.arange(2**p).unsqueeze(1) >> torch.arange(p)) & 1 == 1


def gain_weights(p: int) -> Tensor:
    """Compute the weight of each coalition that a player joins: (2**(p - 1),), float64, the same for each player."""
    joins = torch.tensor([1 / (p * comb(p - 1, size)) for size in range(p)], dtype=torch.float64)
    return joins[list_coalitions(p - 1).sum(dim=1)]
