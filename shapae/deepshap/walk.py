"""From the scores back to one multiplier for each pair and feature, many pairs at a time."""

from collections.abc import Callable
from functools import reduce
from operator import add

import torch
from torch import Tensor

from shapae.deepshap.rules import rule_for
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import Terms, merged, total
from shapae.deepshap.tape import Live, Step, Tape, Values
from shapae.errors import ModelError
from shapae.moments import Moments, joined

# Bytes of the widest value for the pairs that are walked over at once, so that a few such values fit into a cache.
BLOCK = 2**23


def averaged(tape: Tape, x: Values, b: Values) -> Moments:
    """The values and their spread over the background, (n, d, k).

    Args:
        tape: Of the function.
        x: Values of the rows on the tape, from ``replay``.
        b: Values of the background rows.
    """
    k, tape = tape.scores(x).shape[1], tape.in_dtype(x[0].dtype)
    pairs = max(1, BLOCK // max(value[0].nbytes for value in x.values()))
    width = min(len(b[0]), pairs)
    outputs = min(k, max(1, pairs // width))
    height = max(1, pairs // (width * outputs))
    seeds, background = torch.split(torch.eye(k).to(x[0]), outputs), _cut(b, width)
    blocks = (joined([_against(tape, some, background, seed) for seed in seeds], axis=2) for some in _cut(x, height))
    return joined(list(blocks), axis=0)


def _cut(values: Values, size: int) -> list[Values]:
    starts = range(0, len(values[0]), size)
    return [{slot: value[start : start + size] for slot, value in values.items()} for start in starts]


def _against(tape: Tape, x: Values, background: list[Values], seed: Tensor) -> Moments:
    return reduce(add, (_of_block(tape, x, b, seed) for b in background))


def _of_block(tape: Tape, x: Values, b: Values, seed: Tensor) -> Moments:
    m = total(multipliers(tape, x, b, seed))
    values = m * (x[0].unsqueeze(1) - b[0])
    mean = values.mean(dim=2)
    if not torch.isfinite(mean).all():
        multipliers(tape, x, b, seed, watch=_refuse_infinite)
    spread = (values - mean.unsqueeze(2)).square_().sum(dim=2)
    return Moments(len(b[0]), *(each.permute(1, 2, 0).cpu().numpy() for each in (mean, spread)))


def multipliers(
    tape: Tape, x: Values, b: Values, seed: Tensor, *, watch: Callable[[Step, list[Terms]], None] | None = None
) -> Terms:
    """Multipliers of the features, in terms of (outputs, rows, background, d).

    Args:
        tape: Of the function.
        x: Values of the rows on the tape.
        b: Values of the background rows.
        seed: (outputs, k), the multipliers of the scores.
        watch: Called with each step and the multipliers of its arguments.
    """
    at: dict[int, Terms] = {0: []}
    if isinstance(tape.result, Live):
        at[tape.result.slot] = [seed[:, None, None]]

    def pair(slot: int) -> Pair:
        return Pair(x[slot][None, :, None], b[slot][None, None])

    for step in reversed(tape.steps):
        terms, rule = at.pop(step.slot, None), rule_for(step.op, step.kinds)
        if terms is None or rule is None:  # without influence on the scores
            continue
        parts = rule(step, terms, pair(step.slot), [pair(slot) for slot in step.live])
        if watch:
            watch(step, parts)
        for slot, part in zip(step.live, parts, strict=True):
            at[slot] = merged(at.get(slot, []) + part)
    return at[0] or [seed.new_zeros(len(seed), 1, 1, 1)]


def _refuse_infinite(step: Step, parts: list[Terms]) -> None:
    if not all(torch.isfinite(term).all() for terms in parts for term in terms):
        raise ModelError(
            f"the scores are finite, but the multipliers of {step.op} in {step.place} are not: some values are "
            f"infinite or NaN, and left out later, or overflow between a row and a background row. Prevent them where "
            f"they arise (clamp before a log, not after it), or use backend='gradient'."
        )
