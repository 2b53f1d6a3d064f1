"""Recording of a function on its background: the tape, the feed-forward chain, and the values of the background."""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from shapae.deepshap.feedforward.chain import FeedForward, as_feedforward
from shapae.deepshap.rules import rule_for, steps_without_rule
from shapae.deepshap.rules.path import has_gradient, takes_many_rows
from shapae.deepshap.tracing.record import record
from shapae.deepshap.tracing.tape import Tape, Values, replay, replay_row
from shapae.errors import WITHOUT_GRADIENTS, DataError, ModelError, ShapeError, UnsupportedOperator
from shapae.utils.blocks import block_bytes
from shapae.utils.context import ignore_batching_warnings
from shapae.utils.rounding import rounding_error
from shapae.utils.torch_private import OpOverload
from shapae.utils.torch_trace import Function

# Bytes of all values of one batch of rows in a replay on a processor, chosen to bound the memory.
REPLAY_BYTES = 2**23
# Names of operators that sum numbers, which may cancel; see ``_tolerance``.
SUM_OPERATORS = {"sum", "mm", "bmm", "addmm", "mv", "dot"}


class Recording:
    """A function and a background. What is computed from them is computed once, when it is first needed.

    Args:
        function: See ``engine.attribute``.
        background: See ``engine.attribute``.
        anchors: (b, a), if the function is anchored: arbitrary valid anchors, with which the background is recorded.
        weights: See ``engine.attribute``.
    """

    def __init__(self, function: Function, background: Tensor, *anchors: Tensor, weights: Tensor | None = None) -> None:
        self.function, self.background, self.anchors, self.weights = function, background, anchors, weights

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the arguments alone; the receiving process computes the rest again."""
        return {name: getattr(self, name) for name in ("function", "background", "anchors", "weights")}

    @cached_property
    def _tape(self) -> Tape:
        with torch.no_grad():
            call(self.function, *(each[:1] for each in self._inputs))

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

    @property
    def _batch_size(self) -> int:
        """Number of rows in one replay."""
        return max(1, block_bytes(REPLAY_BYTES, self.background) // self._row_bytes)

    @cached_property
    def _row_bytes(self) -> int:
        return sum(value.nbytes for value in self._first_values.values())

    @cached_property
    def _chain(self) -> FeedForward | None:
        return None if self.anchors else as_feedforward(self._tape, self._first_values)

    def _replay(self, rows: Tensor, *anchors: Tensor) -> Values:
        """Compute the values of ``rows`` on the tape.

        Raises:
            ModelError: The function itself returns different scores.
        """
        tape = self._tape
        values = replay(tape, rows, *anchors)
        got, expected = tape.scores(values), call(self.function, rows, *anchors).reshape(len(rows), -1)
        if torch.equal(got, expected):
            return values
        differ = (~((got - expected).abs() <= _tolerance(tape, values, expected))).any(dim=1)
        if differ.any():
            reason = " and ".join(dict.fromkeys(tape.reads)) or "it is random, mixes rows, or computes outside of torch"
            raise ModelError(
                f"the operators recorded from one row do not reproduce the scores of {int(differ.sum())} other rows, "
                f"first row {int(differ.int().argmax())}: {reason}. Each row must be scored independently and by the "
                f"same operators. For a function that chooses its operators by the values of a row use "
                f"{WITHOUT_GRADIENTS}."
            )
        return values

    @cached_property
    def _parts(self) -> list[Values]:
        """Values of the background on the tape, in batches."""
        return [self._replay(*batch) for batch in split_tables(self._batch_size, *self._inputs)]

    @cached_property
    def _chain_background(self) -> Values:
        """Values of the whole background in the slots that the chain needs."""
        slots = self._chain.slots if self._chain else []
        return {slot: torch.cat([part[slot] for part in self._parts]) for slot in slots}


def split_tables(size: int, *tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split tables of the same length into batches of ``size`` rows."""
    return zip(*(torch.split(table, size) for table in tables), strict=True)


def check_tables(rows: Tensor, background: Tensor) -> None:
    """Check the rows and the background.

    Raises:
        DataError: They do not have the shapes and dtypes that ``engine.attribute`` takes, or are not finite.
    """
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


def call(function: Function, rows: Tensor, *anchors: Tensor) -> Tensor:
    """Call the function.

    Raises:
        ShapeError: The scores have another shape or dtype than (n,) or (n, k), floating point.
    """
    scores = function(*(each.clone() for each in (rows, *anchors)))  # clones, as the function may write into them
    if isinstance(scores, Tensor) and scores.is_floating_point() and scores.ndim in (1, 2) and scores.numel():
        if len(scores) == len(rows):
            return scores
    got = f"{tuple(scores.shape)} of {scores.dtype}" if isinstance(scores, Tensor) else type(scores).__name__
    raise ShapeError(f"the function must return floating point scores ({len(rows)},) or ({len(rows)}, k), got {got}.")


def coarsest_error(tape: Tape, dtype: torch.dtype) -> float:
    """Return the relative rounding error of the coarsest of ``dtype`` and the dtypes on the tape."""
    dtypes = {dtype, *(step.dtype for step in tape.steps if step.dtype.is_floating_point)}
    return max(rounding_error(each) for each in dtypes)


def _tolerance(tape: Tape, values: Values, scores: Tensor) -> Tensor:
    """Bound the rounding errors of the scores, (n, k), including those of the terms that they are a sum of."""
    eps = coarsest_error(tape, scores.dtype)
    limit = 100 * (1 + values[0].abs().max())  # larger numbers are masks

    def magnitudes(slot: int) -> Tensor:
        return values[slot].reshape(len(scores), -1).abs().nan_to_num_().clamp_(max=limit)

    largest = torch.stack([magnitudes(slot).amax(dim=1) for slot, value in values.items() if value.numel()]).amax(dim=0)
    sums = [step for step in tape.steps if step.name in SUM_OPERATORS]
    terms = sum(magnitudes(slot).sum(dim=1, keepdim=True) for slot in (sums[-1].variables if sums else ()))
    tolerance: Tensor = eps**0.5 * scores.abs() + 16 * eps * (largest.unsqueeze(1) + terms)
    return tolerance
