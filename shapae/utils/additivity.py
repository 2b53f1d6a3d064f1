"""Whether values add up to their scores: the residual that rounding may leave, and the message if there is more."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def additivity_tolerance(
    scores: NDArray[Any], base: NDArray[Any], sizes: NDArray[Any], eps: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the spread of the scores, and the residual that rounding may leave: (k,) each.

    Args:
        scores: (n, k), scores of the rows.
        base: (b, k), scores of the background, or their mean.
        sizes: (k,). Sum of the absolute values of a row.
        eps: Relative rounding error of the scores.
    """
    ends = [np.stack([each.min(axis=0), each.max(axis=0)]) for each in (scores, base)]
    spread, few = np.ptp(np.concatenate(ends), axis=0), min(100 * eps, eps**0.5)
    return spread, eps**0.5 * spread + few * (np.abs(scores).max(axis=0) + sizes)


def residual_message(residual: NDArray[Any], tolerance: NDArray[Any], spread: NDArray[Any]) -> str | None:
    """Describe the rows whose residual exceeds the tolerance; None if there are none.

    Args:
        residual: (n, k), score - base value - sum of the values.
        tolerance: (k,) or (n, k).
        spread: (k,), spread of the scores.
    """
    bad = np.flatnonzero((np.abs(residual) > tolerance).any(axis=1))
    if not len(bad):
        return None
    return (
        f"the values of {len(bad)} of {len(residual)} rows do not add up to their scores: the residual is "
        f"up to {np.abs(residual).max():.3g}, where the scores spread over {spread.max():.3g}; first in row {bad[0]}."
    )
