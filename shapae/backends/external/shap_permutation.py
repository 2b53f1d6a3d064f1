"""shap.PermutationExplainer: a few orders of the features, each order forwards and backwards."""

import shap
from torch import Tensor

from shapae.backends.base import RowwiseBackend
from shapae.backends.external._shap import Masker, copy_as_function
from shapae.backends.game import Game
from shapae.utils.moments import Moments

# Number of coalitions that are scored at once.
BATCH_COALITIONS = 10


class ShapPermutation(RowwiseBackend):
    """Shapley values from ten orders of the features, each against the whole background.

    Reference:
        Mitchell et al., 2022, section 4.1, https://arxiv.org/abs/2104.12199
    """

    name = "shap_permutation"
    quantity = "Shapley values by random orders of shap"
    unit = "orders"
    hint = "The score may depend on more than its rows."
    n_samples = 10

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: the background for each coalition of a batch."""
        return BATCH_COALITIONS * n_background

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        masker, evaluations = Masker(game), self.n_samples * (2 * len(row) + 1)
        with copy_as_function(game.score, row, seed) as function:
            explainer = shap.PermutationExplainer(masker.weighted(function), masker, seed=seed)
            found = explainer(row[None].cpu().numpy(), max_evals=evaluations, batch_size=BATCH_COALITIONS, silent=True)
        return Moments(float(game.background_weights.sum()), found.values.reshape(1, len(row), -1))
