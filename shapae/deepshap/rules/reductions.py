"""Rules of operators along axes: logsumexp, softmax, the maximum and other values of an order."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from shapae.deepshap.rules.slopes import Pair, phi1, ratio
from shapae.deepshap.rules.terms import RULES, pairwise
from shapae.deepshap.tracing.tape import Step
from shapae.errors import UnsupportedOperator


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
    """Compute the Shapley values of all candidates of the maximum; see ``_order_slopes``."""
    return (_order_multipliers(m, x, step.args[1] if len(step.args) > 1 else (), 1),)


@RULES.register("kthvalue")
@pairwise
def kthvalue(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """Compute the Shapley values of all candidates of the k-th smallest value; see ``_order_slopes``.

    Raises:
        UnsupportedOperator: The position of this value influences the scores.
    """
    if step.output_index:  # its position
        raise UnsupportedOperator([f"{step.op} in {step.place}"])
    dim = step.args[2] if len(step.args) > 2 else -1
    return (_order_multipliers(m, x, [dim], x.x.shape[dim] + 1 - step.args[1]),)


def _order_multipliers(m: Tensor, x: Pair, dims: Sequence[int], rank: int) -> Tensor:
    """Compute the multipliers of the ``rank``-th largest value over ``dims``; over all axes if there are none."""
    axes = sorted({axis % x.x.ndim for axis in dims} or range(x.x.ndim))
    rest = [axis for axis in range(x.x.ndim) if axis not in axes]
    order = rest + axes
    flat = x.map(lambda value: value.permute(order).flatten(len(rest)))
    slopes = _order_slopes(flat, rank) * m.reshape([x.x.shape[axis] for axis in rest] + [1])
    slopes = slopes.reshape([x.x.shape[axis] for axis in order])
    return slopes.permute([order.index(axis) for axis in range(x.x.ndim)])


def _order_slopes(x: Pair, rank: int) -> Tensor:
    """Compute the Shapley values of the ``rank``-th largest value over the last axis, divided by the differences.

    The value is the integral, over all levels, of the indicator that at least ``rank`` values lie above the level. At
    one level, p values rise above it with the row, and q values fall below it. In a random order of all players, a
    value that rises counts if ``rank`` - 1 values lie above the level at its turn, a value that falls if ``rank`` do.

    Reference:
        Lundberg and Lee, 2017, section 4.2, where the maximum is a component with known Shapley values
    """
    width = x.x.shape[-1]
    if 2 * rank > width + 1:
        return _order_slopes(x.map(torch.neg), width + 1 - rank)
    levels, order = torch.cat([x.x, x.b], dim=-1).sort(dim=-1)
    rises, starts = x.x > x.b, torch.cat([x.x <= x.b, x.x > x.b], dim=-1)
    rising = torch.cat([rises, rises], dim=-1)
    sign = torch.where(starts, 1, -1)
    n_rising, n_falling = (_count_open(sign * mask, order) for mask in (rising, ~rising))
    n_before = width - _count_open(starts.long(), order) + n_falling  # values above the level in the background row
    up = reduce(add, (_probability(n_rising, n_falling, u, n_before + u - rank + 1, width) for u in range(rank)))
    down = reduce(add, (_probability(n_falling, n_rising, n_before + u - rank, u, width) for u in range(rank)))
    gaps = levels.diff(dim=-1)
    integrals = [
        torch.nn.functional.pad(torch.where(weight == 0, 0, weight.to(gaps) * gaps).cumsum(-1), (1, 0))
        for weight in (up, down)
    ]
    ranks = order.argsort(dim=-1)
    rank_x, rank_b = ranks[..., :width], ranks[..., width:]
    rise, fall = (integral.gather(-1, rank_x) - integral.gather(-1, rank_b) for integral in integrals)
    chosen = [value == value.topk(rank, -1).values[..., -1:] for value in x]
    derivative = sum(mask / mask.sum(-1, keepdim=True) for mask in chosen) / 2
    return ratio(torch.where(rises, rise, fall), x.delta, derivative)


def _count_open(events: Tensor, order: Tensor) -> Tensor:
    """Count the open intervals in each gap of the sorted levels; an event of 1 opens an interval, -1 closes it."""
    return events.gather(-1, order).cumsum(-1)[..., :-1]


def _probability(n_own: Tensor, n_others: Tensor, own: Any, others: Any, width: int) -> Tensor:
    """Compute the probability that, in a random order, certain numbers of players come before a given player.

    Args:
        n_own: Number of players of the same kind, with the given player.
        n_others: Number of players of the other kind.
        own: How many of the same kind come before.
        others: How many of the other kind come before.
        width: At least the number of all players.
    """
    table = torch.lgamma(torch.arange(1, width + 2, dtype=torch.float64, device=n_own.device))
    own, others = (torch.as_tensor(each, device=n_own.device) for each in (own, others))
    own_after, others_after = n_own - 1 - own, n_others - others
    possible = (own >= 0) & (own_after >= 0) & (others >= 0) & (others_after >= 0)
    counts = (n_own - 1, n_others, own + others, own_after + others_after)
    divisors = (own, own_after, others, others_after, n_own + n_others)
    numerator, denominator = (
        reduce(add, (table[count.clamp(0, width)] for count in each)) for each in (counts, divisors)
    )
    return torch.exp(numerator - denominator).masked_fill(~possible, 0)
