"""The rules of the native engine; ``terms`` says what they have in common."""

from collections.abc import Mapping, Sequence

import torch
from torch._ops import OpOverload

import shapae.deepshap.rules.reductions  # noqa: F401 (it fills the table)
from shapae.deepshap.rules.elementwise import cast, is_square, power, rescale, two_player_shapley
from shapae.deepshap.rules.linear import INDEXING, PRODUCTS, linear, mul
from shapae.deepshap.rules.slopes import SLOPES
from shapae.deepshap.rules.terms import RULES, Rule
from shapae.deepshap.tracing.tape import Step, plain_name


def rule_for(op: OpOverload, kinds: Sequence[torch.dtype]) -> Rule | None:
    """The rule of an operator with live arguments of these dtypes, if there is one."""
    name = plain_name(op)
    if op._schema.is_mutable or (name in INDEXING and not all(kind.is_floating_point for kind in kinds)):
        return None
    if name in RULES:
        return RULES[name]
    elementwise = torch.Tag.pointwise in op.tags or name in SLOPES  # not all of torch's are marked as such
    return {1: rescale, 2: two_player_shapley}.get(len(kinds)) if elementwise else None


def is_affine(step: Step) -> bool:
    """Whether a step gives an affine function of all that varies."""
    rule = rule_for(step.op, step.input_dtypes)
    return rule in {linear, cast} or (rule in PRODUCTS and len(step.live) == 1)


def is_nonlinearity(step: Step, shapes: Mapping[int, Sequence[int]]) -> bool:
    """Whether it gives a function of each number of one value, in the same shape.

    Args:
        step: On a tape.
        shapes: Of the values on the tape.
    """
    same = len(set(step.live)) == 1 and shapes[step.live[0]] == shapes[step.slot]
    return same and rule_for(step.op, step.input_dtypes) in {rescale, power, mul}


def keeps_broadcast(step: Step, constant: bool) -> bool:
    """Whether what a step passes back is no larger than what it is given: not one multiplier for each pair.

    Args:
        step: On a tape.
        constant: Whether what it is given is the same for all pairs.
    """
    square = rule_for(step.op, step.input_dtypes) in PRODUCTS or is_square(step)
    return is_affine(step) or (square and constant)
