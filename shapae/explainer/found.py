"""What is found for all rows, block by block, and whether it adds up."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.explainer.worker import Part
from shapae.utils.memory import batches

# Bytes of the values that are added up at once, so that they stay in a cache.
AT_ONCE = 2**22


class Found:
    """Values of n rows, and what else is known of them.

    Args:
        scores: (n, k), of the rows.
        b: Number of background rows.
        d: Number of features.

    Attributes:
        values: (n, d, k).
        errors: (n, d, k), their standard errors; None where they are not known.
        used: (n,). With how many background rows each row was compared; or how many draws it took.
        base_values: (n, k), mean score of these; to be filled in.
    """

    base_values: NDArray[Any]

    def __init__(self, scores: NDArray[Any], b: int, d: int) -> None:
        n, k = scores.shape
        self.scores = scores
        self.values: NDArray[Any] = np.empty((n, d, k), scores.dtype)
        self.errors: NDArray[Any] | None = None
        self.used = np.full(n, b)
        self._sums, self._sizes, self._errors = np.empty((3, n, k), scores.dtype)

    def put(self, start: int, part: Part) -> int:
        """The next rows, from ``start``; gives back the row after them."""
        end, values = start + len(part.mean), torch.from_numpy(self.values)
        values[start:end] = torch.from_numpy(part.mean)
        for few in batches(end - start, max(1, AT_ONCE // values[:1].nbytes)):
            rows = slice(start + few.start, start + few.stop)
            self._sums[rows], self._sizes[rows] = _summed(self.values[rows]), values[rows].abs().sum(1)
        if part.used is not None:
            self.used[start:end] = part.used
        if part.errors is not None:
            if self.errors is None:
                self.errors = np.empty_like(self.values)
            self.errors[start:end] = part.errors
            self._errors[start:end] = part.errors.sum(axis=1)
        return end

    @property
    def residual(self) -> NDArray[Any]:
        """(n, k): score - base value - sum of the values."""
        return np.asarray(self.scores - self.base_values - self._sums)

    def missed(self, additive: bool) -> str | None:
        """What to say of rows whose values miss their scores by more than rounding; None if there are none.

        Args:
            additive: The values add up but for rounding; otherwise up to their standard errors, too, and where these
                are not known nothing is promised.
        """
        if not additive and self.errors is None:
            return None
        spread, promise = promised(self.scores, self.base_values, self._sizes.max(axis=0))
        promise = promise + (0 if additive else 5 * self._errors)
        residual: Any = np.abs(self.residual)
        bad = np.flatnonzero((residual > promise).any(axis=1))
        if not len(bad):
            return None
        return (
            f"the values of {len(bad)} of {len(residual)} rows do not add up to their scores: the residual is "
            f"up to {residual.max():.3g}, where the scores spread over {spread.max():.3g}; first in row {bad[0]}."
        )


def promised(scores: NDArray[Any], base: NDArray[Any], sizes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(k,): how much scores spread, and what rounding may leave of them.

    Args:
        scores: (n, k), of rows.
        base: (b, k), of the background, or its mean.
        sizes: (k,). Sum of the absolute values of a row.
    """
    eps, spread = np.finfo(scores.dtype).eps, np.ptp(np.concatenate([scores, base]), axis=0)
    return spread, eps**0.5 * spread + 100 * eps * (np.abs(scores).max(axis=0) + sizes)


def _summed(values: NDArray[Any]) -> NDArray[Any]:
    """(n, d, k) -> (n, k): to the last digit what a user finds, whose values of one output have two axes."""
    return np.asarray(values.sum(axis=1) if values.shape[2] > 1 else values[..., 0].sum(axis=1, keepdims=True))
