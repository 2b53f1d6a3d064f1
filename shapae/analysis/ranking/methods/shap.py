"""The size of the SHAP values of the reconstruction error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.analysis.ranking.task import Case, over_rows
from shapae.explainer.explainer import Explainer
from shapae.heads import ReconstructionError

COLUMNS = USUAL = ("moving", "fixed")


def measure(case: Case, columns: Sequence[str]) -> NDArray[Any]:
    """Mean over the rows of |value| of DeepSHAP, for each target; see ``heads.ReconstructionError``.

    Of the features of one player the values are summed first.

    Raises:
        UnsupportedOperator: The model runs operators that backend="deep" has no rule for.
    """
    return np.stack([_of_target(case, column) for column in columns], axis=1)


def _of_target(case: Case, target: str) -> NDArray[Any]:
    head = ReconstructionError(target=target)
    explainer = Explainer(case.autoencoder, case.background, head=head, n_jobs=case.n_jobs, seed=case.seed)
    values = torch.from_numpy(explainer(case.rows).values).to(case.player_of.device)
    return over_rows(case.sums(values).abs())
