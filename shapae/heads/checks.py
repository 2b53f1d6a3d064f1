"""Checks before the work starts: scores are deterministic, row by row, finite; columns are those of the scaler."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from shapae.errors import ModelError, ShapaeError
from shapae.heads.checked_losses import checked_losses
from shapae.heads.score import Score
from shapae.models.autoencoder import Autoencoder
from shapae.models.noise import OPERATORS
from shapae.models.preprocess import column_names
from shapae.tables.columns import check_expected_names
from shapae.tables.table import Table
from shapae.utils.random_trace import random_operators
from shapae.utils.text import one_line
from shapae.utils.torch_trace import first_nonfinite

# Number of rows at each end of a batch that are also scored alone.
SCORED_ALONE = 4
# Rounding errors of a reconstruction, in units of the last digit of the largest number.
ROUNDING = 100


def check_fitted_names(autoencoder: Autoencoder, table: Table, what: str) -> None:
    """Check that the columns of a table are those that the preprocessing was fitted on, if both have names.

    Raises:
        DataError: Some names are missing, unexpected, or in another order.
    """
    fitted = column_names(autoencoder.preprocess)
    if fitted and table.names:
        compared = f"{what}, compared with the columns of preprocess=,"
        check_expected_names(table.names, fitted, compared, "autoencoder.preprocess.names")


def check_score(score: Score, rows: Tensor) -> None:
    """Check that a score is deterministic, and that it scores each row by itself.

    Args:
        score: In eval mode.
        rows: (2 or more, d), some of which differ; a few of them are also scored alone.

    Raises:
        ModelError: Two runs differ, or a row has another score alone than in a batch, or a loss does not take the
            reconstructions.
        DataError: A loss does not take the rows.
    """
    with torch.no_grad():
        with checked_losses(score):
            batch = score(rows)
        tolerance = rounding_tolerance(batch, torch.finfo(batch.dtype).eps, rows)
        _check_deterministic(score, rows, batch, tolerance)
        # Copies of a row in place of the others take the same arithmetic, so that no rounding has to be tolerated.
        copies = torch.stack([score(rows[row].expand_as(rows))[row] for row in (0, -1)])
        _check_rows_independent(batch[[0, -1]], copies, tolerance)
        ends = [*range(len(rows))[:SCORED_ALONE], *range(len(rows))[-SCORED_ALONE:]]
        alone = _score_alone(score, rows, ends)
        _check_rows_independent(batch[ends], alone, rounding_tolerance(batch, score.eps, rows))


def _score_alone(score: Score, rows: Tensor, ends: list[int]) -> Tensor:
    """Score some rows, each as a batch of one row.

    Raises:
        ShapaeError: The score refuses the row.
        ModelError: The model fails on a single row.
    """
    try:
        return torch.cat([score(rows[row : row + 1]) for row in ends])
    except ShapaeError:
        raise
    except Exception as error:
        raise ModelError(
            f"the model or the head mixes rows: it runs on {len(rows)} rows, but on a single row it fails, "
            f"{type(error).__name__}: {one_line(error)}. Each row must be scored by itself, without "
            f"statistics of a batch, such as BatchNorm with track_running_stats=False."
        ) from error


def check_more_rows(score: Score, rows: Tensor, others: Tensor) -> None:
    """Check a score that was checked on other rows before, which is faster; see ``check_score``, also for errors.

    Args:
        score: In eval mode; it has not changed meanwhile.
        rows: (n, d), new rows; those at both ends are also scored alone, which is a second run.
        others: (m, d), some of the rows of before.
    """
    ends, agrees = sorted({*range(len(rows))[:SCORED_ALONE], *range(len(rows))[-SCORED_ALONE:]}), False
    with torch.no_grad(), checked_losses(score), suppress(Exception):  # which the full check describes
        batch = score(torch.cat([rows, others[:SCORED_ALONE]]))
        alone = torch.cat([score(rows[row : row + 1]) for row in ends])
        agrees = bool((batch[ends] - alone).abs().max() <= rounding_tolerance(batch, score.eps, rows))
    if not agrees:
        check_score(score, torch.cat([rows, others]))


def rounding_tolerance(scores: Tensor, eps: float, rows: Tensor) -> Tensor:
    """Compute what rounding may change; a squared error of a perfect reconstruction is nothing but rounding."""
    tolerance: Tensor = eps**0.5 * scores.abs().max() + (ROUNDING * eps * rows.abs().max()) ** 2
    return tolerance


def _check_deterministic(score: Score, rows: Tensor, scores: Tensor, tolerance: Tensor) -> None:
    if (scores - score(rows)).abs().max() > tolerance:
        advice = " ".join(_advice(score, random_operators(score, rows)))
        raise ModelError(f"the model or the head is random in eval mode: two runs on the same rows differ. {advice}")


def _advice(score: Score, drawn: dict[str, str]) -> Iterator[str]:
    """Say what is random, and what to do about it.

    Args:
        score: The score.
        drawn: From what draws to the module in which it does.
    """
    if drawn:
        yield f"Random numbers are drawn by {', '.join(f'{name} in {place}' for name, place in drawn.items())}."
    else:
        yield "No operator of torch draws: look for a generator of numpy, and for results that are kept between runs."
    head = {name for name, place in drawn.items() if place.startswith("Score.head")}
    gaussian = {name for name in drawn if name.removeprefix("aten.").partition(".")[0] in OPERATORS} - head
    if head:
        yield (
            "A head must not be random: let it draw from a generator that starts anew, "
            "torch.randn(3, generator=torch.Generator().manual_seed(0))."
        )
    if gaussian and score.autoencoder.noise is None:
        yield "Autoencoder(model, noise='mean') puts the mean in place of Gaussian noise."
    if any("bernoulli_" in name or "dropout" in name for name in drawn):
        yield "Dropout as a function needs the mode: nn.functional.dropout(x, training=self.training)."
    if drawn.keys() - head - gaussian or not drawn:
        yield (
            "Only Gaussian noise of torch is replaced by noise=. Say what to run instead: "
            "Autoencoder(model, reconstruct=lambda m, x: m.decode(m.mean(x)))."
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
