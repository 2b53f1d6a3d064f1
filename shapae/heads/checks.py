"""Checks of scores before the work starts: deterministic, row by row, finite."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shapae.errors import ModelError
from shapae.heads.score import Score
from shapae.utils.torch_trace import first_nonfinite

# Number of rows at each end of a batch that are also scored alone.
SCORED_ALONE = 4


def check_score(score: Score, rows: Tensor) -> None:
    """Check that a score is deterministic, and that it scores each row by itself.

    Args:
        score: In eval mode.
        rows: (2 or more, d), some of which differ; a few of them are also scored alone.

    Raises:
        ModelError: Two runs differ, or a row has another score alone than in a batch.
    """
    with torch.no_grad():
        batch = score(rows)
        tolerance = _tolerance(batch, torch.finfo(batch.dtype).eps)
        _check_deterministic(batch, score(rows), tolerance)
        # Copies of a row in place of the others take the same arithmetic, so that no rounding has to be tolerated.
        copies = torch.stack([score(rows[row].expand_as(rows))[row] for row in (0, -1)])
        _check_rows_independent(batch[[0, -1]], copies, tolerance)
        ends = [*range(len(rows))[:SCORED_ALONE], *range(len(rows))[-SCORED_ALONE:]]
        try:
            alone = torch.cat([score(rows[row : row + 1]) for row in ends])
        except ValueError:  # batch statistics of a single row
            alone = torch.full_like(batch[ends], torch.inf)
        _check_rows_independent(batch[ends], alone, _tolerance(batch, score.eps))


def _tolerance(scores: Tensor, eps: float) -> Tensor:
    tolerance: Tensor = eps**0.5 * scores.abs().max()
    return tolerance


def _check_deterministic(scores: Tensor, again: Tensor, tolerance: Tensor) -> None:
    if (scores - again).abs().max() > tolerance:
        raise ModelError(
            "the model or the head is random in eval mode: two runs on the same rows differ. "
            "Autoencoder(model, noise='mean') puts the mean in place of Gaussian noise. If the model draws other "
            "random numbers, say what to run instead: Autoencoder(model, reconstruct=lambda m, x: m.decode(m.mean(x)))."
        )


def _check_rows_independent(batch: Tensor, alone: Tensor, tolerance: Tensor) -> None:
    if (batch - alone).abs().max() > tolerance:
        raise ModelError(
            "the model or the head mixes rows: a row alone has another score than in a batch. Batch statistics are "
            "a usual cause: BatchNorm with track_running_stats=False, or a mean over dim=0. Each row must be scored by "
            "itself."
        )


def check_finite_scores(score: Callable[[Tensor], Tensor], rows: Any, scores: Tensor, what: str) -> None:
    """Check that scores are finite.

    Args:
        score: The function that gave the scores.
        rows: (n, d), a tensor, or rows of which slices are tensors.
        scores: (n, k).
        what: "rows" or "background rows", for the message.

    Raises:
        ModelError: Some scores are NaN or infinite; the first row is named, and the first operator that made them.
    """
    bad = (~torch.isfinite(scores)).any(dim=1).nonzero().flatten().tolist()
    if bad:
        first = first_nonfinite(score, rows[bad[0] : bad[0] + 1])
        operators = [f"{place}, the first to make {kind}" for kind, place in first.items()]
        raise ModelError(
            f"the model gives NaN or infinite scores for {len(bad)} of {len(scores)} {what}, first for row {bad[0]}. "
            f"The rows themselves are finite: look at {' and '.join(operators) or 'the weights, which are not finite'}."
        )
