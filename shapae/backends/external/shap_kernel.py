"""shap.KernelExplainer: a weighted regression on coalitions, all of them if there are few features."""

import numpy as np
import shap
from shap.utils._legacy import DenseData
from torch import Tensor

from shapae.backends import Game, by_row
from shapae.backends.external._shap import lent_as_function
from shapae.utils.moments import Moments

ADDITIVE = True
DRAWS = 2048
PLAYERS = True
REMEDY = "shap drops features that hardly differ from the background; backend='sampling' does not."


def held(background: int, features: int) -> int:
    """See ``Backend.held``: all of the background for each coalition."""
    return background * min(DRAWS + 2 * features, int(2 ** min(features, 30)))


def attribute(game: Game, row: Tensor, seed: int) -> Moments:
    """Shapley values from 2048 + 2 d coalitions, or all of them, without shap's choice of ten features.

    Reference:
        Lundberg and Lee, 2017, section 4.1, https://arxiv.org/abs/1705.07874
    """
    players, counts = game.player_of.cpu().numpy(), game.counts.double().cpu().numpy()
    groups = [np.flatnonzero(players == player) for player in range(players.max() + 1)]
    names = [str(player) for player in range(len(groups))]
    background = DenseData(game.background.cpu().numpy(), names, groups, counts / counts.sum())
    with lent_as_function(game.score, row, seed) as function:
        values = shap.KernelExplainer(function, background).shap_values(
            row[None].cpu().numpy(), nsamples=DRAWS + 2 * len(groups), l1_reg=False, silent=True
        )
    return Moments(float(counts.sum()), values)


against = by_row(attribute)
