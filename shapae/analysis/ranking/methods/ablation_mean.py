"""What becomes of the rows without a feature: it is set to its mean over the background."""

from collections.abc import Sequence

from shapae.analysis.ranking.methods._perturbation import COLUMNS, ablated
from shapae.analysis.ranking.task import Case
from shapae.utils.moments import Array

USUAL = COLUMNS


def measure(case: Case, columns: Sequence[str]) -> Array:
    """How far the rows move, see ``_replaced.moves``."""
    return ablated(case, columns, case.middle, "ablation_mean")
