"""captum's ShapleyValueSampling: a few orders of the players, each against all of the background."""

import numpy as np
import torch
from captum.attr import ShapleyValueSampling
from torch import Tensor

from shapae.backends import Game, by_row
from shapae.backends.external._captum import lent
from shapae.backends.external._common import AT_ONCE, in_pieces
from shapae.utils.moments import Moments

ADDITIVE = False
DRAWS = 25
PLAYERS = True
REMEDY = "captum adds up in float32, whatever the model computes in; use backend='sampling', which does not."
# Numbers that captum holds at once.
MOST = 2**20


def held(background: int, features: int) -> int:
    """See ``Backend.held``: a piece of all rows, out of the whole background."""
    return AT_ONCE


def attribute(game: Game, row: Tensor, seed: int) -> Moments:
    """Shapley values from 25 orders of the players; see ``by_row``.

    Reference:
        Castro, Gomez and Tejada, 2009, Polynomial calculation of the Shapley value based on sampling
    """
    orders = np.random.SeedSequence(seed).generate_state(DRAWS).tolist()
    with lent(game.score) as copy:
        outputs = copy(row[None]).shape[1]
        explainer = ShapleyValueSampling(in_pieces(copy))
        values = torch.stack([_in_one_order(explainer, game, row, outputs, order) for order in orders])
    mean = values.mean(dim=0, keepdim=True)
    # What is rounded to float32 is part of the error.
    rounded = DRAWS * (DRAWS - 1) * (torch.finfo(torch.float32).eps * mean).square()
    spread = (values - mean).square().sum(dim=0, keepdim=True) + rounded
    return Moments(DRAWS, mean.cpu().numpy(), spread.cpu().numpy())


def _in_one_order(explainer: ShapleyValueSampling, game: Game, row: Tensor, outputs: int, order: int) -> Tensor:
    """(players, k), for the order that is drawn from this seed."""
    players = game.player_of
    size = outputs * len(row)
    few = max(1, min(len(game.background), MOST // size))
    total = row.new_zeros(outputs, len(row))
    for background, counts in zip(torch.split(game.background, few), torch.split(game.counts, few), strict=True):
        torch.default_generator.manual_seed(order)
        found = explainer.attribute(
            row.expand_as(background).contiguous(),
            background,
            feature_mask=players[None],
            n_samples=1,
            perturbations_per_eval=max(1, MOST // (few * size)),
        )
        total += torch.einsum("b,bkd->kd", counts, found.to(row))
    first = [int((players == player).nonzero()[0]) for player in range(int(players.max()) + 1)]
    return (total / game.counts.sum()).T[first]


against = by_row(attribute)
