"""The attributions of all rows, filled block by block, and whether they add up."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.errors import ModelError
from shapae.explainer.worker import used_per_row
from shapae.utils.additivity import additivity_tolerance, residual_message
from shapae.utils.memory import batches
from shapae.utils.moments import Moments

# Bytes of the values that are summed at once, so that they stay in a cache.
CACHE_BYTES = 2**22


class Attributions:
    """Values of n rows, with their scores and standard errors.

    Args:
        scores: (n, k), scores of the rows.
        b: Number of background rows.
        d: Number of features, or of players.

    Attributes:
        values: (n, d, k).
        standard_errors: (n, d, k), standard errors of the values; None where they are not known.
        used: (n,). Number of background rows that each row was compared with, or of samples that it took.
        base_values: (n, k), mean score of these background rows; to be filled in.
    """

    base_values: NDArray[Any]

    def __init__(self, scores: NDArray[Any], b: int, d: int) -> None:
        n, k = scores.shape
        self.scores = scores
        self.values: NDArray[Any] = np.empty((n, d, k), scores.dtype)
        self.standard_errors: NDArray[Any] | None = None
        self.used = np.full(n, b)
        self._sums, self._sizes, self._errors = np.empty((3, n, k), scores.dtype)

    def put(self, block: slice, moments: Moments) -> None:
        """Write the moments of a block of rows.

        Raises:
            ModelError: Some values are NaN or infinite.
        """
        values, standard_errors = torch.from_numpy(self.values), moments.standard_error
        values[block] = torch.from_numpy(moments.mean)
        for part in batches(block.stop - block.start, max(1, CACHE_BYTES // values[:1].nbytes)):
            rows = slice(block.start + part.start, block.start + part.stop)
            self._sums[rows], self._sizes[rows] = _sum(self.values[rows]), values[rows].abs().sum(1)
        check_finite_values(self._sums[block], block.start)
        if np.ndim(moments.count):
            self.used[block] = used_per_row(moments)
        if standard_errors is not None:
            if self.standard_errors is None:
                self.standard_errors = np.empty_like(self.values)
            self.standard_errors[block] = standard_errors
            self._errors[block] = standard_errors.sum(axis=1)

    @property
    def residual(self) -> NDArray[Any]:
        """(n, k): score - base value - sum of the values."""
        return np.asarray(self.scores - self.base_values - self._sums)

    def additivity_message(self, additive: bool, eps: float) -> str | None:
        """Describe the rows whose values miss their scores by more than is promised; None if there are none.

        Args:
            additive: Whether the values add up to rounding. Otherwise they do up to their standard errors, and if these
                are not known nothing is promised.
            eps: Relative rounding error of the scores, see ``Score``.
        """
        if not additive and self.standard_errors is None:
            return None
        spread, tolerance = additivity_tolerance(self.scores, self.base_values, self._sizes.max(axis=0), eps)
        return residual_message(self.residual, tolerance + (0 if additive else 5 * self._errors), spread)


def check_finite_values(sums: NDArray[Any], start: int = 0) -> None:
    """Check that values are finite, by their sums (n, k), of which NaN and infinity are sums as well.

    Args:
        sums: (n, k), sums over the features of n rows.
        start: Number of the first row.

    Raises:
        ModelError: Some values are NaN or infinite.
    """
    bad = np.flatnonzero(~np.isfinite(sums).all(axis=1))
    if len(bad):
        raise ModelError(
            f"the values of {len(bad)} of {len(sums)} rows are NaN or infinite, first in row {start + bad[0]}, "
            f"although their scores are finite. The model may overflow for mixtures of rows: scale the columns, or "
            f"compare another backend."
        )


def _sum(values: NDArray[Any]) -> NDArray[Any]:
    """Sum over the features, (n, d, k) -> (n, k): to the last digit as users do, whose single output has two axes."""
    return np.asarray(values.sum(axis=1) if values.shape[2] > 1 else values[..., 0].sum(axis=1, keepdims=True))
