"""What is done with a block of rows, in this process or in a worker."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.backends import Attribution
from shapae.explainer.importance import RowAverages, average_over_rows
from shapae.utils.context import torch_threads
from shapae.utils.moments import Moments

# So many background rows at a time, until the values are sure enough; and so many groups or rows until one can tell.
BATCH, ENOUGH = 16, 8
# Backends that draw do it again and again, twice as often each time, where they can; but in no more rounds than this.
FIRST, ROUNDS = 100, 64


@dataclass(frozen=True, eq=False)
class Part:
    """What was found for a block of rows.

    Attributes:
        mean: (n, d, k), the values.
        errors: (n, d, k), their standard errors; None where they are not known.
        used: (n,). How many background rows, or draws, the values are averages over; None for all.
    """

    mean: NDArray[Any]
    errors: NDArray[Any] | None
    used: NDArray[Any] | None = None


def attributed(against: Sequence[Attribution], rows: Tensor, seeds: Sequence[int], parent: int) -> Moments:
    """The values of ``rows``, (n, d, k).

    Args:
        against: Of a backend, one for each part of the background.
        rows: (n, d).
        seeds: n integers.
        parent: The process that shares out the work. Others compute with one thread each, as their siblings do.
    """
    with torch_threads(torch.get_num_threads() if os.getpid() == parent else 1):
        return reduce(add, (part(rows, seeds=seeds) for part in against))


def attributed_until(
    against: Sequence[Attribution], rows: Tensor, seeds: Sequence[int], parent: int, *, tolerance: float
) -> Part:
    """The values of each row against as many batches of the background, one after the other, as it takes.

    Args:
        against: Of a backend, each against ``BATCH`` rows of the background, the last one maybe against fewer; or of
            one that draws, each against all of them.
        rows: (n, d).
        seeds: n integers.
        parent: See ``attributed``.
        tolerance: A row is done when its standard errors are at most this part of its largest value.
    """
    left, total, ended = np.arange(len(rows)), None, None
    for turn, batch in enumerate(against):
        if not len(left):
            break
        part = attributed([batch], rows[left], [_again(seeds[row], turn) for row in left.tolist()], parent).as_group()
        total = part if total is None else total + part
        ended = ended or Ended(np.empty_like(total.mean), np.empty_like(total.mean), np.empty(len(rows), np.int64))
        sure = _sure(total, tolerance) | (turn == len(against) - 1)
        ended.put(left[sure], total.select(sure))
        left, total = left[~sure], total.select(~sure)
    assert ended is not None, "nothing to compare with"
    assert total is not None
    return Part(ended.mean, ended.errors if total.draws > 1 else None, ended.used)


class Ended(NamedTuple):
    """Room for the values of all rows, into which those are put that are sure enough: once, as they may be large."""

    mean: NDArray[Any]
    errors: NDArray[Any]
    used: NDArray[Any]

    def put(self, rows: NDArray[Any], found: Moments) -> None:
        """What was found for some rows; their standard errors only if they are known."""
        self.mean[rows], self.used[rows] = found.mean, round(found.count)
        errors = found.standard_error
        if errors is not None:
            self.errors[rows] = errors


def _again(seed: int, turn: int) -> int:
    """A seed for each turn, the first of which is ``seed`` itself."""
    return int(np.random.SeedSequence([seed, turn]).generate_state(1)[0]) if turn else seed


def _sure(total: Moments, tolerance: float) -> NDArray[Any]:
    """(n,): whether the standard errors of each row are small enough, and known well enough to tell."""
    errors = total.standard_error
    if errors is None or total.draws < ENOUGH:
        return np.zeros(len(total.mean), dtype=bool)
    largest = np.abs(total.mean).max(axis=(1, 2))
    return np.asarray(errors.max(axis=(1, 2)) <= tolerance * largest)


def averaged_over_rows(
    against: Sequence[Attribution], rows: Tensor, seeds: Sequence[int], parent: int, *, draws: int = 0
) -> tuple[RowAverages, list[NDArray[Any]]]:
    """Averages of the values of ``rows``, and no ``Part.used``; see ``attributed``, and ``Head.draws``."""
    moments = attributed(against, rows, seeds, parent)
    return average_over_rows((moments.average_outputs() if draws else moments).mean), []


def averaged_until(
    against: Sequence[Attribution], rows: Tensor, seeds: Sequence[int], parent: int, *, tolerance: float
) -> tuple[RowAverages, list[NDArray[Any]]]:
    """Averages of the values of ``rows``, and ``Part.used``; see ``attributed_until``."""
    part = attributed_until(against, rows, seeds, parent, tolerance=tolerance)
    return average_over_rows(part.mean), [part.used] if part.used is not None else []
