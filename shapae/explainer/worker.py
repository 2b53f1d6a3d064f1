"""The attribution of one block of rows, in this process or in a worker."""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.backends.base import Attribution
from shapae.deepshap.backward import NonFiniteMultipliers
from shapae.errors import ModelError
from shapae.explainer.additivity import Sums
from shapae.explainer.importance import RowAverages, average_groups, merge_groups
from shapae.utils.blocks import Room, memory_bound
from shapae.utils.failures import first_failing, model_failures
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, concatenate
from shapae.utils.random import round_seed

# Minimum number of background rows, batches or pairs of samples before convergence is tested: from fewer of them a
# standard error is not known well enough.
MIN_GROUPS = 8
MIXED = "row {}, or for mixtures of it and the background"
T = TypeVar("T")


def attempt(
    room: Room,
    work: Callable[..., T],
    score: nn.Module,
    bound: Sequence[Attribution],
    start: int,
    rows: Tensor,
    *per_row: Any,
) -> T:
    """Do ``work`` on rows within the room; where the device runs out of memory, again on halves of the rows.

    Args:
        room: Bytes that may be held.
        work: Function of the other arguments.
        score: The score that is attributed, for messages.
        bound: Attributions against the parts of the background.
        start: Number of the first row.
        rows: (n, d).
        *per_row: n random seeds, and what else belongs to the rows.

    Raises:
        ModelError: The model or the head raises an exception for some rows, or has multipliers that are not finite.
    """

    def run(part: slice) -> T:
        return work(bound, *(each[part] for each in (rows, *per_row)))

    try:
        with memory_bound(room), model_failures(score, run, len(rows), start=start, named=MIXED):
            return work(bound, rows, *per_row)
    except NonFiniteMultipliers as error:
        row = first_failing(run, len(rows))
        raise ModelError(f"in row {start + (row or 0)}, {error}") from error
    except torch.cuda.OutOfMemoryError as error:
        room.halve(error)
    halves = batches(len(rows), -(-len(rows) // 2))  # not within the except clause, whose traceback holds tensors
    parts = [(start + half.start, *(part[half] for part in (rows, *per_row))) for half in halves]
    result: T = _merge([attempt(room, work, score, bound, *part) for part in parts])
    return result


def _merge(parts: list[Any]) -> Any:
    """Merge the results of blocks of rows: moments, or averages over groups of rows with sums of each row."""
    if isinstance(parts[0], Moments):
        return concatenate(parts, axis=0)
    averages, sums = zip(*parts, strict=True)
    return merge_groups(averages), Sums.concatenate(sums)


def attribute_block(bound: Sequence[Attribution], rows: Tensor, seeds: Sequence[int]) -> Moments:
    """Attribute ``rows`` (n, d) against all parts of the background, one after the other.

    Args:
        bound: Attributions against the parts.
        rows: (n, d).
        seeds: n random seeds.

    Returns:
        (n, d, k).
    """
    return reduce(add, (attribute(rows, seeds=seeds) for attribute in bound))


def attribute_until_converged(
    bound: Sequence[Attribution], rows: Tensor, seeds: Sequence[int], *, tolerance: float
) -> Moments:
    """Attribute each row in as many rounds as it takes until its standard errors are small.

    Args:
        bound: Attributions of the rounds: against batches of the background; or, for a backend that samples, against
            all of it each time.
        rows: (n, d).
        seeds: n random seeds.
        tolerance: A row has converged when its standard errors are at most this fraction of its largest value.

    Returns:
        (n, d, k), with the ``count`` of each row.

    Reference:
        Covert and Lee, 2021, section 4.2 (convergence detection), https://arxiv.org/abs/2012.01536
    """
    left, total, result = np.arange(len(rows)), None, None
    for number, attribute in enumerate(bound):
        if not len(left):
            break
        part = attribute(rows[left], seeds=[round_seed(seeds[row], number) for row in left.tolist()])
        part = part.on_host().as_group()
        total = part if total is None else total + part
        result = result or Moments.empty(len(rows), total)  # once, as it may be large
        done = _converged(total, tolerance) | (number == len(bound) - 1)
        result.put(left[done], total.select(done))
        left, total = left[~done], total.select(~done)
    assert result is not None, "there is no round"
    return result


def _converged(total: Moments, tolerance: float) -> NDArray[Any]:
    """Tell for each row whether its standard errors are small, and known well enough: (n,)."""
    errors = total.standard_error
    if errors is None or total.n_groups < MIN_GROUPS:
        return np.zeros(len(total.mean), dtype=bool)
    largest = np.abs(total.mean).max(axis=(1, 2))
    return np.asarray(errors.max(axis=(1, 2)) <= tolerance * largest)


def average_block(
    bound: Sequence[Attribution], rows: Tensor, seeds: Sequence[int], groups: NDArray[Any], *, draws: int = 0
) -> tuple[dict[int, RowAverages], Sums]:
    """Average the values over each group of ``rows``, and sum them over the features.

    Args:
        bound: See ``attribute_block``.
        rows: See ``attribute_block``.
        seeds: See ``attribute_block``.
        groups: (n,), number of the group of each row.
        draws: See ``Head.draws``.
    """
    moments = attribute_block(bound, rows, seeds)
    moments = moments.average_outputs() if draws else moments
    return average_groups(moments.mean, groups), Sums.of(moments)


def average_until_converged(
    bound: Sequence[Attribution], rows: Tensor, seeds: Sequence[int], groups: NDArray[Any], *, tolerance: float
) -> tuple[dict[int, RowAverages], Sums]:
    """Average the values over each group of ``rows``; see ``average_block`` and ``attribute_until_converged``."""
    moments = attribute_until_converged(bound, rows, seeds, tolerance=tolerance)
    return average_groups(moments.mean, groups), Sums.of(moments)
