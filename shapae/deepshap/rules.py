"""One rule for each operator: from the multipliers of what it gives to those of what it takes.

For a row and a background row, y = f(u, v, ...) passes its multipliers m_y back so that
m_u (u_x - u_b) + m_v (v_x - v_b) + ... = m_y (y_x - y_b).

A multiplier is a sum of *terms*, each as small as it can be: the leading axes (outputs, rows, background) of a term have
length 1 where it does not depend on them. Rules are written for one output, one row and one background row, without
these axes; ``carry`` takes them through.

References:
    Shrikumar et al., 2017, https://arxiv.org/abs/1704.02685 (multipliers, rescale rule)
    Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874 (Shapley values of the parts)
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import chain
from operator import add
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_map

from shapae.deepshap.slopes import SLOPES, Pair, fading, ratio
from shapae.deepshap.tape import Live, Step, plain_name
from shapae.errors import UnsupportedOperator
from shapae.table import Table

Terms = list[Tensor]
Rule = Callable[[Step, Terms, Pair, list[Pair]], list[Terms]]
RULES: Table[Rule] = Table("operator with a rule")
LEADING = 3


def rule_for(op: OpOverload, kinds: Sequence[torch.dtype]) -> Rule | None:
    """The rule of an operator with live arguments of these dtypes, if there is one."""
    name = plain_name(op)
    if op._schema.is_mutable or (name in INDEXING and not all(kind.is_floating_point for kind in kinds)):
        return None
    if name in RULES:
        return RULES[name]
    return {1: rescale, 2: duel}.get(len(kinds)) if torch.Tag.pointwise in op.tags else None


def carry(function: Callable[..., Any], *tensors: Tensor, axes: int = LEADING) -> Any:
    """``function`` of single values, for all outputs, rows and background rows.

    Args:
        function: From tensors to tensors, without the leading axes.
        tensors: With the leading axes, of length 1 where the tensor is the same for all.
        axes: How many leading axes there are.

    Returns:
        What ``function`` gives, with the leading axes, of length 1 where all ``tensors`` have length 1.
    """
    if axes == 0:
        return function(*tensors)
    many = [len(tensor) > 1 for tensor in tensors]
    inner = partial(carry, function, axes=axes - 1)
    tensors = tuple(tensor if each else tensor[0] for tensor, each in zip(tensors, many, strict=True))
    if any(many):
        return torch.vmap(inner, in_dims=tuple(0 if each else None for each in many))(*tensors)
    return tree_map(lambda out: out.unsqueeze(0), inner(*tensors))


def total(terms: Terms) -> Tensor:
    """The multiplier itself."""
    return reduce(add, sorted(terms, key=Tensor.numel))


def merged(terms: Terms) -> Terms:
    """Terms of the same shape added up."""
    shapes = dict.fromkeys(term.shape for term in terms)
    return [reduce(add, (term for term in terms if term.shape == shape)) for shape in shapes]


def fit(m: Tensor, value: Tensor) -> Tensor:
    """The multiplier of ``value`` itself, from that of what it was broadcast to."""
    return m.sum_to_size(value.shape)


# Linear and quadratic operators


def linear(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """A linear operator: its transpose. Truth values and counts are numbers, too."""
    back = torch.func.vjp(step.run_as_is, *(torch.zeros_like(value.x[0, 0, 0]) for value in live))[1]
    return _by_value(carry(back, m) for m in terms)


LINEAR = (
    *("add", "sub", "neg", "sum", "mean", "cumsum", "trace"),
    *(
        "view",
        "_unsafe_view",
        "reshape",
        "_reshape_alias",
        "unsqueeze",
        "squeeze",
        "expand",
        "permute",
        "t",
        "transpose",
    ),
    *("cat", "stack", "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "tensor_split", "unbind"),
    *("select", "slice", "narrow", "diagonal", "unfold", "as_strided", "tril", "triu", "flip", "roll", "repeat"),
    *("slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter"),
    *("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d"),
    *("im2col", "col2im", "pixel_shuffle", "pixel_unshuffle"),
)
# Linear, if where they read or write is the same for all rows.
INDEXING = (
    *("index", "_unsafe_index", "index_select", "gather", "embedding", "scatter", "scatter_add"),
    *("index_put", "_unsafe_index_put", "index_add", "index_copy"),
)
RULES.enter(*LINEAR, *INDEXING)(linear)


@RULES.enter("_to")
def cast(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """Another dtype: the same number, or a whole one."""
    return (linear if step.kind.is_floating_point else rescale)(step, terms, out, live)


def _by_value(parts: Any) -> list[Terms]:
    """From the multipliers of all values, one tuple for each term, to the terms of each value."""
    return [list(terms) for terms in zip(*parts, strict=True)]


def half_way(function: Callable[..., Any], terms: Terms, live: list[Pair]) -> list[Terms]:
    """``function`` (m, *values) of the values half way between row and background row.

    It must be linear in m and affine in the values, as the gradient of a quadratic operator is. Then a term that is
    the same for all rows, or for all background rows, becomes two that are smaller than (rows x background).
    """
    parts = []
    for m in terms:
        if m.shape[1] > 1 and m.shape[2] > 1:
            parts.append(carry(function, m, *(value.middle for value in live)))
        else:
            parts += [carry(function, m / 2, *values) for values in zip(*live, strict=True)]
    return _by_value(parts)


def bilinear(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """A product: each factor meets the middle of the other, the two-player Shapley value."""
    if len(live) == 1:
        return linear(step, terms, out, live)
    return half_way(lambda m, *values: torch.func.vjp(step.run, *values)[1](m), terms, live)


BILINEAR = ("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "convolution")
RULES.enter(*BILINEAR)(bilinear)


@RULES.enter("mul")
def mul(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """a * b, see ``bilinear``; truth values may be among them."""

    def back(m: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        (a, b), _ = step.filled(values)
        parts = ((m * b, a), (m * a, b))
        return tuple(fit(*part) for part, arg in zip(parts, step.args, strict=True) if isinstance(arg, Live))

    if len(live) == 1:
        anything = torch.zeros_like(live[0].x[:1, :1, :1])
        return _by_value(carry(back, m, anything) for m in terms)
    return half_way(back, terms, live)


@RULES.enter("pow")
def power(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """x ** 2 is x * x; others are elementwise."""
    if len(live) == 1 and isinstance(step.args[1], int | float) and step.args[1] == 2:
        return half_way(lambda m, x: (2 * m * x,), terms, live)
    return (rescale if len(live) == 1 else duel)(step, terms, out, live)


# Elementwise operators


def pairwise(function: Callable[..., Any]) -> Rule:
    """A rule from a function (step, m, out, *live) -> multipliers, which is given pairs of single values."""

    def rule(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
        def single(m: Tensor, *values: Tensor) -> Any:
            pairs = [Pair(*pair) for pair in zip(values[::2], values[1::2], strict=True)]
            return function(step, m, *pairs)

        return _by_value([carry(single, total(terms), *out, *chain(*live))])

    return rule


@pairwise
def rescale(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """y = f(x), elementwise: the slope between row and background row.

    Reference:
        Shrikumar et al., 2017, section 3.5.1, https://arxiv.org/abs/1704.02685
    """
    if step.name in SLOPES and isinstance(step.args[0], Live):
        args, kwargs = step.filled([x])
        return (m * SLOPES[step.name](*args, **kwargs),)
    return (m * _slope(step, out, x),)


def _slope(step: Step, out: Pair, x: Pair) -> Tensor:
    """The secant; or the mean derivative, by Simpson's rule, where both agree up to rounding, because it is smooth there.

    So there is no threshold at which a kink or a jump could be missed.
    """
    secant = ratio(out.delta, x.delta, 0.0)
    if not (step.kind.is_floating_point and step.kinds[0].is_floating_point):
        return secant

    def derivative(at: Tensor) -> Tensor:
        value, back = torch.func.vjp(step.run, at)
        (slope,) = back(torch.ones_like(value))
        return slope

    mean = (derivative(x.x) + 4 * derivative(x.middle) + derivative(x.b)) / 6
    rounding = out.x.abs() + out.b.abs() + mean.abs() * (x.x.abs() + x.b.abs())
    agree = (mean * x.delta - out.delta).abs() <= 4 * torch.finfo(mean.dtype).eps * rounding
    return torch.where(agree, mean, secant)


@pairwise
def duel(step: Step, m: Tensor, out: Pair, a: Pair, b: Pair) -> tuple[Tensor, Tensor]:
    """y = f(a, b), elementwise: the Shapley values of the two arguments."""

    def run(*values: Tensor) -> Tensor:
        return step.run(*values).to(m.dtype)

    only_a, only_b = run(a.x, b.b), run(a.b, b.x)
    of_a, of_b = (only_a - out.b + out.x - only_b) / 2, (only_b - out.b + out.x - only_a) / 2
    return fit(m * ratio(of_a, a.delta, 0.0), a.x), fit(m * ratio(of_b, b.delta, 0.0), b.x)


@RULES.enter("where")
def where(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """c a + (1 - c) b: linear if the condition is the same for all rows, else a product."""
    return (_where if isinstance(step.args[0], Live) else linear)(step, terms, out, live)


@pairwise
def _where(step: Step, m: Tensor, out: Pair, *live: Pair) -> tuple[Tensor, ...]:
    (condition, a, b), _ = step.filled(live)
    a, b = (each if isinstance(each, Pair) else Pair(each, each) for each in (a, b))
    choice = (m * (a.middle - b.middle)).masked_fill(condition.delta == 0, 0)
    parts = (choice, m * condition.middle, m * (1 - condition.middle))
    wanted = [part for part, arg in zip(parts, step.args, strict=True) if isinstance(arg, Live)]
    return tuple(fit(part, value.x) for part, value in zip(wanted, live, strict=True))


@RULES.enter("any", "all", "argmax", "argmin", "bucketize", "searchsorted")
def discrete(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """What jumps has no multiplier; it needs none where it is the same for row and background row.

    Raises:
        UnsupportedOperator: It differs.
    """
    if (out.x != out.b).any():
        raise UnsupportedOperator([f"{step.op} in {step.place}, which differs between rows"])
    return [[torch.zeros_like(value.x[:, :1])] for value in live]


# Along an axis


@RULES.enter("logsumexp")
@pairwise
def logsumexp(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """log(sum(exp(x))), as a chain of log, sum and exp, without any of them."""
    _, dim, *keep = *step.args, *step.kwargs.values()
    if not any(keep):
        m, out = _restored(m, dim, x.x), out.each(_restored, dim, x.x)
    return (m * _shares(x, out),)


def _restored(value: Tensor, dim: Any, like: Tensor) -> Tensor:
    """``value`` with the axes ``dim`` that were reduced, of length 1; all axes if there are none."""
    axes = range(like.ndim) if dim in (None, [], ()) else [dim] if isinstance(dim, int) else dim
    shape = [1 if axis in {each % like.ndim for each in axes} else size for axis, size in enumerate(like.shape)]
    return value.reshape(shape)


def _shares(x: Pair, sums: Pair) -> Tensor:
    """Slope of exp(x) over slope of exp(sums), without overflow since no x is more than its logsumexp."""
    shares = torch.exp(x.high - sums.high) * fading(x.delta.abs()) / fading(sums.delta.abs())
    return shares.masked_fill(sums.high == -torch.inf, 0)


@RULES.enter("_log_softmax")
@pairwise
def log_softmax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """x - logsumexp(x)."""
    return (_centred(m, x, step.args[1]),)


def _centred(m: Tensor, x: Pair, dim: int) -> Tensor:
    return m - m.sum(dim, keepdim=True) * _shares(x, x.each(torch.logsumexp, dim, True))


@RULES.enter("_softmax")
@pairwise
def softmax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """exp(log_softmax(x)); as exp(x) over a sum it would lose everything where one of the sums is tiny."""
    logs = x.each(torch.log_softmax, step.args[1])
    inner = m * torch.exp(logs.high) * fading(logs.delta.abs())
    return (_centred(inner.masked_fill(logs.high == -torch.inf, 0), x, step.args[1]),)


@RULES.enter("amax")
@pairwise
def amax(step: Step, m: Tensor, out: Pair, x: Pair) -> tuple[Tensor]:
    """The largest value: the Shapley values of all of them, by sorting.

    The maximum is the integral over all levels of whether some value lies above. At one level, of the p values that rise
    above it with the row and the q that fall below it, the first of the p counts if it comes after all of the q and
    the last of the q counts if it comes before all of the p; none counts if another is above anyway.

    Reference:
        Lundberg and Lee, 2017, section 4.2, where the maximum is a part whose Shapley values are known
    """
    _, dim, keep = (*step.args, *((), False)[len(step.args) - 1 :])
    axes = sorted({axis % x.x.ndim for axis in dim} or range(x.x.ndim))
    rest = [axis for axis in range(x.x.ndim) if axis not in axes]
    order = rest + axes
    flat = x.each(lambda value: value.permute(order).flatten(len(rest)))
    slopes = _shares_of_largest(flat) * m.reshape([x.x.shape[axis] for axis in rest] + [1])
    back = slopes.reshape([x.x.shape[axis] for axis in order]).permute([order.index(axis) for axis in range(x.x.ndim)])
    return (back,)


def _shares_of_largest(x: Pair) -> Tensor:
    """Multipliers of the maximum over the last axis."""
    width = x.x.shape[-1]
    levels, order = torch.cat([x.x, x.b], dim=-1).sort(dim=-1)
    rises, starts = x.x > x.b, torch.cat([x.x <= x.b, x.x > x.b], dim=-1)
    rising = torch.cat([rises, rises], dim=-1)
    sign = torch.where(starts, 1.0, -1.0).to(levels)
    opened, closed = (_counted(sign * each, order) for each in (rising, ~rising))
    above = width - _counted(starts.to(levels), order)
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
    return ratio(torch.where(rises, risen, fallen), x.delta, 0.0)


def _counted(events: Tensor, order: Tensor) -> Tensor:
    """How many are open in each gap between the sorted levels."""
    return events.gather(-1, order).cumsum(-1)[..., :-1]
