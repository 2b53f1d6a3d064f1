"""shap.PermutationExplainer: a few orders of the features, each one forwards and backwards."""

import shap
from torch import Tensor

from shapae.backends import Game, by_row
from shapae.backends.external._shap import Masker, lent_as_function
from shapae.utils.moments import Moments

ADDITIVE = True
DRAWS = 10
PLAYERS = False
REMEDY = "The score may depend on something else than its rows."
BATCH = 10


def held(background: int, features: int) -> int:
    """See ``Backend.held``: all of the background for each of a few coalitions."""
    return BATCH * background


def attribute(game: Game, row: Tensor, seed: int) -> Moments:
    """Shapley values from ten orders of the features, each against all of the background; see ``by_row``.

    Reference:
        Mitchell et al., 2022, section 4.1, https://arxiv.org/abs/2104.12199
    """
    masker, once = Masker(game), 2 * len(row) + 1
    with lent_as_function(game.score, row, seed) as function:
        explainer = shap.PermutationExplainer(masker.weighted(function), masker, seed=seed)
        found = explainer(row[None].cpu().numpy(), max_evals=DRAWS * once, batch_size=BATCH, silent=True)
    return Moments(float(game.counts.sum()), found.values.reshape(1, len(row), -1))


against = by_row(attribute)
