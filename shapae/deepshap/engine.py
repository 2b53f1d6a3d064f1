"""The engine: trace the function, then multiply matrices or go back operator by operator."""

from collections.abc import Iterator
from functools import cached_property, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from shapae.deepshap.backward import attribute_pairs
from shapae.deepshap.feedforward.chain import FeedForward, as_feedforward
from shapae.deepshap.feedforward.contraction import ContractionOrder, best_order, contract
from shapae.deepshap.feedforward.deviations import Deviations
from shapae.deepshap.rules import rule_for
from shapae.deepshap.tracing.record import record
from shapae.deepshap.tracing.tape import Tape, Values, replay
from shapae.errors import DataError, ModelError, ShapeError, UnsupportedOperator
from shapae.utils.memory import MIN_BLOCKS
from shapae.utils.moments import Moments, concatenate
from shapae.utils.torch_trace import Function

# Bytes of all values of the rows that are replayed at once.
REPLAY_BYTES = 2**23
# Bytes of a block that glibc, once it was freed, takes for the size of those to keep rather than hand back to the
# system. Else each large value would have its pages faulted in again, which takes longer than computing it.
MALLOC_BYTES = 2**25 - 2**16
# They add up what may cancel.
SUMMING = {"sum", "mm", "bmm", "addmm", "mv", "dot"}


def attribute(
    function: Function,
    rows: Tensor,
    background: Tensor,
    *,
    weights: Tensor | None = None,
    anchors: Tensor | None = None,
) -> Tensor:
    """DeepSHAP values, averaged over the background.

    Args:
        function: From rows (n, d) to scores (n,) or (n, k); each score depends on its own row only. A module should be
            in eval mode.
        rows: (n, d), float32 or float64.
        background: (b, d), in the dtype and on the device of ``rows``.
        weights: (b,), positive: how much each background row counts; None where all count the same.
        anchors: (n, a), for a ``function`` of (rows, anchors), which is handed with each row that it scores what
            belongs to the row being explained, such as that row itself, whose features are not replaced then.

    Returns:
        (n, d), or (n, d, k) where the scores are (n, k). They sum to function(row) - mean(function(background)).

    Raises:
        DataError: ``rows`` and ``background`` are no such tables.
        UnsupportedOperator: The function runs operators that have no rule.
        ModelError: It is random, mixes rows, decides by the values of a row what to run, or overflows.
        ShapeError: It returns something else.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874

    >>> values = attribute(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2))
    >>> values.tolist()
    [[3.0, 3.0]]
    """
    handed = [] if anchors is None else [anchors]
    against = DeepShap(
        function, background, *(each[:1].expand(len(background), -1) for each in handed), weights=weights
    )
    values = torch.as_tensor(against.attribute(rows, *handed).mean, dtype=rows.dtype, device=rows.device)
    return values if _scores(function, rows[:1], *(each[:1] for each in handed)).ndim == 2 else values.squeeze(2)


class DeepShap:
    """A function against a background; what is the same for all rows is done once, when it is first needed.

    Args:
        function: See ``attribute``.
        background: See ``attribute``.
        anchors: (b, a), if it is anchored: any that the background rows can be scored with.
        weights: See ``attribute``.
    """

    def __init__(self, function: Function, background: Tensor, *anchors: Tensor, weights: Tensor | None = None) -> None:
        self.function, self.background, self.anchors, self.weights = function, background, anchors, weights

    def __getstate__(self) -> dict[str, Any]:
        """What it was made from: all else is done again where it is sent to."""
        return {name: getattr(self, name) for name in ("function", "background", "anchors", "weights")}

    def attribute(self, rows: Tensor, *anchors: Tensor) -> Moments:
        """The values, (n, d, k) also for one output, with their spread where they are computed pair by pair.

        Args:
            rows: See ``attribute``, also for what is raised.
            anchors: (n, a), if the function is anchored.
        """
        _check_tables(rows, self.background)
        torch.empty(MALLOC_BYTES, dtype=torch.uint8)
        with torch.no_grad():
            return concatenate(
                [self._attribute_batch(*few) for few in _split_tables(self._batch_size, rows, *anchors)], axis=0
            )

    def _attribute_batch(self, *taken: Tensor) -> Moments:
        x, chain = _replay(self.function, self._tape, *taken), self._chain
        if chain and self._order:
            total = len(self.background) if self.weights is None else float(self.weights.sum())
            shares = None if self.weights is None else self.weights / total
            values = contract(chain, self._order, x, self._whole, shares)
            if values is not None:
                return Moments(total, values.cpu().numpy())
        merges = chain and chain.saving * len(taken[0]) * len(self.background) > chain.preparation / MIN_BLOCKS
        tape = chain if chain and merges else self._tape.in_dtype(taken[0].dtype)
        weights = [None] * len(self._parts) if self.weights is None else torch.split(self.weights, self._batch_size)
        return reduce(add, (attribute_pairs(tape, x, *part) for part in zip(self._parts, weights, strict=True)))

    @cached_property
    def _tape(self) -> Tape:
        with torch.no_grad():
            _scores(self.function, *(each[:1] for each in self._taken))

        def whole(op: OpOverload, kinds: list[torch.dtype]) -> bool:
            return rule_for(op, kinds) is not None

        row, *anchor = (each[0] for each in self._taken)
        tape = record(self.function, row, whole, *anchor)
        _check_operators(tape)
        return tape

    @property
    def _taken(self) -> tuple[Tensor, ...]:
        """What the function takes for the background."""
        return (self.background, *self.anchors)

    @cached_property
    def _first(self) -> Values:
        """The values of the first background row."""
        return replay(self._tape, *(each[:1] for each in self._taken))

    @cached_property
    def _batch_size(self) -> int:
        """So many rows are replayed."""
        return max(1, REPLAY_BYTES // sum(value.nbytes for value in self._first.values()))

    @cached_property
    def _chain(self) -> FeedForward | None:
        return None if self.anchors else as_feedforward(self._tape, self._first)

    @cached_property
    def _order(self) -> ContractionOrder | Deviations | None:
        """In which a chain of many outputs is folded; None if walking is better."""
        return best_order(self._chain, self._whole) if self._chain else None

    @cached_property
    def _parts(self) -> list[Values]:
        """The values of the background on the tape."""
        return [_replay(self.function, self._tape, *few) for few in _split_tables(self._batch_size, *self._taken)]

    @cached_property
    def _whole(self) -> Values:
        """The same in one piece, as far as a chain needs them."""
        slots = self._chain.slots if self._chain else []
        return {slot: torch.cat([part[slot] for part in self._parts]) for slot in slots}


def _split_tables(size: int, *tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(table, size) for table in tables), strict=True)


