"""Linear operators and products."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import RULES, Rule, Terms, at_midpoint, by_value, sum_to_shape, vmap_leading
from shapae.deepshap.tracing.tape import Step, Variable


def linear(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """A linear operator: its transpose. Truth values and counts are numbers, too."""
    back = torch.func.vjp(step.run_as_is, *(torch.zeros_like(value.x[0, 0, 0]) for value in live))[1]
    return by_value(vmap_leading(back, m) for m in terms)


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
# Linear, if where they read or write is the same for all rows.
INDEXING = (
    *("index", "_unsafe_index", "index_select", "gather", "embedding", "scatter", "scatter_add"),
    *("index_put", "_unsafe_index_put", "index_add", "index_copy"),
)
RULES.register(*LINEAR, *INDEXING)(linear)


def bilinear(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
    """A product: each factor meets the middle of the other, the two-player Shapley value."""
    if len(live) == 1:
        return linear(step, terms, out, live)
    return at_midpoint(lambda m, *values: torch.func.vjp(step.run, *values)[1](m), terms, live)


RULES.register("convolution", "mv", "dot", "addmv", "addbmm")(bilinear)


def factors(transposes: Callable[..., Any]) -> Rule:
    """The same for the products that are met most, from their transposes: (m, *args) -> a function for each arg."""

    def rule(step: Step, terms: Terms, out: Pair, live: list[Pair]) -> list[Terms]:
        def back(m: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            args, kwargs = step.filled(values)
            parts = zip(transposes(m, *args, **kwargs), step.args, strict=True)
            return tuple(part() for part, arg in parts if isinstance(arg, Variable))

        if len(live) > 1:
            return at_midpoint(back, terms, live)
        anything = torch.zeros_like(live[0].x[:1, :1, :1])
        return by_value(vmap_leading(back, m, anything) for m in terms)

    return rule


@RULES.register("mul")
@factors
def mul(m: Tensor, a: Any, b: Any) -> Any:
    """a * b; truth values may be among them."""
    return lambda: sum_to_shape(m * b, a), lambda: sum_to_shape(m * a, b)


@RULES.register("mm", "bmm")
@factors
def mm(m: Tensor, a: Tensor, b: Tensor) -> Any:
    """a @ b."""
    return lambda: m @ b.mT, lambda: a.mT @ m


@RULES.register("addmm", "baddbmm")
@factors
def addmm(m: Tensor, bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta * bias + alpha * a @ b."""
    scaled = m if alpha == 1 else alpha * m
    return lambda: sum_to_shape(beta * m, bias), lambda: scaled @ b.mT, lambda: a.mT @ scaled


# Affine, if only one of the values varies.
PRODUCTS: tuple[Rule, ...] = (bilinear, mul, mm, addmm)
