"""Means and their standard errors, which can be computed in parts and merged, on any device."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.utils.blocks import on_processor

# An array, or a tensor on a device other than the processor.
Array = Any


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean over background rows or samples, and the sum of squared deviations from it.

    Tensors of a processor become arrays, without a copy; those of another device stay there, as long as they stay in
    this process.

    Attributes:
        count: Number of items that were averaged, or the sum of their weights. An array (n, 1, 1) where the rows were
            averaged over different numbers of items, as those of ``empty``.
        mean: (n, d, k).
        sum_of_squares: (n, d, k). Sum of the squared deviations from ``mean``, over ``n_groups`` groups of items, each
            squared deviation as often as its group has members (Welford's M2). None where the spread is not known.
        n_groups: Number of groups; 0 stands for ``count``, where each item is a group by itself.
        sums: (n, 1, k). Moments of the sum over the features, whose spread says how well the values should add up. None
            where they are not known.
        background_variance: (n, d, k). Variance of ``mean`` over other backgrounds, for samples from this background,
            whose own spread is ``sum_of_squares``. None where it is not known.

    Two parts merge by weighted sums, see ``__add__``:

    >>> part = lambda *x: Moments(len(x), np.mean(x), np.var(x) * len(x))
    >>> both, whole = part(1.0, 2.0) + part(6.0), part(1.0, 2.0, 6.0)
    >>> bool(np.isclose(both.mean, whole.mean) and np.isclose(both.sum_of_squares, whole.sum_of_squares))
    True
    """

    count: Any
    mean: Array
    sum_of_squares: Array | None = None
    n_groups: Any = 0
    sums: "Moments | None" = None
    background_variance: Array | None = None

    def __post_init__(self) -> None:
        for name, part in self._arrays.items():
            if isinstance(part, Tensor) and on_processor(part):
                object.__setattr__(self, name, to_array(part))
        if np.ndim(self.n_groups) == 0 and not self.n_groups:
            object.__setattr__(self, "n_groups", self.count)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self.on_host())

    def on_host(self) -> "Moments":
        """Convert all tensors to arrays."""
        parts = {name: None if part is None else to_array(part) for name, part in self._arrays.items()}
        return replace(self, sums=self.sums and self.sums.on_host(), **parts)

    @property
    def _arrays(self) -> dict[str, Array | None]:
        return {name: getattr(self, name) for name in ("mean", "sum_of_squares", "background_variance")}

    def __add__(self, other: "Moments") -> "Moments":
        """Merge the moments of two parts.

        Reference:
            Chan, Golub and LeVeque, 1979, Updating formulae and a pairwise algorithm for computing sample
            variances, equations 1.5
        """
        count = self.count + other.count
        delta, share = other.mean - self.mean, other.count / count
        mean = self.mean + delta * share
        sums = None if self.sums is None or other.sums is None else self.sums + other.sums
        if self.sum_of_squares is None or other.sum_of_squares is None:
            return Moments(count, mean, sums=sums)
        between = delta * delta * (self.count * other.count / count)
        squares = self.sum_of_squares + other.sum_of_squares + between
        first, second = self.background_variance, other.background_variance
        variance = None if first is None or second is None else first + (second - first) * share
        return Moments(count, mean, squares, self.n_groups + other.n_groups, sums, variance)

    @classmethod
    def of_samples(cls, samples: NDArray[Any]) -> "Moments":
        """Average samples of the values of one row.

        Args:
            samples: (samples, d, k).

        Returns:
            (1, d, k), with the moments of the sums over the features.
        """
        mean = samples.mean(axis=0, keepdims=True)
        squares = np.square(samples - mean).sum(axis=0, keepdims=True)
        sums = None if samples.shape[1] == 1 else cls.of_samples(samples.sum(axis=1, keepdims=True))
        return cls(len(samples), mean, squares, sums=sums)

    @classmethod
    def empty(cls, n: int, like: "Moments") -> "Moments":
        """Allocate moments of n rows, to be filled by ``put``."""
        mean, squares = (np.empty_like(like.mean, shape=(n, *like.mean.shape[1:])) for _ in range(2))
        count, n_groups = np.zeros((2, n, 1, 1), like.mean.dtype)
        variance = None if like.background_variance is None else np.empty_like(mean)
        return cls(count, mean, squares, n_groups, like.sums and cls.empty(n, like.sums), variance)

    def put(self, rows: NDArray[Any], other: "Moments") -> None:
        """Write the moments of some rows into arrays of ``empty``."""
        assert self.sum_of_squares is not None
        self.count[rows], self.mean[rows], self.n_groups[rows] = other.count, other.mean, other.n_groups
        self.sum_of_squares[rows] = other.sum_of_squares
        if self.background_variance is not None:
            self.background_variance[rows] = other.background_variance
        if self.sums is not None and other.sums is not None:
            self.sums.put(rows, other.sums)

    def select(self, rows: Any) -> "Moments":
        """Select rows, as in numpy, of moments whose rows share one ``count``."""
        selected = {name: None if part is None else part[rows] for name, part in self._arrays.items()}
        return replace(self, sums=self.sums and self.sums.select(rows), **selected)

    def as_group(self) -> "Moments":
        """Take moments without a known spread as one group: several groups tell how much they differ."""
        if self.sum_of_squares is not None:
            return self
        return replace(self, sum_of_squares=0 * self.mean, n_groups=1)

    def average_outputs(self) -> "Moments":
        """Average over the outputs, which are samples of one number: (n, d, k) becomes (n, d, 1)."""
        mean = self.mean.mean(axis=2, keepdims=True)
        squares = ((self.mean - mean) ** 2).sum(axis=2, keepdims=True)
        return Moments(self.mean.shape[2], mean, squares, sums=self.sums and self.sums._average_dependent())

    def _average_dependent(self) -> "Moments":
        """Average over outputs that depend on each other: the mean of their spreads bounds the spread of their mean."""
        assert self.sum_of_squares is not None
        spread = (self.sum_of_squares**0.5).mean(axis=2, keepdims=True)
        return replace(self, mean=self.mean.mean(axis=2, keepdims=True), sum_of_squares=spread**2)

    def with_sums(self) -> "Moments":
        """Bound the spread of the sums over the features where it is not known, by the triangle inequality."""
        if self.sums is not None or self.sum_of_squares is None:
            return self
        spread = (self.sum_of_squares**0.5).sum(axis=1, keepdims=True)
        return replace(self, sums=Moments(self.count, self.mean.sum(axis=1, keepdims=True), spread**2, self.n_groups))

    @property
    def standard_error(self) -> Array | None:
        """(n, d, k): standard error of ``mean``; None where it is not known."""
        if self.sum_of_squares is None or np.min(self.n_groups) < 2:
            return None
        return (self.sum_of_squares / (self.count * (self.n_groups - 1))) ** 0.5

    @property
    def background_error(self) -> Array | None:
        """(n, d, k): standard error of ``mean`` over other backgrounds; None where it is not known."""
        return None if self.background_variance is None else self.background_variance**0.5


