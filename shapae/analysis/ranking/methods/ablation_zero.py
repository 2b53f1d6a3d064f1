"""Ablation of a feature: it is set to zero."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from shapae.analysis.ranking.methods._perturbation import QUANTITIES, ablate
from shapae.analysis.ranking.task import RankingTask

DEFAULT = QUANTITIES


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Measure the effects of zero ablation, see ``_perturbation.perturbation_effects``.

    If zero is far from all rows, use ``ablation_mean`` instead.
    """
    return ablate(task, quantities, task.background_mean.new_zeros(len(task.background_mean)), "ablation_zero")
