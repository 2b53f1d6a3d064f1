"""Ablation of a feature: it is set to its mean over the background."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from shapae.analysis.ranking.methods._perturbation import QUANTITIES, ablate
from shapae.analysis.ranking.task import RankingTask

DEFAULT = QUANTITIES


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Measure the effects of mean ablation, see ``_perturbation.perturbation_effects``."""
    return ablate(task, quantities, task.background_mean, "ablation_mean")
