"""What becomes of the rows without a feature: it is set to zero."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from shapae.analysis.ranking.methods._perturbation import COLUMNS, ablated
from shapae.analysis.ranking.task import Case

USUAL = COLUMNS


def measure(case: Case, columns: Sequence[str]) -> NDArray[Any]:
    """How far the rows move, see ``_replaced.moves``. Zero may be far from all rows; see ``ablation_mean``, then."""
    return ablated(case, columns, case.middle.new_zeros(len(case.middle)), "ablation_zero")
