"""Scores of many rows, in batches, and the base values that they are compared with."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.backends.game import Game
from shapae.deepshap import DeepShap
from shapae.heads.checked_losses import checked_losses
from shapae.heads.checks import check_finite_scores
from shapae.heads.score import Score
from shapae.tables.table import TableStream
from shapae.utils.failures import model_failures
from shapae.utils.memory import batched, batches

# Smallest number of rows for which an anchored score is recorded: fewer are scored with the background in less time.
MIN_RECORDED = 8


def score_rows(
    score: Callable[[Tensor], Tensor], rows: Tensor | TableStream, batch_size: int, what: str = "rows"
) -> NDArray[Any]:
    """Score ``rows``: (n, k).

    Args:
        score: From rows (n, d) to scores (n, k).
        rows: (n, d).
        batch_size: Number of rows that are scored at once.
        what: "rows" or "background rows", for errors.

    Raises:
        DataError: A loss does not take the rows.
        ModelError: Some scores are NaN or infinite, or a loss does not take the reconstructions.
    """
    failures = model_failures(
        score, lambda part: batched(score, rows[part], batch_size), len(rows), named=f"{what.removesuffix('s')} {{}}"
    )
    with torch.no_grad(), checked_losses(score), failures:
        scores = batched(score, rows, batch_size)
    check_finite_scores(score, rows, scores, what)
    return np.asarray(scores.cpu())


def base_values(
    game: Game, rows: Tensor | TableStream, *, background_scores: NDArray[Any], used: NDArray[Any], batch_size: int
) -> NDArray[Any]:
    """Compute the mean score of the background rows that each row was compared with: (n, k).

    Args:
        game: Its background is in the order in which rows were compared with it.
        rows: (n, d).
        background_scores: (b, k), scores of the background, each row of which is its own anchor.
        used: (n,), number of background rows that each row was compared with.
        batch_size: Number of rows that can be scored at once.
    """
    weights = None if game.weights is None else game.weights.cpu().numpy()
    score = game.score
    if isinstance(score, Score) and score.anchored:
        many = len(rows) >= MIN_RECORDED and (used == len(game.background)).all()
        means = np.empty((len(rows) if many else 0, background_scores.shape[1]), background_scores.dtype)
        if many and _fill_means(means, game, score, rows, batch_size):
            return means
        parts = zip(_each_row(rows, batch_size), (game.background[:count] for count in used.tolist()), strict=True)
        scores = (score_rows(score.anchored_at(row), part, batch_size, "background rows") for row, part in parts)
        return np.stack([_mean(each, weights) for each in scores])
    if weights is not None:
        return np.repeat(_mean(background_scores, weights)[None], len(rows), axis=0)
    sums = background_scores.cumsum(axis=0, dtype=np.float64)
    means = sums / np.arange(1, len(background_scores) + 1)[:, None]
    return np.asarray(means[used - 1], background_scores.dtype)


def _fill_means(means: NDArray[Any], game: Game, score: Score, rows: Tensor | TableStream, batch_size: int) -> bool:
    """Compute the mean score of the whole background with each row as anchor, from the operators of the score.

    Args:
        means: (n, k), to be filled.
        game: See ``base_values``.
        score: The score of the game.
        rows: (n, d).
        batch_size: See ``base_values``.

    Returns:
        False if the score itself must be run on all pairs: it can't be recorded, or not all is finite.
    """
    engine = game.recording(DeepShap, score.default_anchors(game.background))
    for batch in batches(len(rows), batch_size):
        try:
            part = engine.mean_scores(rows[batch])
        except Exception:  # torch may fail in many ways at operators that the score itself can run
            return False
        if not part.isfinite().all():
            return False
        means[batch] = part.cpu().numpy()
    return True


def _each_row(rows: Tensor | TableStream, batch_size: int) -> Iterator[Tensor]:
    return (row for batch in batches(len(rows), batch_size) for row in rows[batch])


def _mean(scores: NDArray[Any], weights: NDArray[Any] | None) -> NDArray[Any]:
    return np.asarray(np.average(scores, axis=0, weights=weights), scores.dtype)
