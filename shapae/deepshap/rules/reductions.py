"""Rules of operators along axes: logsumexp, softmax and the maximum."""

from typing import Any

import torch
from torch import Tensor

from shapae.deepshap.rules.slopes import Pair, phi1, ratio
from shapae.deepshap.rules.terms import RULES, pairwise
from shapae.deepshap.tracing.tape import Step


@RULES.register("logsumexp")
@pairwise
def logsumexp(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """Apply the chain of the rules of log, sum and exp, without overflow."""
    _, dim, *keep = *step.args, *step.kwargs.values()
    m = m if any(keep) else _keep_dims(m, dim, x.x)
    return (m * _logsumexp_slope(x, dim),)


def _keep_dims(value: Tensor, dim: Any, like: Tensor) -> Tensor:
    """Restore the reduced axes ``dim`` of ``value`` with length 1; all axes if ``dim`` is empty or None."""
    axes = range(like.ndim) if dim in (None, [], ()) else [dim] if isinstance(dim, int) else dim
    shape = [1 if axis in {index % like.ndim for index in axes} else size for axis, size in enumerate(like.shape)]
    return value.reshape(shape)


def _logsumexp_slope(x: Pair, dim: Any) -> Tensor:
    """Divide the slope of exp(x) by the slope of exp(logsumexp(x)), without overflow.

    The largest values are taken apart from the sums. A sum as large as 1e5 is rounded, and its exponential multiplies
    this error; the differences x - largest are small, and the logarithms of their sums as well.
    """
    largest = x.map(lambda value: value.amax(dim, keepdim=True))
    rest = Pair(*map(torch.sub, x, largest)).map(torch.logsumexp, dim, True)
    rise = largest.delta + rest.delta
    high, high_rest = (torch.where(rise > 0, *each) for each in (largest, rest))
    slope = torch.exp(x.high - high - high_rest) * phi1(x.delta.abs()) / phi1(rise.abs())
    return slope.masked_fill(high == -torch.inf, 0)


@RULES.register("_log_softmax")
@pairwise
def log_softmax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """Treat the output as x - logsumexp(x)."""
    return (_log_softmax_multipliers(m, x, step.args[1]),)


def _log_softmax_multipliers(m: Tensor, x: Pair, dim: int) -> Tensor:
    return m - m.sum(dim, keepdim=True) * _logsumexp_slope(x, dim)


@RULES.register("_softmax")
@pairwise
def softmax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """Treat the output as exp(log_softmax(x)); exp(x) over a sum loses all precision where a sum is tiny."""
    logs = x.map(torch.log_softmax, step.args[1])
    inner = m * torch.exp(logs.high) * phi1(logs.delta.abs())
    return (_log_softmax_multipliers(inner.masked_fill(logs.high == -torch.inf, 0), x, step.args[1]),)


@RULES.register("amax")
@pairwise
def amax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """Compute the Shapley values of all candidates of the maximum, by sorting.

    The maximum is the integral, over all levels, of the indicator that some value lies above the level. At one level,
    p values rise above it with the row, and q values fall below it. In a random order of all players, the first of the
    p values counts if it comes after all q values. The last of the q values counts if it comes before all p values. No
    value counts if another value lies above the level in both rows.

    Reference:
        Lundberg and Lee, 2017, section 4.2, where the maximum is a component with known Shapley values
    """
    dims = step.args[1] if len(step.args) > 1 else ()
    axes = sorted({axis % x.x.ndim for axis in dims} or range(x.x.ndim))
    rest = [axis for axis in range(x.x.ndim) if axis not in axes]
    order = rest + axes
    flat = x.map(lambda value: value.permute(order).flatten(len(rest)))
    slopes = _max_shapley(flat) * m.reshape([x.x.shape[axis] for axis in rest] + [1])
    slopes = slopes.reshape([x.x.shape[axis] for axis in order])
    return (slopes.permute([order.index(axis) for axis in range(x.x.ndim)]),)


def _max_shapley(x: Pair) -> Tensor:
    """Compute the multipliers of the maximum over the last axis."""
    width = x.x.shape[-1]
    levels, order = torch.cat([x.x, x.b], dim=-1).sort(dim=-1)
    rises, starts = x.x > x.b, torch.cat([x.x <= x.b, x.x > x.b], dim=-1)
    rising = torch.cat([rises, rises], dim=-1)
    sign = torch.where(starts, 1.0, -1.0).to(levels)
    n_rising, n_falling = (_count_open(sign * mask, order) for mask in (rising, ~rising))
    n_above = width - _count_open(starts.to(levels), order)
    log_orders = torch.lgamma(n_rising + n_falling + 1)
    up = torch.exp(torch.lgamma(n_falling + 1) + torch.lgamma(n_rising) - log_orders)
    down = torch.exp(torch.lgamma(n_rising + 1) + torch.lgamma(n_falling) - log_orders)
    gaps = levels.diff(dim=-1)
    integrals = [
        torch.nn.functional.pad(torch.where((n_above > 0) | (count == 0), 0, weight * gaps).cumsum(-1), (1, 0))
        for weight, count in ((up, n_rising), (down, n_falling))
    ]
    ranks = order.argsort(dim=-1)
    rank_x, rank_b = ranks[..., :width], ranks[..., width:]
    rise, fall = (integral.gather(-1, rank_x) - integral.gather(-1, rank_b) for integral in integrals)
    largest = [value == value.amax(-1, keepdim=True) for value in x]
    derivative = sum(mask / mask.sum(-1, keepdim=True) for mask in largest) / 2
    return ratio(torch.where(rises, rise, fall), x.delta, derivative)


def _count_open(events: Tensor, order: Tensor) -> Tensor:
    """Count the open intervals in each gap of the sorted levels; an event of 1 opens an interval, -1 closes it."""
    return events.gather(-1, order).cumsum(-1)[..., :-1]
