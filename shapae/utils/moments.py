"""Averages that can be taken in parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Moments:
    """What was averaged over ``count`` background rows or draws.

    Attributes:
        count: How many were averaged; the sum of their weights, where they do not count the same.
        mean: (n, d, k). Their average.
        spread: (n, d, k). Sum of their squared deviations from ``mean``, over ``draws`` groups of them, each squared
            deviation as often as its group has members; None where it is not known.
        draws: How many groups; ``count`` if each is one by itself.

    Two parts merge by weighted sums, see ``__add__``:

    >>> part = lambda *x: Moments(len(x), np.mean(x), np.var(x) * len(x))
    >>> both, whole = part(1.0, 2.0) + part(6.0), part(1.0, 2.0, 6.0)
    >>> bool(np.isclose(both.mean, whole.mean) and np.isclose(both.spread, whole.spread))
    True
    """

    count: float
    mean: NDArray[Any]
    spread: NDArray[Any] | None = None
    draws: float = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "draws", self.draws or self.count)

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both parts together.

        Reference:
            Chan, Golub and LeVeque, 1979, Updating formulae and a pairwise algorithm for computing sample
            variances, equations 1.5
        """
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        if self.spread is None or other.spread is None:
            return Moments(count, mean)
        between = delta * delta * (self.count * other.count / count)
        return Moments(count, mean, self.spread + other.spread + between, self.draws + other.draws)

    def average_outputs(self) -> "Moments":
        """(n, d, 1): the average over outputs that are draws of one number."""
        mean = self.mean.mean(axis=2, keepdims=True)
        return Moments(self.mean.shape[2], mean, ((self.mean - mean) ** 2).sum(axis=2, keepdims=True))

    def as_group(self) -> "Moments":
        """The same as one group, if the spread within is not known: several of these tell how much they differ."""
        return self if self.spread is not None else replace(self, spread=np.zeros_like(self.mean), draws=1)

    def select(self, rows: Any) -> "Moments":
        """Those of some rows, which are chosen as in numpy."""
        return replace(self, mean=self.mean[rows], spread=None if self.spread is None else self.spread[rows])

    @property
    def standard_error(self) -> NDArray[Any] | None:
        """(n, d, k): standard error of ``mean``; None where it is not known."""
        if self.spread is None or self.draws < 2:
            return None
        return np.asarray(np.sqrt(self.spread / (self.count * (self.draws - 1))))


def concatenate(parts: Sequence[Moments], axis: int) -> Moments:
    """The moments of different rows (axis 0) or outputs (axis 2), all over the same background or draws."""
    if len(parts) == 1:  # lest it be copied
        return parts[0]
    spreads = [part.spread for part in parts if part.spread is not None]
    mean = np.concatenate([part.mean for part in parts], axis)
    return Moments(parts[0].count, mean, np.concatenate(spreads, axis) if spreads else None, parts[0].draws)
