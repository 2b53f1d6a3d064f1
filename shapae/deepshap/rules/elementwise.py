"""Rules of elementwise operators with one or two variables, and of choices between values."""

from collections.abc import Callable
from functools import partial, reduce
from operator import add

import torch
from torch import Tensor

from shapae.deepshap.rules.linear import linear
from shapae.deepshap.rules.slopes import SLOPES, Pair, ratio
from shapae.deepshap.rules.terms import RULES, Terms, at_midpoint, elementwise
from shapae.deepshap.tracing.tape import Step, Variable
from shapae.errors import WITHOUT_GRADIENTS, ModelError


@elementwise
def rescale(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """Apply the rescale rule to y = f(x), elementwise: multiply by the slope between row and background row.

    Reference:
        Shrikumar et al., 2017, section 3.5.1, https://arxiv.org/abs/1704.02685
    """
    if step.name in SLOPES and isinstance(step.args[0], Variable):
        args, kwargs = step.fill([x])
        return (m * SLOPES[step.name](*args, **kwargs),)
    return (m * _slope(step.run, out, x),)


def _slope(function: Callable[[Tensor], Tensor], out: Pair, x: Pair) -> Tensor:
    """Compute the secant, or the mean derivative by Simpson's rule where the two agree up to rounding.

    The mean derivative has no cancellation. No threshold is used, which could miss a kink or a jump.
    """

    def derivative(value: Tensor) -> Tensor:
        out, vjp, *_ = torch.func.vjp(function, value)
        slope: Tensor = vjp(torch.ones_like(out))[0]
        return slope

    secant = ratio(out.delta, x.delta, 0.0)
    try:
        mean = (derivative(x.x) + 4 * derivative(x.middle) + derivative(x.b)) / 6
    except RuntimeError:  # truth values, and functions whose derivative torch does not know
        return secant
    rounding = out.x.abs() + out.b.abs() + mean.abs() * (x.x.abs() + x.b.abs())
    agree = mean.isfinite() & ((mean * x.delta - out.delta).abs() <= 4 * torch.finfo(mean.dtype).eps * rounding)
    return torch.where(agree, mean, secant)


@elementwise
def two_player_shapley(step: Step, m: Tensor, out: Pair, a: Pair, b: Pair) -> tuple[Tensor, Tensor]:
    """Compute the Shapley values of the two arguments of y = f(a, b), elementwise.

    Each multiplier is the slope in one argument, averaged over both values of the other argument.
    """

    def run(*values: Tensor) -> Tensor:
        return step.run(*values).to(m.dtype)

    def slope(section: Callable[..., Tensor], x: Pair, others: Pair) -> Tensor:
        functions = [partial(section, other) for other in others]
        return reduce(add, (_slope(function, x.map(function), x) for function in functions)) / 2

    return m * slope(lambda fixed, value: run(value, fixed), a, b), m * slope(run, b, a)


def is_square(step: Step) -> bool:
    """Check whether a step computes x ** 2."""
    return (
        step.name == "pow" and len(step.variables) == 1 and isinstance(step.args[1], int | float) and step.args[1] == 2
    )


@RULES.register("pow")
def power(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
    """Treat x ** 2 as x * x, and other powers as elementwise functions."""
    if is_square(step):
        return at_midpoint(lambda m, x: (2 * m * x,), terms, inputs, apply=lambda square, *values: square(*values))
    return (rescale if len(inputs) == 1 else two_player_shapley)(step, terms, out, inputs)


@RULES.register("_to")
def cast(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
    """Treat a cast to floating point as linear, and a cast to integers or truth values as a step function."""
    return (linear if step.dtype.is_floating_point else rescale)(step, terms, out, inputs)


@RULES.register("where")
def where(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
    """Treat c a + (1 - c) b as linear if the condition c is the same for all rows, else as a product."""
    return (_where_product if isinstance(step.args[0], Variable) else linear)(step, terms, out, inputs)


@elementwise
def _where_product(step: Step, m: Tensor, out: Pair, *inputs: Pair) -> tuple[Tensor, ...]:
    (condition, a, b), _ = step.fill(inputs)
    a, b = (value if isinstance(value, Pair) else Pair(value, value) for value in (a, b))
    condition_part = (m * (a.middle - b.middle)).masked_fill(condition.delta == 0, 0)
    parts = (condition_part, m * condition.middle, m * (1 - condition.middle))
    return tuple(part for part, arg in zip(parts, step.args, strict=True) if isinstance(arg, Variable))


@RULES.register("any", "all", "argmax", "argmin", "bucketize", "searchsorted")
def piecewise_constant(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
    """Return multipliers of 0, if the output is the same for row and background row.

    Raises:
        ModelError: The outputs differ. The function jumps between them, so that it has no multiplier.
    """
    if (out.x != out.b).any():
        raise ModelError(
            f"{step.op} in {step.place} returns different values for a row and a background row. It is piecewise "
            f"constant, so it has no multiplier. Use {WITHOUT_GRADIENTS}."
        )
    return [[torch.zeros_like(value.x[:, :1])] for value in inputs]
