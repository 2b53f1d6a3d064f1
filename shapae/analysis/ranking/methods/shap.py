"""The size of the SHAP values of the reconstruction error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.analysis.ranking.task import RankingTask, mean_and_error
from shapae.explainer.explainer import Explainer
from shapae.heads import ReconstructionError

QUANTITIES = DEFAULT = ("moving", "fixed")


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """Mean over the rows of |value| of DeepSHAP, for each target; see ``heads.ReconstructionError``.

    Of the features of one player the values are summed first.

    Raises:
        UnsupportedOperator: The model runs operators that backend="deep" has no rule for.
    """
    return np.stack([_of_target(case, column) for column in columns], axis=1)


def _of_target(case: RankingTask, target: str) -> NDArray[Any]:
    head = ReconstructionError(target=target)
    explainer = Explainer(case.autoencoder, case.background, head=head, n_jobs=case.n_jobs, seed=case.seed)
    values = torch.from_numpy(explainer(case.rows).values).to(case.player_of.device)
    return mean_and_error(case.sums(values).abs())
