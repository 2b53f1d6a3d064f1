"""What becomes of the rows without a feature: it is set to its mean over the background."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from shapae.analysis.ranking.methods._perturbation import QUANTITIES, ablated
from shapae.analysis.ranking.task import RankingTask

DEFAULT = QUANTITIES


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """How far the rows move, see ``_replaced.perturbation_effects``."""
    return ablated(case, columns, case.background_mean, "ablation_mean")
