"""Rules of linear operators and of products."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import LEADING, RULES, Rule, Terms, at_midpoint, regroup, sum_to_shape, vmap_leading
from shapae.deepshap.tracing.tape import Step, Variable
from shapae.deepshap.tracing.transpose import transpose_of

# Linear operators that keep the order of all numbers.
RESHAPES = {"view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze"}


def linear(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
    """Apply the transpose of a linear operator. Truth values and counts are also numbers."""
    shapes = [value.x.shape[LEADING:] for value in inputs]
    if step.name in RESHAPES:
        return [[m.reshape(*m.shape[:LEADING], *shapes[0]) for m in terms]]
    if step.name in {"sum", "mean"} and not step.kwargs:
        return [[_expand(step, m, shapes[0]) for m in terms]]
    if step.name in {"add", "sub"} and all(shape == out.x.shape[LEADING:] for shape in shapes):
        scale = step.kwargs.get("alpha", 1) * (-1 if step.name == "sub" else 1)
        scales = [scale if place else 1 for place, arg in enumerate(step.args) if isinstance(arg, Variable)]
        return [[m if scale == 1 else scale * m for m in terms] for scale in scales]
    apply = transpose_of(step.run_as_is, *(torch.zeros_like(value.x[0, 0, 0]) for value in inputs))
    return regroup(vmap_leading(apply, m) for m in terms)


def _expand(step: Step, m: Tensor, shape: Sequence[int]) -> Tensor:
    """Transpose a sum or a mean of values of this ``shape``."""
    summed = step.args[1] if len(step.args) > 1 and step.args[1] else range(len(shape))
    axes = {axis % len(shape) for axis in summed if shape}
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    whole = m.reshape(*m.shape[:LEADING], *kept).expand(*m.shape[:LEADING], *shape)
    return whole / prod(shape[axis] for axis in axes) if step.name == "mean" else whole


LINEAR = (
    *("add", "sub", "neg", "sum", "mean", "cumsum", "trace"),
    *("view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "permute", "t", "transpose"),
    *("unsqueeze", "squeeze"),
    *("cat", "stack", "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "tensor_split", "unbind"),
    *("select", "slice", "narrow", "diagonal", "as_strided", "tril", "triu", "flip", "roll", "repeat"),
    *("slice_scatter", "select_scatter", "diagonal_scatter"),
    *("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d"),
    *("im2col", "col2im", "pixel_shuffle", "pixel_unshuffle"),
)
# Operators that are linear if their indices are the same for all rows.
INDEXING = (
    *("index", "_unsafe_index", "index_select", "gather", "embedding", "scatter", "scatter_add"),
    *("index_put", "_unsafe_index_put", "index_add", "index_copy"),
)
RULES.register(*LINEAR, *INDEXING)(linear)


def bilinear(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
    """Multiply each factor of a product by the midpoint of the other factor: their two-player Shapley values."""
    if len(inputs) == 1:
        return linear(step, terms, out, inputs)
    return at_midpoint(lambda m, *values: torch.func.vjp(step.run, *values)[1](m), terms, inputs)


RULES.register("convolution", "mv", "dot", "addmv", "addbmm")(bilinear)


def product_rule(transposes: Callable[..., Any]) -> Rule:
    """Build the rule ``bilinear`` of a frequent product from its transposes, without autograd.

    Args:
        transposes: From the multipliers m and the arguments to one function per argument, which returns the
            multipliers of this argument.
    """

    def rule(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
        def transpose(m: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            args, kwargs = step.fill(values)
            parts = zip(transposes(m, *args, **kwargs), step.args, strict=True)
            return tuple(part() for part, arg in parts if isinstance(arg, Variable))

        if len(inputs) > 1:
            return at_midpoint(transpose, terms, inputs)
        placeholder = torch.zeros_like(inputs[0].x[:1, :1, :1])
        return regroup(vmap_leading(transpose, m, placeholder) for m in terms)

    return rule


@RULES.register("mul")
@product_rule
def mul(m: Tensor, a: Any, b: Any) -> Any:
    """Transpose a * b, whose factors may be truth values."""
    return lambda: sum_to_shape(m * b, a), lambda: sum_to_shape(m * a, b)


def matrix_rule(transposes: Callable[..., Any]) -> Rule:
    """Build the rule of a matrix product, by a constant matrix without ``vmap_leading``: it broadcasts by itself."""
    general = product_rule(transposes)

    def rule(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
        *_, left, right = (isinstance(arg, Variable) for arg in step.args)
        if len(inputs) > 1 or left == right:
            return general(step, terms, out, inputs)
        args, kwargs = step.fill([inputs[0].x[0, 0, 0]])
        parts = [transposes(m, *args, **kwargs)[-2 if left else -1] for m in terms]
        return [[part() for part in parts]]

    return rule


@RULES.register("mm", "bmm")
@matrix_rule
def mm(m: Tensor, a: Tensor, b: Tensor) -> Any:
    """Transpose a @ b."""
    return lambda: m @ b.mT, lambda: a.mT @ m


@RULES.register("addmm", "baddbmm")
@matrix_rule
def addmm(m: Tensor, bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """Transpose beta * bias + alpha * a @ b."""
    scaled = m if alpha == 1 else alpha * m
    return lambda: sum_to_shape(beta * m, bias), lambda: scaled @ b.mT, lambda: a.mT @ scaled


# Rules of operators that are affine if only one of their arguments is variable.
PRODUCT_RULES: tuple[Rule, ...] = (bilinear, mul, mm, addmm)
