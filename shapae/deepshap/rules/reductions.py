"""Operators along axes: logsumexp, softmax, the largest value."""

from typing import Any

import torch
from torch import Tensor

from shapae.deepshap.rules.slopes import Pair, phi1, ratio
from shapae.deepshap.rules.terms import RULES, pairwise
from shapae.deepshap.tracing.tape import Step


@RULES.register("logsumexp")
@pairwise
def logsumexp(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """log(sum(exp(x))), as a chain of log, sum and exp, without any of them."""
    _, dim, *keep = *step.args, *step.kwargs.values()
    if not any(keep):
        m, out = _keep_dims(m, dim, x.x), out.each(_keep_dims, dim, x.x)
    return (m * _shares(x, out),)


def _keep_dims(value: Tensor, dim: Any, like: Tensor) -> Tensor:
    """``value`` with the axes ``dim`` that were reduced, of length 1; all axes if there are none."""
    axes = range(like.ndim) if dim in (None, [], ()) else [dim] if isinstance(dim, int) else dim
    shape = [1 if axis in {each % like.ndim for each in axes} else size for axis, size in enumerate(like.shape)]
    return value.reshape(shape)


def _shares(x: Pair, sums: Pair) -> Tensor:
    """Slope of exp(x) over slope of exp(sums), without overflow since no x is more than its logsumexp."""
    shares = torch.exp(x.high - sums.high) * phi1(x.delta.abs()) / phi1(sums.delta.abs())
    return shares.masked_fill(sums.high == -torch.inf, 0)


@RULES.register("_log_softmax")
@pairwise
def log_softmax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """x - logsumexp(x)."""
    return (_centred(m, x, step.args[1]),)


def _centred(m: Tensor, x: Pair, dim: int) -> Tensor:
    return m - m.sum(dim, keepdim=True) * _shares(x, x.each(torch.logsumexp, dim, True))


@RULES.register("_softmax")
@pairwise
def softmax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """exp(log_softmax(x)); as exp(x) over a sum it would lose everything where one of the sums is tiny."""
    logs = x.each(torch.log_softmax, step.args[1])
    inner = m * torch.exp(logs.high) * phi1(logs.delta.abs())
    return (_centred(inner.masked_fill(logs.high == -torch.inf, 0), x, step.args[1]),)


@RULES.register("amax")
@pairwise
def amax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """The largest value: the Shapley values of all of them, by sorting.

    The maximum is the integral over all levels of whether some value lies above. At one level, of the p values that
    rise above it with the row and the q that fall below it, the first of the p counts if it comes after all of the q
    and the last of the q counts if it comes before all of the p; none counts if another is above anyway.

    Reference:
        Lundberg and Lee, 2017, section 4.2, where the maximum is a part whose Shapley values are known
    """
    wanted = step.args[1] if len(step.args) > 1 else ()
    axes = sorted({axis % x.x.ndim for axis in wanted} or range(x.x.ndim))
    rest = [axis for axis in range(x.x.ndim) if axis not in axes]
    order = rest + axes
    flat = x.each(lambda value: value.permute(order).flatten(len(rest)))
    slopes = _max_shapley(flat) * m.reshape([x.x.shape[axis] for axis in rest] + [1])
    back = slopes.reshape([x.x.shape[axis] for axis in order]).permute([order.index(axis) for axis in range(x.x.ndim)])
    return (back,)


def _max_shapley(x: Pair) -> Tensor:
    """Multipliers of the maximum over the last axis."""
    width = x.x.shape[-1]
    levels, order = torch.cat([x.x, x.b], dim=-1).sort(dim=-1)
    rises, starts = x.x > x.b, torch.cat([x.x <= x.b, x.x > x.b], dim=-1)
    rising = torch.cat([rises, rises], dim=-1)
    sign = torch.where(starts, 1.0, -1.0).to(levels)
    opened, closed = (_count_open(sign * each, order) for each in (rising, ~rising))
    above = width - _count_open(starts.to(levels), order)
    both = torch.lgamma(opened + closed + 1)
    up = torch.exp(torch.lgamma(closed + 1) + torch.lgamma(opened) - both)
    down = torch.exp(torch.lgamma(opened + 1) + torch.lgamma(closed) - both)
    gaps = levels.diff(dim=-1)
    integrals = [
        torch.nn.functional.pad(torch.where((above > 0) | (count == 0), 0, weight * gaps).cumsum(-1), (1, 0))
        for weight, count in ((up, opened), (down, closed))
    ]
    places = order.argsort(dim=-1)
    at_x, at_b = places[..., :width], places[..., width:]
    risen, fallen = (each.gather(-1, at_x) - each.gather(-1, at_b) for each in integrals)
    largest = [value == value.amax(-1, keepdim=True) for value in x]
    each = sum(mask / mask.sum(-1, keepdim=True) for mask in largest) / 2
    return ratio(torch.where(rises, risen, fallen), x.delta, each)


def _count_open(events: Tensor, order: Tensor) -> Tensor:
    """How many are open in each gap between the sorted levels."""
    return events.gather(-1, order).cumsum(-1)[..., :-1]
