"""The engine: record the function, then multiply matrices or run the backward pass, operator by operator."""

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._ops import OpOverload

from shapae.deepshap.backward import attribute_pairs, residuals
from shapae.deepshap.feedforward.chain import FeedForward, as_feedforward
from shapae.deepshap.feedforward.contraction import ContractionOrder, best_order, contract
from shapae.deepshap.feedforward.deviations import Deviations
from shapae.deepshap.rules import rule_for, steps_without_rule
from shapae.deepshap.rules.path import has_gradient, takes_many_rows
from shapae.deepshap.tracing.record import record
from shapae.deepshap.tracing.tape import Tape, Values, replay, replay_row
from shapae.errors import (
    WITHOUT_GRADIENTS,
    AdditivityWarning,
    DataError,
    ModelError,
    ShapeError,
    UnsupportedOperator,
)
from shapae.utils.additivity import additivity_tolerance, residual_message
from shapae.utils.context import ignore_batching_warnings
from shapae.utils.memory import MIN_BLOCKS
from shapae.utils.moments import Moments, concatenate
from shapae.utils.torch_trace import Function

# Bytes of all values of one batch of rows in a replay, chosen to bound the memory.
REPLAY_BYTES = 2**23
# Bytes of a block that is allocated and freed once, so that glibc raises the size up to which it reuses freed memory.
# Otherwise the pages of each large value are mapped again, which takes longer than its computation.
MALLOC_BYTES = 2**25 - 2**16
# Names of operators that sum numbers, which may cancel; see ``_tolerance``.
SUM_OPERATORS = {"sum", "mm", "bmm", "addmm", "mv", "dot"}
# Advice for the warning that values do not add up.
HINT = "Look for values that overflow, or that jump between a row and the background."


def attribute(
    function: Function,
    rows: Tensor,
    background: Tensor,
    *,
    weights: Tensor | None = None,
    anchors: Tensor | None = None,
) -> Tensor:
    """Compute DeepSHAP values, averaged over the background.

    Args:
        function: From rows (n, d) to scores (n,) or (n, k); each score depends on its own row only. A module should be
            in eval mode.
        rows: (n, d), float32 or float64.
        background: (b, d), in the dtype and on the device of ``rows``.
        weights: (b,), positive weights of the background rows; None for equal weights.
        anchors: (n, a), for a ``function`` of (rows, anchors). Each row is scored with the anchor of the row being
            explained, for example that row itself; its features are not replaced.

    Returns:
        (n, d), or (n, d, k) where the scores are (n, k). They sum to function(row) - mean(function(background)), or
        there is an AdditivityWarning.

    Raises:
        DataError: ``rows`` and ``background`` do not have these shapes and dtypes, or are not finite.
        UnsupportedOperator: The function runs operators that have neither a rule nor a gradient, or that jump.
        ModelError: The function is random, mixes rows, chooses its operators by the values of a row, or overflows.
        ShapeError: The scores have another shape or dtype.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874

    >>> values = attribute(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2))
    >>> values.tolist()
    [[3.0, 3.0]]
    """
    optional = [] if anchors is None else [anchors]
    deep_shap = DeepShap(
        function, background, *(each[:1].expand(len(background), -1) for each in optional), weights=weights
    )
    moments = deep_shap.moments(rows, *optional)
    deep_shap._warn_of_residual(moments, rows, *optional)
    values = torch.as_tensor(moments.mean, dtype=rows.dtype, device=rows.device)
    return values if _scores(function, rows[:1], *(each[:1] for each in optional)).ndim == 2 else values.squeeze(2)


