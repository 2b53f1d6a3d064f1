"""shap.PartitionExplainer: Owen values, which are shared out to clusters of correlated features first."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import shap
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist
from torch import Tensor

from shapae.backends.base import Attribution, Backend
from shapae.backends.external._common import BATCH_ROWS
from shapae.backends.external._shap import Masker, copy_as_function
from shapae.backends.game import Game
from shapae.utils.moments import Moments, gather

# Number of coalitions that are evaluated; the rest of a cluster is shared out evenly then.
COALITIONS = 500


class ShapPartition(Backend):
    """Owen values for clusters of features by their correlation in the background.

    They are not Shapley values: a cluster gets the value that it would get as one feature. The seed only decides which
    of two clusters with equal differences comes first.

    Reference:
        Owen, 1977, Values of games with a priori unions
    """

    name = "shap_partition"
    quantity = "Owen values of a tree of features by shap"
    hint = "The score may depend on more than its rows."

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: a batch of mixed rows; the clusters need the whole background."""
        return BATCH_ROWS

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(_attribute, game)


def _attribute(game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    masker = Masker(game, _clusters(game.background.cpu().numpy()))
    return gather((_attribute_row(game, masker, *each) for each in zip(rows, seeds, strict=True)), len(rows))


def _attribute_row(game: Game, masker: Masker, row: Tensor, seed: int) -> Moments:
    evaluations = max(COALITIONS, 4 * len(row))
    with copy_as_function(game.score, row, seed) as function:
        explainer = shap.PartitionExplainer(masker.weighted(function), masker)
        found = explainer(row[None].cpu().numpy(), max_evals=evaluations, silent=True)
    return Moments(float(game.background_weights.sum()), found.values.reshape(1, len(row), -1))


def _clusters(background: NDArray[Any]) -> NDArray[Any]:
    """Cluster the features, as shap.maskers.Partition does: (d - 1, 4). A constant feature is correlated with none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(linkage(np.nan_to_num(pdist(background.T, "correlation"), nan=1.0), "single"))
