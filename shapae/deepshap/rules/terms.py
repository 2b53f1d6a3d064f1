"""One rule for each operator: from the multipliers of what it gives to those of what it takes.

For a row and a background row, y = f(u, v, ...) passes its multipliers m_y back so that
m_u (u_x - u_b) + m_v (v_x - v_b) + ... = m_y (y_x - y_b).

A multiplier is a sum of *terms*, each as small as it can be: the leading axes (outputs, rows, background) of a term
have length 1 where it does not depend on them. Rules are written for one output, one row and one background row,
without these axes; ``vmap_leading`` takes them through.

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
from torch.utils._pytree import tree_map

from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.tracing.tape import Step
from shapae.utils.registry import Registry

Terms = list[Tensor]
Rule = Callable[[Step, Terms, Pair, list[Pair]], list[Terms]]
RULES: Registry[Rule] = Registry("operator with a rule")
LEADING = 3


def vmap_leading(function: Callable[..., Any], *tensors: Tensor, axes: int = LEADING) -> Any:
    """``function`` of single values, for all outputs, rows and background rows.

    Args:
        function: From tensors to tensors, without the leading axes.
        tensors: With the leading axes, of length 1 where the tensor is the same for all.
        axes: How many leading axes there are.

    Returns:
        What ``function`` gives, with the leading axes, of length 1 where what it gives is the same for all.
    """
    return tree_map(partial(_narrow, axes), _map(function, tensors, axes))


def _map(function: Callable[..., Any], tensors: Sequence[Tensor], axes: int) -> Any:
    if axes == 0:
        return function(*tensors)
    many = [len(tensor) > 1 for tensor in tensors]
    tensors = [tensor if each else tensor[0] for tensor, each in zip(tensors, many, strict=True)]
    if any(many):
        in_dims = tuple(0 if each else None for each in many)
        return torch.vmap(lambda *single: _map(function, single, axes - 1), in_dims=in_dims)(*tensors)
    return tree_map(lambda out: out.unsqueeze(0), _map(function, tensors, axes - 1))


def _narrow(axes: int, out: Tensor) -> Tensor:
    """Where nothing depends on an axis, vmap gives one number for all of it."""
    for axis in range(axes):
        out = out if out.stride(axis) else out.narrow(axis, 0, 1)
    return out


def sum_terms(terms: Terms) -> Tensor:
    """The multiplier itself."""
    return reduce(add, sorted(terms, key=Tensor.numel))


def merge_terms(terms: Terms) -> Terms:
    """Terms of the same shape added up."""
    shapes = dict.fromkeys(term.shape for term in terms)
    return [reduce(add, (term for term in terms if term.shape == shape)) for shape in shapes]


def sum_to_shape(m: Tensor, value: Tensor) -> Tensor:
    """The multiplier of ``value`` itself, from that of what it was broadcast to."""
    return m.sum_to_size(value.shape)


def by_value(parts: Any) -> list[Terms]:
    """From the multipliers of all values, one tuple for each term, to the terms of each value."""
    return [list(terms) for terms in zip(*parts, strict=True)]


def at_midpoint(function: Callable[..., Any], terms: Terms, live: list[Pair]) -> list[Terms]:
    """``function`` (m, *values) of the values half way between row and background row.

    It must be linear in m and affine in the values, as the gradient of a quadratic operator is. Then a term that is
    the same for all rows, or for all background rows, becomes two that are smaller than (rows x background).
    """
    parts = []
    for m in terms:
        if m.shape[1] > 1 and m.shape[2] > 1:
            parts.append(vmap_leading(function, m, *(value.middle for value in live)))
        else:
            parts += [vmap_leading(function, m / 2, *values) for values in zip(*live, strict=True)]
    return by_value(parts)


def pairwise(function: Callable[..., Any]) -> Rule:
    """A rule from a function (step, m, out, *live) -> multipliers, which is given pairs of single values."""

    def rule(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
        def single(m: Tensor, *values: Tensor) -> Any:
            return function(step, m, *_pairs(values))

        return by_value([vmap_leading(single, sum_terms(terms), *out, *chain(*live))])

    return rule


def elementwise(function: Callable[..., Any]) -> Rule:
    """The same for elementwise operators: all values come in the shape of ``out``.

    One that has that shape anyway is broadcast over the leading axes as over all others: faster than ``vmap_leading``.
    """

    def rule(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
        def single(m: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            out, *narrow = _pairs(values)
            parts = function(step, m, out, *(pair.each(torch.Tensor.expand_as, out.x) for pair in narrow))
            return tuple(sum_to_shape(part, pair.x) for part, pair in zip(parts, narrow, strict=True))

        if len(live) == 1 and live[0].x.shape == out.x.shape:
            return by_value([function(step, sum_terms(terms), out, *live)])
        return by_value([vmap_leading(single, sum_terms(terms), *out, *chain(*live))])

    return rule


def _pairs(values: Sequence[Tensor]) -> list[Pair]:
    return [Pair(*pair) for pair in zip(values[::2], values[1::2], strict=True)]