class DeepShap:
    """DeepSHAP of one function and one background. Work shared by all rows is done once, lazily.

    Args:
        function: See ``attribute``.
        background: See ``attribute``.
        anchors: (b, a), if the function is anchored: arbitrary valid anchors, with which the background is recorded.
        weights: See ``attribute``.
    """

    def __init__(self, function: Function, background: Tensor, *anchors: Tensor, weights: Tensor | None = None) -> None:
        self.function, self.background, self.anchors, self.weights = function, background, anchors, weights

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the arguments alone; the receiving process computes the rest again."""
        return {name: getattr(self, name) for name in ("function", "background", "anchors", "weights")}

    def attribute(self, rows: Tensor, *anchors: Tensor) -> Moments:
        """Compute the attributions, (n, d, k) also for one output.

        Values that do not add up are an AdditivityWarning. See ``moments`` for the arguments.
        """
        moments = self.moments(rows, *anchors)
        self._warn_of_residual(moments, rows, *anchors)
        return moments

    def moments(self, rows: Tensor, *anchors: Tensor) -> Moments:
        """Compute the attributions without checking that they add up, for callers who check this by themselves.

        Their variation over the background is included if they are computed pair by pair, without weights.

        Args:
            rows: See ``shapae.deepshap.attribute``, also for the errors.
            anchors: (n, a), if the function is anchored.
        """
        _check_tables(rows, self.background)
        torch.empty(MALLOC_BYTES, dtype=torch.uint8)
        slow = ignore_batching_warnings() if steps_without_rule(self._tape) else nullcontext()
        with torch.no_grad(), slow:
            return concatenate(
                [self._attribute_batch(*batch) for batch in _split_tables(self._batch_size, rows, *anchors)], axis=0
            )

    def _warn_of_residual(self, moments: Moments, rows: Tensor, *anchors: Tensor) -> None:
        """Warn the caller of the caller, if the values do not add up to the scores of the function."""
        scores, base = self._all_scores(rows, *anchors), self._base_values(*anchors)
        sizes = torch.linalg.vector_norm(torch.as_tensor(moments.mean), 1, dim=1).amax(dim=0).numpy()
        spread, tolerance = additivity_tolerance(scores, base, sizes, _eps(self._tape, rows.dtype))
        message = residual_message(scores - base - moments.mean.sum(axis=1), tolerance, spread)
        if message:
            warnings.warn(f"{message} {HINT}", AdditivityWarning, stacklevel=3)

    def _base_values(self, *anchors: Tensor) -> NDArray[Any]:
        """Compute the mean scores of the background, (1, k), or (n, k) for n anchors."""
        b = len(self.background)
        groups = torch.split(anchors[0], max(1, self._batch_size // b)) if anchors else []
        tables: list[tuple[Tensor, ...]]
        tables = [(self.background.repeat(len(each), 1), each.repeat_interleave(b, 0)) for each in groups]
        scores = np.concatenate([self._all_scores(*table) for table in tables or [(self.background,)]])
        weights = None if self.weights is None else self.weights.cpu().numpy()
        return np.average(scores.reshape(-1, b, scores.shape[1]), axis=1, weights=weights)

    def _all_scores(self, *inputs: Tensor) -> NDArray[Any]:
        with torch.no_grad():
            batches = _split_tables(self._batch_size, *inputs)
            parts = [_scores(self.function, *batch).reshape(len(batch[0]), -1) for batch in batches]
        return torch.cat(parts).double().cpu().numpy()

    def integrated(self, rows: Tensor, *anchors: Tensor) -> dict[str, float]:
        """Name the operators without a rule, through which gradients are integrated, with what the integrals miss.

        Args:
            rows: (n, d).
            anchors: (n, a), if the function is anchored.

        Returns:
            From each operator and its place to the largest difference, over the outputs and over all pairs of rows and
            background rows, between the change of its output and the sum of its parts, both times the multipliers.
        """
        steps = steps_without_rule(self._tape)
        if not steps:
            return {}
        with torch.no_grad(), ignore_batching_warnings():
            x = _replay(self.function, self._tape, rows, *anchors)
            return residuals(self._tape.in_dtype(rows.dtype), x, self._parts[0], steps)

    def _attribute_batch(self, *inputs: Tensor) -> Moments:
        x, chain = _replay(self.function, self._tape, *inputs), self._chain
        if chain and self._order:
            total = len(self.background) if self.weights is None else float(self.weights.sum())
            weights = None if self.weights is None else self.weights / total
            values = contract(chain, self._order, x, self._chain_background, weights)
            if values is not None:
                return Moments(total, values.cpu().numpy())
        pays_off = chain and chain.saving * len(inputs[0]) * len(self.background) > chain.preparation / MIN_BLOCKS
        tape = chain if chain and pays_off else self._tape.in_dtype(inputs[0].dtype)
        weight_parts = (
            [None] * len(self._parts) if self.weights is None else torch.split(self.weights, self._batch_size)
        )
        return reduce(add, (attribute_pairs(tape, x, *part) for part in zip(self._parts, weight_parts, strict=True)))

    @cached_property
    def _tape(self) -> Tape:
        with torch.no_grad():
            _scores(self.function, *(each[:1] for each in self._inputs))

        def is_primitive(op: OpOverload, dtypes: list[torch.dtype]) -> bool:
            return rule_for(op, dtypes) is not None

        row, *anchor = (each[0] for each in self._inputs)
        tape = record(self.function, row, is_primitive, *anchor)
        _check_operators(tape, row, *anchor)
        return tape

    @property
    def _inputs(self) -> tuple[Tensor, ...]:
        """Inputs of the function for the background."""
        return (self.background, *self.anchors)

    @cached_property
    def _first_values(self) -> Values:
        """Values of the first background row on the tape."""
        return replay(self._tape, *(each[:1] for each in self._inputs))

    @cached_property
    def _batch_size(self) -> int:
        """Number of rows in one replay."""
        return max(1, REPLAY_BYTES // sum(value.nbytes for value in self._first_values.values()))

    @cached_property
    def _chain(self) -> FeedForward | None:
        return None if self.anchors else as_feedforward(self._tape, self._first_values)

    @cached_property
    def _order(self) -> ContractionOrder | Deviations | None:
        """Order of the contraction of a chain with many outputs; None if the backward pass is cheaper."""
        return best_order(self._chain, self._chain_background) if self._chain else None

    @cached_property
    def _parts(self) -> list[Values]:
        """Values of the background on the tape, in batches."""
        return [_replay(self.function, self._tape, *batch) for batch in _split_tables(self._batch_size, *self._inputs)]

    @cached_property
    def _chain_background(self) -> Values:
        """Values of the whole background in the slots that the chain needs."""
        slots = self._chain.slots if self._chain else []
        return {slot: torch.cat([part[slot] for part in self._parts]) for slot in slots}


def _split_tables(size: int, *tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(table, size) for table in tables), strict=True)


def _check_tables(rows: Tensor, background: Tensor) -> None:
    malformed = any(table.ndim != 2 or not len(table) for table in (rows, background))
    if malformed or rows.shape[1] != background.shape[1]:
        raise DataError(
            f"rows and background must be non-empty tables (n, d) and (b, d) with the same number of columns, got "
            f"{tuple(rows.shape)} and {tuple(background.shape)}."
        )
    if rows.dtype != background.dtype or rows.dtype not in (torch.float32, torch.float64):
        raise DataError(
            f"rows and background must both be float32 or both float64, got {rows.dtype} and {background.dtype}. "
            f"Use .float() on both tables and on the model."
        )
    for name, table in {"rows": rows, "background": background}.items():
        nonfinite = (~torch.isfinite(table)).any(dim=1).nonzero().flatten().tolist()
        if nonfinite:
            raise DataError(
                f"{name} must be finite; {len(nonfinite)} of {len(table)} rows hold NaN or infinity, first row "
                f"{nonfinite[0]}. Remove or impute these rows."
            )


def _check_operators(tape: Tape, *inputs: Tensor) -> None:
    """Check that each operator has a rule, or a gradient; ``inputs`` are a row, and its anchor.

    Raises:
        UnsupportedOperator: Some have neither; all of them are named.
    """
    steps = steps_without_rule(tape)
    values = replay_row(tape, *inputs) if steps else {}
    arguments = {step: [values[slot] for slot in step.variables] for step in steps}
    smooth = [step for step in steps if has_gradient(step, arguments[step])]
    with ignore_batching_warnings() if steps else nullcontext():
        refused = [step for step in steps if step not in smooth or not takes_many_rows(step, arguments[step])]
    if refused:
        places = dict.fromkeys(f"{step.op} in {step.place}" for step in refused)
        raise UnsupportedOperator([*places], have_gradients={*refused} <= {*smooth})


def _scores(function: Function, rows: Tensor, *anchors: Tensor) -> Tensor:
    scores = function(*(each.clone() for each in (rows, *anchors)))  # clones, as the function may write into them
    if isinstance(scores, Tensor) and scores.is_floating_point() and scores.ndim in (1, 2) and scores.numel():
        if len(scores) == len(rows):
            return scores
    got = f"{tuple(scores.shape)} of {scores.dtype}" if isinstance(scores, Tensor) else type(scores).__name__
    raise ShapeError(f"the function must return floating point scores ({len(rows)},) or ({len(rows)}, k), got {got}.")


def _replay(function: Function, tape: Tape, rows: Tensor, *anchors: Tensor) -> Values:
    """Compute the values of ``rows`` on the tape.

    Raises:
        ModelError: The function itself returns different scores.
    """
    values = replay(tape, rows, *anchors)
    got, expected = tape.scores(values), _scores(function, rows, *anchors).reshape(len(rows), -1)
    differ = (~((got - expected).abs() <= _tolerance(tape, values, expected))).any(dim=1).nonzero().flatten().tolist()
    if differ:
        reason = " and ".join(dict.fromkeys(tape.reads)) or "it is random, mixes rows, or computes outside of torch"
        raise ModelError(
            f"the operators recorded from one row do not reproduce the scores of {len(differ)} other rows, first row "
            f"{differ[0]}: {reason}. Each row must be scored independently and by the same operators. For a "
            f"function that chooses its operators by the values of a row use {WITHOUT_GRADIENTS}."
        )
    return values


def _eps(tape: Tape, dtype: torch.dtype) -> float:
    """Return the relative rounding error of the coarsest of ``dtype`` and the dtypes on the tape."""
    dtypes = {dtype, *(step.dtype for step in tape.steps if step.dtype.is_floating_point)}
    return max(torch.finfo(each).eps for each in dtypes)


def _tolerance(tape: Tape, values: Values, scores: Tensor) -> Tensor:
    """Bound the rounding errors of the scores, (n, k), including those of the terms that they are a sum of."""
    eps = _eps(tape, scores.dtype)
    limit = 100 * (1 + values[0].abs().max())  # larger numbers are masks

    def magnitudes(slot: int) -> Tensor:
        return values[slot].reshape(len(scores), -1).abs().nan_to_num_().clamp_(max=limit)

    largest = torch.stack([magnitudes(slot).amax(dim=1) for slot, value in values.items() if value.numel()]).amax(dim=0)
    sums = [step for step in tape.steps if step.name in SUM_OPERATORS]
    terms = sum(magnitudes(slot).sum(dim=1, keepdim=True) for slot in (sums[-1].variables if sums else ()))
    tolerance: Tensor = eps**0.5 * scores.abs() + 16 * eps * (largest.unsqueeze(1) + terms)
    return tolerance
