"""Scores of many rows, a few at a time, and the base values that they are compared with."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.backends.compared import Compared
from shapae.heads.checks import check_finite_scores
from shapae.heads.score import Score
from shapae.tables.table import TableStream
from shapae.utils.memory import batches


def scored(score: Callable[[Tensor], Tensor], rows: Tensor | TableStream, batch: int, what: str) -> NDArray[Any]:
    """The scores of ``rows``, (n, k).

    Args:
        score: From rows (n, d) to scores (n, k).
        rows: (n, d).
        batch: So many at a time.
        what: "rows" or "background rows", for errors.

    Raises:
        ModelError: Some are NaN or infinite.
    """
    with torch.no_grad():
        scores = torch.cat([score(rows[block]) for block in batches(len(rows), batch)])
    check_finite_scores(score, rows, scores, what)
    return np.asarray(scores.cpu())


def base_values(
    score: Score, rows: Tensor | TableStream, compared: Compared, *, base: NDArray[Any], used: NDArray[Any], batch: int
) -> NDArray[Any]:
    """(n, k): mean score of the background rows that each of ``rows`` was compared with.

    Args:
        score: Of one row against others, where it is anchored.
        rows: (n, d).
        compared: With what, in the order in which it was gone through.
        base: (b, k), scores of its background, each of which is its own anchor.
        used: (n,), how many of its rows.
        batch: So many rows can be scored at once.
    """
    weights = compared.shares
    if score.anchored:
        parts = zip(_each(rows, batch), (compared.background[:count] for count in used.tolist()), strict=True)
        against = (scored(score.anchored_at(row), part, batch, "background rows") for row, part in parts)
        return np.stack([_mean(scores, weights) for scores in against])
    if weights is not None:
        return np.repeat(_mean(base, weights)[None], len(rows), axis=0)
    means = base.cumsum(axis=0, dtype=np.float64) / np.arange(1, len(base) + 1)[:, None]
    return np.asarray(means[used - 1], base.dtype)


def _each(rows: Tensor | TableStream, batch: int) -> Iterator[Tensor]:
    return (row for block in batches(len(rows), batch) for row in rows[block])


def _mean(scores: NDArray[Any], weights: NDArray[Any] | None) -> NDArray[Any]:
    return np.asarray(np.average(scores, axis=0, weights=weights), scores.dtype)
