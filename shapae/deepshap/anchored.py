"""Functions with an anchor: their values for pairs of an anchor and a background row, and the mean of their scores."""

from collections.abc import Iterable

import torch
from torch import Tensor

from shapae.deepshap.rules import is_affine, is_quadratic
from shapae.deepshap.rules.terms import vmap_leading
from shapae.deepshap.tracing.tape import Step, Tape, Values, Variable
from shapae.utils.memory import batches


def mixed_values(steps: Iterable[Step], values: Values) -> Values:
    """Run steps that depend on the anchor and on the background row, for all pairs.

    Args:
        steps: Some of the mixed steps of a tape, in their order.
        values: (rows, 1, ...) for values of the anchor, (1, background, ...) for values of the background rows.

    Returns:
        All values, those of the steps (rows, background, ...).
    """
    values = dict(values)
    for step in steps:
        inputs = (values[slot] for slot in step.variables)
        values[step.slot] = vmap_leading(step.run, *inputs, axes=2).to(values[0].dtype)
    return values


def background_halves(tape: Tape, values: Values) -> dict[int, tuple[Tensor, Tensor]]:
    """Split mixed values that are sums: one part depends on the anchor, the other on the background row.

    A product of such a value then passes back small multipliers, as the product rule is affine in the values.

    Args:
        tape: The tape of an anchored function.
        values: See ``mixed_values``.

    Returns:
        From the slots of such values, as far as products read them, to twice each part, (rows, 1, ...) and
        (1, background, ...), so that the value of a pair is the mean of the two. The part of the background row is the
        difference from the first background row, so that no part is larger than the values and their differences are.
    """
    sums = _sums(tape)
    read = {slot for step in tape.steps if is_quadratic(step) for slot in step.variables}
    slots = [step.slot for step in sums if step.slot in read]
    if not slots:
        return {}
    at_first_row = {slot: value[:, :1] for slot, value in values.items()}
    of_first_anchor = {slot: value[:1] for slot, value in values.items()}
    both_first = {slot: value[:1, :1] for slot, value in values.items()}
    anchor, background, corner = (mixed_values(sums, part) for part in (at_first_row, of_first_anchor, both_first))
    return {slot: (2 * anchor[slot], 2 * (background[slot] - corner[slot])) for slot in slots}


def _sums(tape: Tape) -> list[Step]:
    """List the mixed steps that are affine in what depends on the anchor and in what depends on the background row."""
    found, others = list[Step](), {step.slot for step in tape.mixed_steps}
    for step in tape.mixed_steps:
        if _is_floating(step) and is_affine(step) and others.isdisjoint(step.variables):
            found.append(step)
            others.remove(step.slot)
    return found


def _is_floating(step: Step) -> bool:
    return all(dtype.is_floating_point for dtype in (step.dtype, *step.input_dtypes))


def _is_affine_in_background(tape: Tape, step: Step) -> bool:
    factors = [slot for slot in step.variables if slot not in tape.constant_slots]
    is_scaled = is_quadratic(step) and len(factors) == 1 < len(step.variables)  # a square has one variable, too
    return _is_floating(step) and (is_affine(step) or is_scaled)


def sum_scores(tape: Tape, x: Values, b: Values, weights: Tensor, size: int) -> Tensor:
    """Sum the weighted scores of the background for each anchor: (n, k), float64.

    Only the mixed steps are run for each pair; once for each anchor, with the mean of the background, if they are
    affine in what depends on the background.

    Args:
        tape: The tape of an anchored function.
        x: Values of n rows on the tape, with the anchors.
        b: Values of the background rows, with any anchors.
        weights: (b,).
        size: Number of bytes of the widest mixed value in one block of pairs.
    """
    n = len(x[0])
    if not isinstance(tape.result, Variable):
        return (weights.double().sum() * tape.result.double()).expand(n, -1)
    anchors = {slot: x[slot].unsqueeze(1) for slot in tape.constant_slots}
    read = {0, tape.result.slot}.union(*(step.variables for step in tape.mixed_steps))
    others = {slot: b[slot].unsqueeze(0) for slot in read.difference(anchors)}
    steps = tape.mixed_steps
    if all(_is_affine_in_background(tape, step) for step in steps):
        # In float64, as what differs from the mean may be small beside it.
        others = {slot: _weighted_mean(value.double(), weights.double()) for slot, value in others.items()}
        anchors = {slot: value.double() for slot, value in anchors.items()}
        steps, weights = tuple(step.in_dtype(torch.float64) for step in steps), weights.sum().unsqueeze(0)
    pairs = max(1, size // max((x[step.slot][0].nbytes for step in tape.mixed_steps), default=1))
    width = min(len(weights), pairs)
    total = x[0].new_zeros(n, x[tape.result.slot].shape[1], dtype=torch.float64)
    for background in batches(len(weights), width):
        for rows in batches(n, max(1, pairs // width)):
            block = {slot: value[rows] for slot, value in anchors.items()}
            block |= {slot: value[:, background] for slot, value in others.items()}
            share = weights[background].double()
            scores = mixed_values(steps, block)[tape.result.slot].double()
            total[rows] += torch.einsum("nbk,b->nk", scores.expand(-1, len(share), -1), share)
    return total


def _weighted_mean(value: Tensor, weights: Tensor) -> Tensor:
    """(1, background, ...) -> (1, 1, ...)."""
    return torch.einsum("rb...,b->r...", value, weights / weights.sum()).unsqueeze(1)
