"""Mean absolute SHAP values of the reconstruction error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.analysis.ranking.task import RankingTask, mean_and_error
from shapae.explainer.explainer import Explainer
from shapae.heads import ReconstructionError

QUANTITIES = DEFAULT = ("moving", "fixed")


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Average |DeepSHAP value| over the rows, for each target; see ``heads.ReconstructionError``.

    The values of all features of a player are summed before the absolute value.

    Raises:
        UnsupportedOperator: The model runs operators without a rule of backend="deep".
    """
    return np.stack([_mean_absolute_values(task, target) for target in quantities], axis=1)


def _mean_absolute_values(task: RankingTask, target: str) -> NDArray[Any]:
    head = ReconstructionError(target=target)
    explainer = Explainer(task.autoencoder, task.background, head=head, n_jobs=task.n_jobs, seed=task.seed)
    values = torch.from_numpy(explainer(task.rows).values).to(task.player_of_feature.device)
    return mean_and_error(task.sum_by_player(values).abs())
