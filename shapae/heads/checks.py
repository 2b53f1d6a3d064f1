"""Scores that can't be explained are refused before the work starts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shapae.errors import ModelError
from shapae.heads.score import Score
from shapae.utils.torch_trace import first_nonfinite


def check_steady(score: Score, rows: Tensor) -> None:
    """Refuse a score that is random, or in which rows influence each other.

    Args:
        score: In eval mode.
        rows: (2 or more, d), some of which differ; the first and last four are also scored alone.

    Raises:
        ModelError: Two runs differ, or a row alone has other scores than among the others.
    """
    with torch.no_grad():
        together, again, some = score(rows), score(rows), [*range(len(rows))[:4], *range(len(rows))[-4:]]
        try:
            alone = torch.cat([score(rows[row : row + 1]) for row in some])
        except ValueError:  # batch statistics of a single row
            alone = torch.full_like(together[some], torch.inf)
    tolerance = torch.finfo(together.dtype).eps ** 0.5 * together.abs().max()
    if (together - again).abs().max() > tolerance:
        raise ModelError(
            "the model is random in eval mode: two runs on the same rows differ. Autoencoder(model, noise='mean') puts "
            "the mean in place of Gaussian noise; where the numbers are drawn otherwise, say what to run instead: "
            "Autoencoder(model, reconstruct=lambda m, x: m.decode(m.mean(x)))."
        )
    if (together[some] - alone).abs().max() > tolerance:
        raise ModelError(
            "the model mixes rows: a row alone has another score than in a batch. Batch statistics are a usual "
            "cause: BatchNorm with track_running_stats=False, or a mean over dim=0. Each row must be scored by itself."
        )


def check_finite_scores(score: Callable[[Tensor], Tensor], rows: Any, scores: Tensor, what: str) -> None:
    """Refuse scores that are not finite.

    Args:
        score: Gave the scores.
        rows: (n, d), a tensor or anything that gives one of some of its rows.
        scores: (n, k).
        what: "rows" or "background rows", for the message.

    Raises:
        ModelError: Some are NaN or infinite; their rows are named, and the operator that made the first of them.
    """
    bad = (~torch.isfinite(scores)).any(dim=1).nonzero().flatten().tolist()
    if bad:
        first = first_nonfinite(score, rows[bad[0] : bad[0] + 1])
        made = [f"{place}, the first to make {kind}" for kind, place in first.items()]
        raise ModelError(
            f"the model gives NaN or infinite scores for {len(bad)} of {len(scores)} {what}, first for row {bad[0]}. "
            f"The rows themselves are finite: look at {' and '.join(made) or 'the weights, which are not finite'}."
        )
