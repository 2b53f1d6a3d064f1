"""What becomes of the rows without a feature: it is set to its mean over the background."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from shapae.analysis.ranking.methods._perturbation import COLUMNS, ablated
from shapae.analysis.ranking.task import Case

USUAL = COLUMNS


def measure(case: Case, columns: Sequence[str]) -> NDArray[Any]:
    """How far the rows move, see ``_replaced.moves``."""
    return ablated(case, columns, case.middle, "ablation_mean")
