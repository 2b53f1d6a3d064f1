"""From the scores back to one multiplier for each pair and feature, many pairs at a time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from operator import add
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.deepshap.feedforward.chain import FeedForward, LinearSegment
from shapae.deepshap.rules import keeps_broadcast, rule_for
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import Terms, merge_terms, sum_terms, vmap_leading
from shapae.deepshap.tracing.tape import Step, Tape, Values, Variable
from shapae.errors import ModelError
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, concatenate

# Bytes of the widest value for the pairs that are walked over at once, so that a few such values fit into a cache.
BLOCK_BYTES = 2**22


@dataclass(frozen=True)
class BackwardPass:
    """Multipliers on their way from the scores back to the features.

    Attributes:
        steps: What is left to be passed, in the order in which it ran.
        at: Multipliers of the values that the walk has come to, in terms of (outputs, rows, background, ...).
        x: Values of the rows on the tape, (rows, 1, ...).
        b: Values of the background rows, (1, background, ...), or (rows, 1, ...) where they are those of the anchor.
        weights: (background,), how much each of these rows counts; None where all count the same.
        tape: Of an anchored function; None for others.
    """

    steps: tuple[Step | LinearSegment, ...]
    at: dict[int, Terms]
    x: Values
    b: Values
    weights: Tensor | None
    tape: Tape | None

    def advance(
        self, *, watch: Callable[[Step | LinearSegment, list[Terms]], None] | None = None, pausing: bool = False
    ) -> "BackwardPass":
        """The walk, farther on.

        Args:
            watch: Called with each step and the multipliers of its arguments.
            pausing: Stop before the first step after which there would be multipliers for each pair.
        """
        at, steps, still = dict(self.at), list(self.steps), self.tape.constant_slots if self.tape else ()
        while steps and not (pausing and steps[-1].slot in at and not _keeps_broadcast(steps[-1], at[steps[-1].slot])):
            step = steps.pop()
            terms = at.pop(step.slot, None)
            if terms is None:  # without influence on the scores
                continue
            parts = self._back(step, terms)
            if watch:
                watch(step, parts)
            for slot, part in zip(step.live, parts, strict=True):
                if slot not in still:
                    at[slot] = merge_terms(at.get(slot, []) + part)
        return replace(self, steps=tuple(steps), at=at)

    def _back(self, step: Step | LinearSegment, terms: Terms) -> list[Terms]:
        if isinstance(step, LinearSegment):
            return step.back(terms)
        rule = rule_for(step.op, step.input_dtypes)
        assert rule is not None, step.op
        out, *live = (Pair(self.x[slot][None], self.b[slot][None]) for slot in (step.slot, *step.live))
        return rule(step, terms, out, live)

    def select(self, rows: slice, background: slice) -> "BackwardPass":
        """The same for some of the rows and background rows."""
        at = {slot: [_cut(_cut(term, 1, rows), 2, background) for term in terms] for slot, terms in self.at.items()}
        x, b = ({slot: _cut(value, 0, rows) for slot, value in values.items()} for values in (self.x, self.b))
        b = {slot: _cut(value, 1, background) for slot, value in b.items()}
        for step in self.tape.mixed_steps if self.tape else ():
            b[step.slot] = vmap_leading(step.run, *(b[slot] for slot in step.live), axes=2).to(b[0].dtype)
        weights = None if self.weights is None else self.weights[background]
        return replace(self, at=at, x=x, b=b, weights=weights)


def _cut(term: Tensor, axis: int, part: slice) -> Tensor:
    return term if term.shape[axis] == 1 else term.transpose(0, axis)[part].transpose(0, axis)


def _keeps_broadcast(step: Step | LinearSegment, terms: Terms) -> bool:
    constant = all(term.shape[1:3] == (1, 1) for term in terms)
    return isinstance(step, LinearSegment) or keeps_broadcast(step, constant)


def start(tape: Tape | FeedForward, x: Values, b: Values, seed: Tensor, weights: Tensor | None = None) -> BackwardPass:
    """A walk at the scores, whose multipliers are ``seed`` (outputs, k); for the others see ``attribute_pairs``."""
    at: dict[int, Terms] = {0: []}
    if isinstance(tape.result, Variable):
        at[tape.result.slot] = [seed[:, None, None]]
    else:
        at[0] = [seed.new_zeros(len(seed), 1, 1, 1)]
    x, b = ({slot: value.unsqueeze(axis) for slot, value in values.items()} for values, axis in ((x, 1), (b, 0)))
    anchored = tape if isinstance(tape, Tape) and tape.anchored else None
    if anchored:
        b |= {slot: x[slot] for slot in anchored.constant_slots}
    return BackwardPass(tape.steps, at, x, b, weights, anchored)


def attribute_pairs(tape: Tape | FeedForward, x: Values, b: Values, weights: Tensor | None = None) -> Moments:
    """The values and their spread over the background, (n, d, k).

    Args:
        tape: Of the function, in the dtype of the values; or the chain that it is.
        x: Values of the rows on the tape, from ``replay``.
        b: Values of the background rows.
        weights: (b,), how much each of them counts; None where all count the same. The spread is not known with them.
    """
    k = x[tape.result.slot].shape[1] if isinstance(tape.result, Variable) else len(tape.result)
    pairs = max(1, BLOCK_BYTES // max(value[0].nbytes for value in x.values()))
    width = min(len(b[0]), pairs)
    outputs = min(k, max(1, pairs // width))
    height = max(1, pairs // (width * outputs))
    seeds = torch.split(torch.eye(k).to(x[0]), outputs)
    return concatenate([_attribute_outputs(start(tape, x, b, seed, weights), height, width) for seed in seeds], axis=2)


def _attribute_outputs(start: BackwardPass, height: int, width: int) -> Moments:
    walk = start if start.tape else start.advance(pausing=True)
    rows, background = batches(len(walk.x[0]), height), batches(walk.b[0].shape[1], width)
    found = concatenate(
        [reduce(add, (_attribute_block(walk.select(some, few)) for few in background)) for some in rows], axis=0
    )
    if not np.isfinite(found.mean).all():
        for some, few in product(rows, background):
            start.select(some, few).advance(watch=_check_finite)
    return found


def _attribute_block(walk: BackwardPass) -> Moments:
    delta, m = (walk.x[0] - walk.b[0]).unsqueeze(0), sum_terms(walk.advance().at[0])
    values = delta.mul_(m) if len(m) == 1 else delta * m
    if walk.weights is not None:
        count = float(walk.weights.sum())
        return Moments(count, _to_array(torch.einsum("knbd,b->knd", values, walk.weights / count)))
    mean = values.mean(dim=2)
    spread = values.sub_(mean.unsqueeze(2)).square_().sum(dim=2)
    return Moments(values.shape[2], _to_array(mean), _to_array(spread))


def _to_array(values: Tensor) -> NDArray[Any]:
    return values.permute(1, 2, 0).cpu().numpy()


def _check_finite(step: Step | LinearSegment, parts: list[Terms]) -> None:
    if not all(torch.isfinite(term).all() for terms in parts for term in terms):
        raise ModelError(
            f"the scores are finite, but the multipliers of {step.op} in {step.place} are not: some values are "
            f"infinite or NaN, and left out later, or overflow between a row and a background row. Prevent them where "
            f"they arise (clamp before a log, not after it), or use backend='gradient'."
        )
