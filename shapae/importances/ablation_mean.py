"""What becomes of the rows without a feature: it is set to its mean over the background."""

from collections.abc import Sequence

from shapae.importances import Case
from shapae.importances._replaced import COLUMNS, ablated
from shapae.utils.moments import Array

USUAL = COLUMNS


def measure(case: Case, columns: Sequence[str]) -> Array:
    """How far the rows move, see ``_replaced.moves``."""
    return ablated(case, columns, case.middle, "ablation_mean")
