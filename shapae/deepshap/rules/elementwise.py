"""Elementwise operators, of one value or of two, and choices between values."""

from collections.abc import Callable
from functools import partial, reduce
from operator import add

import torch
from torch import Tensor

from shapae.deepshap.rules.linear import linear
from shapae.deepshap.rules.slopes import SLOPES, Pair, ratio
from shapae.deepshap.rules.terms import RULES, Terms, at_midpoint, elementwise
from shapae.deepshap.tracing.tape import Step, Variable
from shapae.errors import ModelError


@elementwise
def rescale(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """y = f(x), elementwise: the slope between row and background row.

    Reference:
        Shrikumar et al., 2017, section 3.5.1, https://arxiv.org/abs/1704.02685
    """
    if step.name in SLOPES and isinstance(step.args[0], Variable):
        args, kwargs = step.filled([x])
        return (m * SLOPES[step.name](*args, **kwargs),)
    return (m * _slope(step.run, out, x),)


def _slope(function: Callable[[Tensor], Tensor], out: Pair, x: Pair) -> Tensor:
    """The secant; or the mean derivative, by Simpson's rule, where both agree up to rounding: it does not cancel.

    So there is no threshold at which a kink or a jump could be missed.
    """

    def derivative(at: Tensor) -> Tensor:
        value, back, *_ = torch.func.vjp(function, at)
        slope: Tensor = back(torch.ones_like(value))[0]
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
    """y = f(a, b), elementwise: the Shapley values of the two arguments.

    These are the slopes of each with the other held still, averaged over both values of the other.
    """

    def run(*values: Tensor) -> Tensor:
        return step.run(*values).to(m.dtype)

    def slope(section: Callable[..., Tensor], x: Pair, others: Pair) -> Tensor:
        functions = [partial(section, other) for other in others]
        return reduce(add, (_slope(function, x.each(function), x) for function in functions)) / 2

    return m * slope(lambda still, value: run(value, still), a, b), m * slope(run, b, a)


def is_square(step: Step) -> bool:
    """Whether a power is x ** 2."""
    return step.name == "pow" and len(step.live) == 1 and isinstance(step.args[1], int | float) and step.args[1] == 2


@RULES.register("pow")
def power(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """x ** 2 is x * x; others are elementwise."""
    if is_square(step):
        return at_midpoint(lambda m, x: (2 * m * x,), terms, live)
    return (rescale if len(live) == 1 else two_player_shapley)(step, terms, out, live)


@RULES.register("_to")
def cast(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """Another dtype: the same number, or a whole one."""
    return (linear if step.dtype.is_floating_point else rescale)(step, terms, out, live)


@RULES.register("where")
def where(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """c a + (1 - c) b: linear if the condition is the same for all rows, else a product."""
    return (_where if isinstance(step.args[0], Variable) else linear)(step, terms, out, live)


@elementwise
def _where(step: Step, m: Tensor, out: Pair, *live: Pair) -> tuple[Tensor, ...]:
    (condition, a, b), _ = step.filled(live)
    a, b = (each if isinstance(each, Pair) else Pair(each, each) for each in (a, b))
    choice = (m * (a.middle - b.middle)).masked_fill(condition.delta == 0, 0)
    parts = (choice, m * condition.middle, m * (1 - condition.middle))
    return tuple(part for part, arg in zip(parts, step.args, strict=True) if isinstance(arg, Variable))


@RULES.register("any", "all", "argmax", "argmin", "bucketize", "searchsorted")
def piecewise_constant(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """What jumps has no multiplier; it needs none where it is the same for row and background row.

    Raises:
        ModelError: It differs.
    """
    if (out.x != out.b).any():
        raise ModelError(
            f"{step.op} in {step.place} gives something else for a row than for a background row. It jumps, so it has "
            f"no multiplier; use backend='gradient', which takes it for a constant, or 'exact'."
        )
    return [[torch.zeros_like(value.x[:, :1])] for value in live]