def to_array(part: Array) -> NDArray[Any]:
    """Convert an array, or a tensor, to an array: without a copy if it is on the processor."""
    return part.detach().cpu().numpy() if isinstance(part, Tensor) else np.asarray(part)


def concatenate(parts: Sequence[Moments], axis: int) -> Moments:
    """Concatenate the moments of different rows (axis 0) or outputs (axis 2), over the same background or samples.

    The spread is known only if all parts know theirs.

    Raises:
        ValueError: The parts are means over different numbers of items.
    """
    if len(parts) == 1:  # without a copy
        return parts[0]
    count, n_groups = _join_counts([(part.count, part.n_groups) for part in parts])
    sums = [part.sums for part in parts if part.sums is not None]
    return Moments(
        count,
        _join([part.mean for part in parts], axis),
        concatenate_known([part.sum_of_squares for part in parts], axis),
        n_groups,
        concatenate(sums, axis) if len(sums) == len(parts) else None,
        concatenate_known([part.background_variance for part in parts], axis),
    )


def gather(parts: Iterable[Moments], n: int) -> Moments:
    """Write the moments of blocks of n rows, in their order, into arrays that are allocated once.

    The result is that of ``concatenate``, without a list of the parts: small arrays that live beside large temporary
    ones are scattered over the heap, whose gaps between them then grow with the number of rows.

    Raises:
        ValueError: The parts are means over different numbers of items.
    """
    parts = iter(parts)
    first = next(parts)
    if len(first.mean) == n:  # without a copy
        return first
    whole, start = _allocate(first, n), 0
    for part in chain([first], parts):
        stop = start + len(part.mean)
        whole, start = _write(whole, slice(start, stop), part), stop
    return whole


def _allocate(like: Moments, n: int) -> Moments:
    arrays = {name: None if part is None else _empty(part, n) for name, part in like._arrays.items()}
    return replace(like, sums=like.sums and _allocate(like.sums, n), **arrays)


def _empty(like: Array, n: int) -> Array:
    shape = (n, *like.shape[1:])
    return like.new_empty(shape) if isinstance(like, Tensor) else np.empty_like(like, shape=shape)


def _write(whole: Moments, rows: slice, part: Moments) -> Moments:
    """Write some rows, and return the moments without the arrays that ``part`` lacks."""
    counts = [(each.count, each.n_groups) for each in (whole, part)]
    _join_counts(counts)
    unknown = {name: None for name, array in part._arrays.items() if array is None}
    for name, array in whole._arrays.items():
        if array is not None and name not in unknown:
            array[rows] = getattr(part, name)
    sums = None if whole.sums is None or part.sums is None else _write(whole.sums, rows, part.sums)
    return replace(whole, sums=sums, **unknown)


def concatenate_known(arrays: Sequence[Array | None], axis: int) -> Array | None:
    """Concatenate arrays; None if one of them is not known."""
    known = [array for array in arrays if array is not None]
    return _join(known, axis) if len(known) == len(arrays) else None


def _join_counts(counts: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Join the counts and numbers of groups of parts: equal numbers, or arrays with one for each row.

    Raises:
        ValueError: They are different numbers.
    """
    if np.ndim(counts[0][0]):
        items, groups = zip(*counts, strict=True)
        return np.concatenate(items), np.concatenate(groups)
    if len({*counts}) > 1:
        raise ValueError(f"only moments of equal counts can be concatenated, got {sorted({*counts})}.")
    return counts[0]


def _join(arrays: Sequence[Array], axis: int) -> Array:
    return torch.cat([*arrays], axis) if isinstance(arrays[0], Tensor) else np.concatenate(arrays, axis)
