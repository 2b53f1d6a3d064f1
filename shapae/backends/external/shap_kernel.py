"""shap.KernelExplainer: a weighted regression on coalitions, on all of them if there are few features."""

import numpy as np
import shap
from shap.utils._legacy import DenseData
from torch import Tensor

from shapae.backends.base import RowwiseBackend
from shapae.backends.external._shap import copy_as_function
from shapae.backends.game import Game
from shapae.utils.moments import Moments


class ShapKernel(RowwiseBackend):
    """Shapley values from 2048 + 2 d coalitions, or from all of them, without shap's choice of ten features.

    Reference:
        Lundberg and Lee, 2017, section 4.1, https://arxiv.org/abs/1705.07874
    """

    name = "shap_kernel"
    quantity = "Shapley values by weighted regression of shap"
    supports_groups = True
    hint = "shap drops features that hardly differ from the background; backend='sampling' does not."
    n_samples = 2048

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: the background for each coalition."""
        return n_background * min(self.n_samples + 2 * n_players, int(2 ** min(n_players, 30)))

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        players, weights = game.player_of_feature.cpu().numpy(), game.background_weights.double().cpu().numpy()
        groups = [np.flatnonzero(players == player) for player in range(game.n_players)]
        names = [str(player) for player in range(len(groups))]
        background = DenseData(game.background.cpu().numpy(), names, groups, weights / weights.sum())
        with copy_as_function(game.score, row, seed) as function:
            values = shap.KernelExplainer(function, background).shap_values(
                row[None].cpu().numpy(), nsamples=self.n_samples + 2 * len(groups), l1_reg=False, silent=True
            )
        return Moments(float(weights.sum()), values)