def _check_tables(rows: Tensor, background: Tensor) -> None:
    broken = any(table.ndim != 2 or not len(table) for table in (rows, background))
    if broken or rows.shape[1] != background.shape[1]:
        raise DataError(
            f"rows (n, d) and background (b, d) must be two tables with the same columns, got {tuple(rows.shape)} and "
            f"{tuple(background.shape)}."
        )
    if rows.dtype != background.dtype or rows.dtype not in (torch.float32, torch.float64):
        raise DataError(
            f"rows and background must both be float32 or both float64, got {rows.dtype} and {background.dtype}; "
            f"use .float() on them, and on the model."
        )
    for what, table in {"rows": rows, "background": background}.items():
        bad = (~torch.isfinite(table)).any(dim=1).nonzero().flatten().tolist()
        if bad:
            raise DataError(f"{len(bad)} of the {what} hold NaN or infinity, first row {bad[0]}.")


def _check_operators(tape: Tape) -> None:
    moving = [step for step in tape.steps if step.slot not in tape.constant_slots]
    places = [f"{step.op} in {step.place}" for step in moving if rule_for(step.op, step.input_dtypes) is None]
    if places:
        raise UnsupportedOperator(list(dict.fromkeys(places)))


def _scores(function: Function, rows: Tensor, *anchors: Tensor) -> Tensor:
    scores = function(*(each.clone() for each in (rows, *anchors)))  # for functions that write into what they are given
    if isinstance(scores, Tensor) and scores.is_floating_point() and scores.ndim in (1, 2) and scores.numel():
        if len(scores) == len(rows):
            return scores
    got = f"{tuple(scores.shape)} of {scores.dtype}" if isinstance(scores, Tensor) else type(scores).__name__
    raise ShapeError(f"the function must return scores ({len(rows)},) or ({len(rows)}, k), floating point, got {got}.")


def _replay(function: Function, tape: Tape, rows: Tensor, *anchors: Tensor) -> Values:
    """The values of ``rows`` on the tape.

    Raises:
        ModelError: The function itself gives other scores.
    """
    values = replay(tape, rows, *anchors)
    got, want = tape.scores(values), _scores(function, rows, *anchors).reshape(len(rows), -1)
    differ = (~((got - want).abs() <= _tolerance(tape, values, want))).any(dim=1).nonzero().flatten().tolist()
    if differ:
        why = " and ".join(dict.fromkeys(tape.read)) or "it is random, mixes rows, or computes outside of torch"
        raise ModelError(
            f"what the function does to one row does not give the scores of {len(differ)} others, first of row "
            f"{differ[0]}: {why}. Each row must be scored by itself and by the same operators; use backend='gradient' "
            f"for a function that decides by the values of a row."
        )
    return values


def _tolerance(tape: Tape, values: Values, scores: Tensor) -> Tensor:
    """(n, k): what rounding may change, of the scores themselves and of what they are a difference or a sum of."""
    kinds = {scores.dtype, *(step.dtype for step in tape.steps if step.dtype.is_floating_point)}
    eps, most = max(torch.finfo(kind).eps for kind in kinds), 100 * (1 + values[0].abs().max())  # beyond it are masks

    def sizes(slot: int) -> Tensor:
        return values[slot].reshape(len(scores), -1).abs().nan_to_num_().clamp_(max=most)

    reach = torch.stack([sizes(slot).amax(dim=1) for slot, value in values.items() if value.numel()]).amax(dim=0)
    sums = [step for step in tape.steps if step.name in SUMMING]
    terms = sum(sizes(slot).sum(dim=1, keepdim=True) for slot in (sums[-1].live if sums else ()))
    tolerance: Tensor = eps**0.5 * scores.abs() + 16 * eps * (reach.unsqueeze(1) + terms)
    return tolerance
