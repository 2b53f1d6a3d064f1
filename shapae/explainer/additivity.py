"""Whether the values of all rows add up to their scores: up to rounding, or up to the standard errors of their sums."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.errors import ModelError
from shapae.utils.additivity import additivity_tolerance, residual_message
from shapae.utils.blocks import block_bytes, on_processor
from shapae.utils.memory import batches
from shapae.utils.moments import Array, Moments, concatenate_known, to_array

# Bytes of the values that are summed at once, so that they stay in the cache of a processor.
CACHE_BYTES = 2**22
# Probability of a false alarm if each sum of values has a normal error of the size of its standard error.
FALSE_ALARM = 1e-4
# Fewest samples whose standard errors are known well enough for a test of all rows together.
MIN_SAMPLES = 30
# Standard errors from few samples of a skewed distribution are too small by up to about this factor.
UNDERESTIMATE = 1.3


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of the values of n rows over the features.

    Attributes:
        values: (n, k).
        sizes: (n, k), sums of the absolute values.
        errors: (n, k), standard errors of ``values``; None where they are not known.
        groups: Smallest number of groups, or of samples, that these standard errors come from.
        used: (n,). Number of background rows, or of samples, that each row took; None if each row took all of them.
    """

    values: NDArray[Any]
    sizes: NDArray[Any]
    errors: NDArray[Any] | None = None
    groups: float = 0
    used: NDArray[Any] | None = None

    @classmethod
    def of(cls, moments: Moments) -> "Sums":
        """Sum the values of n rows, (n, d, k)."""
        values = torch.as_tensor(moments.mean)
        size = max(1, block_bytes(CACHE_BYTES, values) // max(1, values[:1].nbytes))
        parts = [values[part] for part in batches(len(values), size)]
        with np.errstate(over="ignore", invalid="ignore"):  # refused by ``check_finite_values``
            sums, sizes = (np.concatenate([*map(each, parts)]) for each in (_sum, _size))
        errors = None if moments.sums is None else moments.sums.standard_error
        groups = 0 if moments.sums is None else float(np.min(moments.sums.n_groups))
        used = np.rint(moments.count).astype(np.int64).reshape(-1) if np.ndim(moments.count) else None
        return cls(sums, sizes, None if errors is None else to_array(errors[:, 0]), groups, used)

    @classmethod
    def concatenate(cls, parts: Sequence["Sums"]) -> "Sums":
        """Concatenate the sums of other rows of the same attribution."""
        values, sizes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "sizes"))
        errors, used = (
            concatenate_known([getattr(part, name) for part in parts], axis=0) for name in ("errors", "used")
        )
        return cls(values, sizes, errors, min(part.groups for part in parts), used)


class Additivity:
    """Sums of the values of all rows beside their scores, filled block by block.

    Args:
        scores: (n, k), scores of the rows.

    Attributes:
        base_values: (n, k), mean score of the background; to be filled in.
        used: (n,), see ``Sums``.
    """

    base_values: NDArray[Any]
    used: NDArray[Any] | None = None

    def __init__(self, scores: NDArray[Any]) -> None:
        self.scores, self._sums, self._groups = scores, np.empty_like(scores), np.inf
        self._sizes: NDArray[Any] = np.zeros(scores.shape[1], scores.dtype)
        self._errors: NDArray[Any] | None = None

    def put(self, block: slice, sums: Sums) -> None:
        """Write the sums of a block of rows.

        Raises:
            ModelError: Some values are NaN or infinite.
        """
        check_finite_values(sums.values, block.start)
        self._sums[block], self._sizes = sums.values, np.maximum(self._sizes, sums.sizes.max(axis=0))
        if sums.errors is not None:
            self._errors = np.zeros_like(self.scores) if self._errors is None else self._errors
            self._errors[block], self._groups = sums.errors, min(self._groups, sums.groups)
        if sums.used is not None:
            self.used = np.zeros(len(self.scores), np.int64) if self.used is None else self.used
            self.used[block] = sums.used

    @property
    def residual(self) -> NDArray[Any]:
        """(n, k): score - base value - sum of the values."""
        return np.asarray(self.scores - self.base_values - self._sums)

    def message(self, additive: bool, eps: float) -> str | None:
        """Describe the rows whose values miss their scores by more than is promised; None if there are none.

        Args:
            additive: Whether the values add up to rounding. Otherwise they do up to the standard errors of their sums,
                and if these are not known nothing is promised.
            eps: Relative rounding error of the scores, see ``Score``.
        """
        if not additive and self._errors is None:
            return None
        spread, rounding = additivity_tolerance(self.scores, self.base_values, self._sizes, eps)
        message = residual_message(self.residual, rounding + (0 if additive else self._largest_error()), spread)
        if message or additive or not self._too_large_together(np.maximum(np.abs(self.residual) - rounding, 0)):
            return message
        return (
            f"the values of all {len(self.scores)} rows, taken together, do not add up to their scores within their "
            f"standard errors: the residual is up to {np.abs(self.residual).max():.3g}, where the scores spread over "
            f"{spread.max():.3g}."
        )

    def _largest_error(self) -> NDArray[Any]:
        """(n, k): error of each sum that chance exceeds in none of all rows and outputs (Bonferroni's bound)."""
        from scipy import stats  # half a second; only values with standard errors need it

        quantile: float = stats.t.isf(FALSE_ALARM / self.scores.size / 2, self._groups - 1)
        return quantile * self._cautious_errors()

    def _too_large_together(self, excess: NDArray[Any]) -> bool:
        """Tell whether many small errors are too large for chance: rows are sampled independently of each other."""
        if self._groups < MIN_SAMPLES:
            return False
        from scipy import stats

        (n, k), errors = excess.shape, self._cautious_errors()
        squares = np.divide(excess, errors, out=np.zeros_like(excess), where=errors > 0) ** 2
        return bool((squares.sum(axis=0) > stats.chi2.isf(FALSE_ALARM / k, n)).any())

    def _cautious_errors(self) -> NDArray[Any]:
        """(n, k): standard errors, none below those of other rows: a part of a ReLU network may never be sampled."""
        assert self._errors is not None
        return np.asarray(UNDERESTIMATE * np.maximum(self._errors, np.sqrt(np.square(self._errors).mean(axis=0))))


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
            f"the sums of the values of {len(bad)} of {len(sums)} rows are NaN or infinite, first in row "
            f"{start + bad[0]}, although their scores are finite: the values are too large to be added up in "
            f"{sums.dtype}. Scale the columns, or use a model in float64."
        )


def _sum(values: Tensor) -> NDArray[Any]:
    """Sum over the features, (n, d, k) -> (n, k): to the last digit as users do, whose single output has two axes."""
    here: Array = values.numpy() if on_processor(values) else values
    return to_array(here.sum(axis=1) if values.shape[2] > 1 else here[..., 0].sum(axis=1, keepdims=True))


def _size(values: Tensor) -> NDArray[Any]:
    return to_array(values.abs().sum(dim=1))
