"""captum's ShapleyValueSampling: a few orders of the players, each against the whole background."""

import numpy as np
import torch
from captum.attr import ShapleyValueSampling
from torch import Tensor

from shapae.backends.base import RowwiseBackend
from shapae.backends.external._captum import patched_copy
from shapae.backends.external._common import BATCH_ROWS, in_batches
from shapae.backends.game import Game
from shapae.utils.moments import Moments

# Number of values that captum holds at once.
MAX_VALUES = 2**20


class CaptumShapley(RowwiseBackend):
    """Shapley values from 25 orders of the players.

    Reference:
        Castro, Gomez and Tejada, 2009, Polynomial calculation of the Shapley value based on sampling
    """

    name = "captum_shapley"
    quantity = "Shapley values by random orders of captum"
    unit = "orders"
    additive = False
    supports_groups = True
    hint = "captum adds up in float32, whatever the dtype of the model is; backend='sampling' does not."
    n_samples = 25

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: a batch of mixed rows, from the whole background."""
        return BATCH_ROWS

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        n = self.n_samples
        orders = np.random.SeedSequence(seed).generate_state(n).tolist()
        with patched_copy(game.score) as copy:
            outputs = copy(row[None]).shape[1]
            explainer = ShapleyValueSampling(in_batches(copy))
            values = torch.stack([_attribute_in_order(explainer, game, row, outputs, order) for order in orders])
        mean = values.mean(dim=0, keepdim=True)
        # Rounding to float32 is part of the error.
        rounding = n * (n - 1) * (torch.finfo(torch.float32).eps * mean).square()
        squares = (values - mean).square().sum(dim=0, keepdim=True) + rounding
        return Moments(n, mean.cpu().numpy(), squares.cpu().numpy())


def _attribute_in_order(explainer: ShapleyValueSampling, game: Game, row: Tensor, outputs: int, order: int) -> Tensor:
    """Compute the contributions of the players in the order that this random seed gives: (players, k)."""
    players, weights = game.player_of_feature, game.background_weights
    size = outputs * len(row)
    few = max(1, min(len(game.background), MAX_VALUES // size))
    total = row.new_zeros(outputs, len(row))
    for background, shares in zip(torch.split(game.background, few), torch.split(weights, few), strict=True):
        torch.default_generator.manual_seed(order)
        found = explainer.attribute(
            row.expand_as(background).contiguous(),
            background,
            feature_mask=players[None],
            n_samples=1,
            perturbations_per_eval=max(1, MAX_VALUES // (few * size)),
        )
        total += torch.einsum("b,bkd->kd", shares, found.to(row))
    first = [int((players == player).nonzero()[0]) for player in range(game.n_players)]
    return (total / weights.sum()).T[first]
