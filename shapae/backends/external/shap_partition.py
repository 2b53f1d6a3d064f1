"""shap.PartitionExplainer: Owen values, which share out to clusters of correlated features first."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import shap
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist
from torch import Tensor

from shapae.backends import Attribution, Game
from shapae.backends.external._common import AT_ONCE
from shapae.backends.external._shap import Masker, lent_as_function
from shapae.utils.moments import Moments, concatenate

ADDITIVE = True
DRAWS = 0
PLAYERS = False
REMEDY = "The score may depend on something else than its rows."
# Coalitions that are looked into; what is left in a cluster then is shared out evenly.
COALITIONS = 500


def held(background: int, features: int) -> int:
    """See ``Backend.held``: a piece of all rows, out of the whole background, which tells the clusters."""
    return AT_ONCE


def against(game: Game) -> Attribution:
    """See ``Backend.against``."""
    return partial(attribute, game)


def attribute(game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    """Owen values for clusters of features by their correlation in the background; see ``Attribution``.

    They are not Shapley values: a cluster gets what it would get as one feature. Nothing is drawn but which of two
    clusters with equal differences comes first.

    Reference:
        Owen, 1977, Values of games with a priori unions
    """
    masker = Masker(game, _clusters(game.background.cpu().numpy()))
    return concatenate([_of_one_row(game, masker, row, seed) for row, seed in zip(rows, seeds, strict=True)], axis=0)


def _of_one_row(game: Game, masker: Masker, row: Tensor, seed: int) -> Moments:
    most = max(COALITIONS, 4 * len(row))
    with lent_as_function(game.score, row, seed) as function:
        explainer = shap.PartitionExplainer(masker.weighted(function), masker)
        found = explainer(row[None].cpu().numpy(), max_evals=most, silent=True)
    return Moments(float(game.counts.sum()), found.values.reshape(1, len(row), -1))


def _clusters(background: NDArray[Any]) -> NDArray[Any]:
    """(d - 1, 4), as of shap.maskers.Partition; a constant feature is correlated with none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(linkage(np.nan_to_num(pdist(background.T, "correlation"), nan=1.0), "single"))
