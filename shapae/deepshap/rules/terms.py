"""The interface of rules: from the multipliers of the output of an operator to the multipliers of its inputs.

For a row and a background row, y = f(u, v, ...) passes its multipliers m_y back so that
m_u (u_x - u_b) + m_v (v_x - v_b) + ... = m_y (y_x - y_b).

A multiplier is a sum of *terms*, each as small as possible: a leading axis (outputs, rows, background) of a term has
length 1 if the term does not depend on it. Rules are written for one output, one row and one background row, without
these axes; ``vmap_leading`` adds them.

References:
    Shrikumar et al., 2017, https://arxiv.org/abs/1704.02685 (multipliers, rescale rule)
    Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874 (Shapley values of the components)
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import chain
from operator import add
from typing import Any

import torch
from torch import Tensor

from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.tracing.tape import Step
from shapae.utils.registry import Registry
from shapae.utils.torch_private import tree_map

Terms = list[Tensor]
Rule = Callable[[Step, Terms, Pair, list[Pair]], list[Terms]]
RULES: Registry[Rule] = Registry("operator with a rule")
LEADING = 3


def vmap_leading(function: Callable[..., Any], *tensors: Tensor, axes: int = LEADING) -> Any:
    """Apply ``function``, written for single values, to all outputs, rows and background rows.

    Args:
        function: From tensors to tensors, without the leading axes.
        tensors: With the leading axes, of length 1 if the tensor does not depend on them.
        axes: Number of leading axes.

    Returns:
        The results of ``function``, with the leading axes, of length 1 if the results do not depend on them.
    """
    return tree_map(partial(_narrow, axes), _map(function, tensors, axes))


def _map(function: Callable[..., Any], tensors: Sequence[Tensor], axes: int) -> Any:
    if axes == 0:
        return function(*tensors)
    varies = [len(tensor) > 1 for tensor in tensors]
    tensors = [tensor if each else tensor[0] for tensor, each in zip(tensors, varies, strict=True)]
    if any(varies):
        in_dims = tuple(0 if each else None for each in varies)
        return torch.vmap(lambda *single: _map(function, single, axes - 1), in_dims=in_dims)(*tensors)
    return tree_map(lambda out: out.unsqueeze(0), _map(function, tensors, axes - 1))


def _narrow(axes: int, out: Tensor) -> Tensor:
    """Cut an axis to length 1 if vmap has expanded one number along it (stride 0)."""
    for axis in range(axes):
        out = out if out.stride(axis) else out.narrow(axis, 0, 1)
    return out


def sum_terms(terms: Terms) -> Tensor:
    """Sum the terms of a multiplier."""
    return reduce(add, sorted(terms, key=Tensor.numel))


def merge_terms(terms: Terms) -> Terms:
    """Add up terms of the same shape."""
    shapes = dict.fromkeys(term.shape for term in terms)
    return [reduce(add, (term for term in terms if term.shape == shape)) for shape in shapes]


def sum_to_shape(m: Tensor, value: Tensor) -> Tensor:
    """Sum the multiplier of a broadcast value over the axes along which ``value`` was expanded."""
    return m.sum_to_size(value.shape)


def regroup(parts: Any) -> list[Terms]:
    """Regroup multipliers: from one tuple of all inputs for each term to the terms of each input."""
    return [list(terms) for terms in zip(*parts, strict=True)]


def at_midpoint(
    function: Callable[..., Any], terms: Terms, inputs: list[Pair], *, apply: Callable[..., Any] = vmap_leading
) -> list[Terms]:
    """Apply ``function`` (m, *values) at the midpoints of row and background row.

    The function must be linear in m and affine in the values, as the gradient of a quadratic operator is. A term that
    is constant over the rows or over the background then becomes two terms smaller than (rows x background).
    ``apply`` applies it to values with leading axes, which a function that broadcasts takes by itself.
    """
    parts = []
    for m in terms:
        if m.shape[1] > 1 and m.shape[2] > 1:
            parts.append(apply(function, m, *(pair.middle for pair in inputs)))
        else:
            parts += [apply(function, m / 2, *values) for values in zip(*inputs, strict=True)]
    return regroup(parts)


def pairwise(function: Callable[..., Any]) -> Rule:
    """Build a rule from a function (step, m, out, *inputs) -> multipliers of pairs of single values."""

    def rule(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
        def single(m: Tensor, *values: Tensor) -> Any:
            return function(step, m, *_pairs(values))

        return regroup([vmap_leading(single, sum_terms(terms), *out, *chain(*inputs))])

    return rule


def elementwise(function: Callable[..., Any]) -> Rule:
    """Build a rule as ``pairwise`` does, for elementwise operators: all inputs are expanded to the shape of ``out``.

    A single input of this shape is broadcast over the leading axes without ``vmap_leading``, which is faster.
    """

    def rule(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
        def single(m: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            out, *pairs = _pairs(values)
            parts = function(step, m, out, *(pair.map(torch.Tensor.expand_as, out.x) for pair in pairs))
            return tuple(sum_to_shape(part, pair.x) for part, pair in zip(parts, pairs, strict=True))

        if len(inputs) == 1 and inputs[0].x.shape == out.x.shape:
            return regroup([function(step, sum_terms(terms), out, *inputs)])
        return regroup([vmap_leading(single, sum_terms(terms), *out, *chain(*inputs))])

    return rule


def _pairs(values: Sequence[Tensor]) -> list[Pair]:
    return [Pair(*pair) for pair in zip(values[::2], values[1::2], strict=True)]
