"""Attribution rules of the operators; ``terms`` describes the interface that all rules share."""

from collections.abc import Mapping, Sequence

import torch

import shapae.deepshap.rules.reductions  # noqa: F401 (it fills the table)
from shapae.deepshap.rules.elementwise import cast, is_square, power, rescale, two_player_shapley
from shapae.deepshap.rules.linear import INDEXING, PRODUCT_RULES, linear, mul
from shapae.deepshap.rules.path import integrated_gradients
from shapae.deepshap.rules.slopes import SLOPES
from shapae.deepshap.rules.terms import RULES, Rule
from shapae.deepshap.tracing.tape import Step, Tape, plain_name
from shapae.utils.torch_private import OpOverload, is_mutable


def rule_for(op: OpOverload, dtypes: Sequence[torch.dtype]) -> Rule | None:
    """Look up the rule of an operator with variable arguments of these dtypes; None if there is no rule."""
    name = plain_name(op)
    if is_mutable(op) or (name in INDEXING and not all(dtype.is_floating_point for dtype in dtypes)):
        return None
    if name in RULES:
        return RULES[name]
    elementwise = (
        torch.Tag.pointwise in op.tags or name in SLOPES
    )  # torch does not tag all of its elementwise operators
    return {1: rescale, 2: two_player_shapley}.get(len(dtypes)) if elementwise else None


def rule_of(step: Step) -> Rule:
    """Return the rule of a step on a tape: that of its operator, or else integrated gradients through it."""
    return rule_for(step.op, step.input_dtypes) or integrated_gradients


def steps_without_rule(tape: Tape) -> list[Step]:
    """List the steps whose output depends on the row, and whose operators have no rule."""
    steps = (step for step in tape.steps if step.slot not in tape.constant_slots)
    return [step for step in steps if rule_for(step.op, step.input_dtypes) is None]


def is_affine(step: Step) -> bool:
    """Check whether the output of a step is an affine function of its variables."""
    rule = rule_for(step.op, step.input_dtypes)
    return rule in {linear, cast} or (rule in PRODUCT_RULES and len(step.variables) == 1)


def is_quadratic(step: Step) -> bool:
    """Check whether a step is a product of its variables, or a square."""
    product = rule_for(step.op, step.input_dtypes) in PRODUCT_RULES and len(step.variables) > 1
    return product or is_square(step)


def is_nonlinearity(step: Step, shapes: Mapping[int, Sequence[int]]) -> bool:
    """Check whether a step applies a function to each element of one variable, and keeps its shape.

    Args:
        step: On a tape.
        shapes: Shapes of the values on the tape.
    """
    same_shape = len(set(step.variables)) == 1 and shapes[step.variables[0]] == shapes[step.slot]
    return same_shape and rule_for(step.op, step.input_dtypes) in {rescale, power, mul}


def keeps_broadcast(step: Step, constant: bool) -> bool:
    """Check whether the multipliers of the inputs of a step are no larger than those of its output.

    Args:
        step: On a tape.
        constant: Whether all pairs share the multipliers of the output.
    """
    return is_affine(step) or (is_quadratic(step) and constant)
