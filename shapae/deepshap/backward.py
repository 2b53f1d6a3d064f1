"""The backward pass: from the scores to one multiplier per pair and feature, for blocks of pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from operator import add

import torch
from torch import Tensor

from shapae.deepshap.feedforward.chain import FeedForward, LinearSegment
from shapae.deepshap.rules import keeps_broadcast, rule_of
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import Terms, merge_terms, sum_terms, vmap_leading
from shapae.deepshap.tracing.tape import Step, Tape, Values, Variable
from shapae.errors import WITHOUT_GRADIENTS, ModelError
from shapae.utils.blocks import block_bytes
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, concatenate

# Bytes of the widest value in one block of pairs, chosen so that a few such values fit into the cache of a processor.
BLOCK_BYTES = 2**22


@dataclass(frozen=True)
class BackwardPass:
    """State of a backward pass from the scores to the features.

    Attributes:
        steps: Remaining steps, in the order in which they ran.
        multipliers: Multipliers of the slots that the pass has reached, in terms of (outputs, rows, background, ...).
        x: Values of the rows on the tape, (rows, 1, ...).
        b: Values of the background rows, (1, background, ...); (rows, 1, ...) for values of the anchor.
        weights: (background,), weights of the background rows; None for equal weights.
        tape: The tape of an anchored function; None for other functions.
    """

    steps: tuple[Step | LinearSegment, ...]
    multipliers: dict[int, Terms]
    x: Values
    b: Values
    weights: Tensor | None
    tape: Tape | None

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
            pause and steps[-1].slot in multipliers and not _keeps_broadcast(steps[-1], multipliers[steps[-1].slot])
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

    def _apply_rule(self, step: Step | LinearSegment, terms: Terms) -> list[Terms]:
        if isinstance(step, LinearSegment):
            return step.backward(terms)
        out, *inputs = (Pair(self.x[slot][None], self.b[slot][None]) for slot in (step.slot, *step.variables))
        return rule_of(step)(step, terms, out, inputs)

    def select(self, rows: slice, background: slice) -> "BackwardPass":
        """Restrict the backward pass to some of the rows and background rows."""
        multipliers = {
            slot: [_select_axis(_select_axis(term, 1, rows), 2, background) for term in terms]
            for slot, terms in self.multipliers.items()
        }
        x, b = ({slot: _select_axis(value, 0, rows) for slot, value in values.items()} for values in (self.x, self.b))
        b = {slot: _select_axis(value, 1, background) for slot, value in b.items()}
        for step in self.tape.mixed_steps if self.tape else ():
            b[step.slot] = vmap_leading(step.run, *(b[slot] for slot in step.variables), axes=2).to(b[0].dtype)
        weights = None if self.weights is None else self.weights[background]
        return replace(self, multipliers=multipliers, x=x, b=b, weights=weights)


def _select_axis(term: Tensor, axis: int, part: slice) -> Tensor:
    return term if term.shape[axis] == 1 else term.transpose(0, axis)[part].transpose(0, axis)


def _keeps_broadcast(step: Step | LinearSegment, terms: Terms) -> bool:
    constant = all(term.shape[1:3] == (1, 1) for term in terms)
    return isinstance(step, LinearSegment) or keeps_broadcast(step, constant)


def start(tape: Tape | FeedForward, x: Values, b: Values, seed: Tensor, weights: Tensor | None = None) -> BackwardPass:
    """Start a backward pass at the scores, whose multipliers are ``seed`` (outputs, k).

    See ``attribute_pairs`` for the other arguments.
    """
    multipliers: dict[int, Terms] = {0: []}
    if isinstance(tape.result, Variable):
        multipliers[tape.result.slot] = [seed[:, None, None]]
    else:
        multipliers[0] = [seed.new_zeros(len(seed), 1, 1, 1)]
    x, b = ({slot: value.unsqueeze(axis) for slot, value in values.items()} for values, axis in ((x, 1), (b, 0)))
    anchored = tape if isinstance(tape, Tape) and tape.anchored else None
    if anchored:
        b |= {slot: x[slot] for slot in anchored.constant_slots}
    return BackwardPass(tape.steps, multipliers, x, b, weights, anchored)


def attribute_pairs(tape: Tape | FeedForward, x: Values, b: Values, weights: Tensor | None = None) -> Moments:
    """Compute the attributions and their variation over the background, (n, d, k).

    Args:
        tape: The tape of the function, in the dtype of the values; or its feed-forward chain.
        x: Values of the rows on the tape, from ``replay``.
        b: Values of the background rows.
        weights: (b,), weights of the background rows; None for equal weights. With weights, only the mean is computed.
    """
    k = x[tape.result.slot].shape[1] if isinstance(tape.result, Variable) else len(tape.result)
    pairs = max(1, block_bytes(BLOCK_BYTES, x[0]) // max(value[0].nbytes for value in x.values()))
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
    whole = start(tape, x, b, torch.eye(k).to(x[0]))

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
    shared = start if start.tape else start.advance(pause=True)
    row_blocks, background_blocks = batches(len(shared.x[0]), n_rows), batches(shared.b[0].shape[1], n_background)
    moments = concatenate(
        [
            reduce(add, (_attribute_block(shared.select(rows, background)) for background in background_blocks))
            for rows in row_blocks
        ],
        axis=0,
    )
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


def _check_finite(step: Step | LinearSegment, terms: Terms, parts: list[Terms]) -> None:
    if not all(torch.isfinite(term).all() for part in parts for term in part):
        raise ModelError(
            f"the scores are finite, but the multipliers of {step.op} in {step.place} are not. An intermediate value "
            f"is infinite or NaN without effect on the scores, or overflows between a row and a background row. "
            f"Prevent such values where they arise (clamp before a log, not after it), or use {WITHOUT_GRADIENTS}."
        )
