"""The backward pass: from the scores to one multiplier per pair and feature, for blocks of pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import product
from operator import add

import torch
from torch import Tensor

from shapae.deepshap.anchored import background_halves, mixed_values
from shapae.deepshap.deferred import Deferred, defer
from shapae.deepshap.feedforward.chain import FeedForward, LinearSegment
from shapae.deepshap.rules import is_affine, is_quadratic, keeps_broadcast, rule_of
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import Terms, merge_terms, sum_terms
from shapae.deepshap.tracing.tape import Step, Tape, Values, Variable
from shapae.errors import WITHOUT_GRADIENTS, ModelError
from shapae.utils.blocks import block_bytes
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, concatenate, gather

# Bytes of the widest value in one block of pairs, chosen so that a few such values fit into the cache of a processor.
BLOCK_BYTES = 2**22


@dataclass(frozen=True)
class BackwardPass:
    """State of a backward pass from the scores to the features.

    Attributes:
        steps: Remaining steps, in the order in which they ran.
        multipliers: Multipliers of the slots that the pass has reached, in terms of (outputs, rows, background, ...).
        x: Values of the rows on the tape, (rows, 1, ...).
        b: Values of the background rows, (1, background, ...); (rows, 1, ...) for values of the anchor. Values that
            depend on both are those of other anchors until ``select`` computes them.
        weights: (background,), weights of the background rows; None for equal weights.
        tape: The tape of an anchored function; None for other functions.
        halves: See ``background_halves``; none after ``select``.
        deferred: Steps whose slopes are factors of all multipliers, by which ``select`` multiplies them.
    """

    steps: tuple[Step | LinearSegment, ...]
    multipliers: dict[int, Terms]
    x: Values
    b: Values
    weights: Tensor | None
    tape: Tape | None
    halves: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    deferred: tuple[Deferred, ...] = ()

    def advance(
        self, *, callback: Callable[[Step | LinearSegment, Terms, list[Terms]], None] | None = None, pause: bool = False
    ) -> "BackwardPass":
        """Continue the backward pass.

        Args:
            callback: Called with each step, its multipliers and those of its arguments.
            pause: Whether to stop before the first step that would create a multiplier for each pair.
        """
        multipliers, steps = dict(self.multipliers), list(self.steps)
        constant = self.tape.constant_slots if self.tape else ()
        while steps and not (
            pause
            and steps[-1].slot in multipliers
            and not self._keeps_broadcast(steps[-1], multipliers[steps[-1].slot])
        ):
            step = steps.pop()
            terms = multipliers.pop(step.slot, None)
            if terms is None:  # without influence on the scores
                continue
            parts = self._apply_rule(step, terms)
            if callback:
                callback(step, terms, parts)
            for slot, part in zip(step.variables, parts, strict=True):
                if slot not in constant:
                    multipliers[slot] = merge_terms(multipliers.get(slot, []) + part)
        return replace(self, steps=tuple(steps), multipliers=multipliers)

    def advance_shared(self) -> "BackwardPass":
        """Continue the backward pass as far as no multiplier is created for each pair; see ``deferred``."""
        paused = self.advance(pause=True)
        reached = [slot for slot, terms in paused.multipliers.items() if terms]
        step = paused.steps[-1] if paused.steps else None
        if not isinstance(step, Step) or reached != [step.slot]:
            return paused
        terms = paused.multipliers[step.slot]
        deferred = defer(step, terms, paused.x)
        if deferred is None:
            return paused
        multipliers, steps = {0: [], step.variables[0]: terms}, paused.steps[:-1]
        return replace(
            paused, steps=steps, multipliers=multipliers, deferred=(*paused.deferred, deferred)
        ).advance_shared()

    def _apply_rule(self, step: Step | LinearSegment, terms: Terms) -> list[Terms]:
        if isinstance(step, LinearSegment):
            return step.backward(terms)
        if is_quadratic(step) and not self.halves.keys().isdisjoint(step.variables):
            halves = [
                replace(self, b=self.b | {slot: each[half] for slot, each in self.halves.items()}, halves={})
                for half in (0, 1)
            ]
            parts = [half._apply_rule(step, [term / 2 for term in terms]) for half in halves]
            return [one + other for one, other in zip(*parts, strict=True)]
        out, *inputs = (Pair(self.x[slot][None], self.b[slot][None]) for slot in (step.slot, *step.variables))
        return rule_of(step)(step, terms, out, inputs)

    def _keeps_broadcast(self, step: Step | LinearSegment, terms: Terms) -> bool:
        if isinstance(step, LinearSegment) or is_affine(step):
            return True
        constant = all(term.shape[1:3] == (1, 1) for term in terms)
        return keeps_broadcast(step, constant) and self._mixed_slots.intersection(step.variables) <= self.halves.keys()

    @cached_property
    def _mixed_slots(self) -> set[int]:
        return {step.slot for step in self.tape.mixed_steps} if self.tape else set()

    @cached_property
    def _mixed_steps(self) -> list[Step]:
        """Steps that depend on the anchor and the background row, as far as the remaining steps need their values."""
        needed = [step for step in self.steps if isinstance(step, Step) and not is_affine(step)]
        needed += [deferred.step for deferred in self.deferred]
        slots, steps = {slot for step in needed for slot in (step.slot, *step.variables)}, list[Step]()
        for step in reversed(self.tape.mixed_steps if self.tape else ()):
            if step.slot in slots:
                slots.update(step.variables)
                steps.append(step)
        return steps[::-1]

    def select(self, rows: slice, background: slice) -> "BackwardPass":
        """Restrict the backward pass to some of the rows and background rows."""
        multipliers = {
            slot: [_select_axis(_select_axis(term, 1, rows), 2, background) for term in terms]
            for slot, terms in self.multipliers.items()
        }
        x, b = ({slot: _select_axis(value, 0, rows) for slot, value in values.items()} for values in (self.x, self.b))
        b = {slot: _select_axis(value, 1, background) for slot, value in b.items()}
        b = mixed_values(self._mixed_steps, b)
        for deferred in self.deferred:
            slopes = deferred.select(rows).slopes(x, b)
            multipliers = {slot: _scale(terms, slopes) for slot, terms in multipliers.items()}
        weights = None if self.weights is None else self.weights[background]
        return replace(self, multipliers=multipliers, x=x, b=b, weights=weights, halves={}, deferred=())


def _scale(terms: Terms, factors: Tensor) -> Terms:
    """Multiply terms by factors (outputs, rows, background)."""
    return [sum_terms(terms) * factors.reshape(*factors.shape, *[1] * (terms[0].ndim - factors.ndim))] if terms else []


def _select_axis(term: Tensor, axis: int, part: slice) -> Tensor:
    return term if term.shape[axis] == 1 else term.transpose(0, axis)[part].transpose(0, axis)


def start(tape: Tape | FeedForward, x: Values, b: Values, seed: Tensor, weights: Tensor | None = None) -> BackwardPass:
    """Start a backward pass at the scores, whose multipliers are ``seed`` (outputs, k).

    See ``attribute_pairs`` for the other arguments.
    """
    multipliers: dict[int, Terms] = {0: []}
    anchored = tape if isinstance(tape, Tape) and tape.anchored else None
    if isinstance(tape.result, Variable) and not (anchored and tape.result.slot in anchored.constant_slots):
        multipliers[tape.result.slot] = [seed[:, None, None]]
    else:
        multipliers[0] = [seed.new_zeros(len(seed), 1, 1, 1)]
    x, b = ({slot: value.unsqueeze(axis) for slot, value in values.items()} for values, axis in ((x, 1), (b, 0)))
    if anchored:
        b |= {slot: x[slot] for slot in anchored.constant_slots}
    halves = background_halves(anchored, b) if anchored else {}
    return BackwardPass(tape.steps, multipliers, x, b, weights, anchored, halves)


def attribute_pairs(tape: Tape | FeedForward, x: Values, b: Values, weights: Tensor | None = None) -> Moments:
    """Compute the attributions and their variation over the background, (n, d, k).

    Args:
        tape: The tape of the function, in the dtype of the values; or its feed-forward chain.
        x: Values of the rows on the tape, from ``replay``.
        b: Values of the background rows.
        weights: (b,), weights of the background rows; None for equal weights. With weights, only the mean is computed.
    """
    k = x[tape.result.slot].shape[1] if isinstance(tape.result, Variable) else len(tape.result)
    constant = tape.constant_slots if isinstance(tape, Tape) else ()  # one value for all pairs of a row
    pair_bytes = max(value[0].nbytes for slot, value in x.items() if slot not in constant)
    pairs = max(1, block_bytes(BLOCK_BYTES, x[0]) // pair_bytes)
    n_background = min(len(b[0]), pairs)
    n_outputs = min(k, max(1, pairs // n_background))
    n_rows = max(1, pairs // (n_background * n_outputs))
    seeds = torch.split(torch.eye(k).to(x[0]), n_outputs)
    return concatenate(
        [_attribute_outputs(start(tape, x, b, seed, weights), n_rows, n_background) for seed in seeds], axis=2
    )


def residuals(tape: Tape, x: Values, b: Values, steps: Sequence[Step]) -> dict[str, float]:
    """Measure what the rules of some steps miss: the largest |m (y_x - y_b) - sum of parts| of each, over all pairs.

    Args:
        tape: See ``attribute_pairs``.
        x: See ``attribute_pairs``.
        b: See ``attribute_pairs``.
        steps: Steps, by whose slots those on ``tape`` are found.
    """
    slots, found = {step.slot for step in steps}, dict[str, float]()
    k = x[tape.result.slot].shape[1] if isinstance(tape.result, Variable) else len(tape.result)
    whole = start(tape, x, b, torch.eye(k).to(x[0])).select(slice(None), slice(None))

    def measure(step: Step | LinearSegment, terms: Terms, parts: list[Terms]) -> None:
        if isinstance(step, Step) and step.slot in slots:
            out, *inputs = (whole.x[slot] - whole.b[slot] for slot in (step.slot, *step.variables))
            rises = [_sum_products(m, delta) for m, delta in zip((terms, *parts), (out, *inputs), strict=True)]
            place = f"{step.op} in {step.place}"
            found[place] = max(found.get(place, 0), float((rises[0] - sum(rises[1:])).abs().max()))

    whole.advance(callback=measure)
    return found


def _sum_products(m: Terms, delta: Tensor) -> Tensor:
    """Sum m (outputs, rows, background, ...) times delta (rows, background, ...): (outputs, rows, background)."""
    product = sum_terms(m) * delta
    return product.reshape(*product.shape[:3], -1).sum(dim=3)


def _attribute_outputs(start: BackwardPass, n_rows: int, n_background: int) -> Moments:
    shared = start.advance_shared()
    row_blocks, background_blocks = batches(len(shared.x[0]), n_rows), batches(shared.b[0].shape[1], n_background)
    parts = (
        reduce(add, (_attribute_block(shared.select(rows, background)) for background in background_blocks))
        for rows in row_blocks
    )
    moments = gather(parts, len(shared.x[0]))
    if not torch.isfinite(torch.as_tensor(moments.mean)).all():
        for rows, background in product(row_blocks, background_blocks):
            start.select(rows, background).advance(callback=_check_finite)
    return moments


def _attribute_block(block: BackwardPass) -> Moments:
    delta, m = (block.x[0] - block.b[0]).unsqueeze(0), sum_terms(block.advance().multipliers[0])
    values = delta.mul_(m) if len(m) == 1 else delta * m
    if block.weights is not None:
        total = float(block.weights.sum())
        return Moments(total, _rows_first(torch.einsum("knbd,b->knd", values, block.weights / total)))
    mean = values.mean(dim=2)
    sum_of_squares = values.sub_(mean.unsqueeze(2)).square_().sum(dim=2)
    return Moments(values.shape[2], _rows_first(mean), _rows_first(sum_of_squares))


def _rows_first(values: Tensor) -> Tensor:
    return values.permute(1, 2, 0)


class NonFiniteMultipliers(ModelError):
    """Multipliers of some rows are NaN or infinite."""


def _check_finite(step: Step | LinearSegment, terms: Terms, parts: list[Terms]) -> None:
    if not all(torch.isfinite(term).all() for part in parts for term in part):
        raise NonFiniteMultipliers(
            f"the scores are finite, but the multipliers of {step.op} in {step.place} are not. An intermediate value "
            f"is infinite or NaN without effect on the scores, or overflows between a row and a background row. "
            f"Prevent such values where they arise (clamp before a log, not after it), or use {WITHOUT_GRADIENTS}."
        )
