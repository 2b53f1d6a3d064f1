"""Transposes of linear functions."""

from collections.abc import Callable

import torch
from torch import Tensor


def transpose_of(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Transpose a linear function: from multipliers of its output to those of its inputs.

    The graph of the function is built once, and ``torch.vmap`` takes the result. ``torch.func.vjp`` does the same, but
    imports the compiler of torch, which takes a second.

    Args:
        function: Linear, up to a constant.
        inputs: Inputs in their shapes and dtypes, of any value.
    """
    with torch.enable_grad():
        leaves = [each.detach().clone().requires_grad_() for each in inputs]
        out = function(*leaves)

    def apply(multipliers: Tensor) -> tuple[Tensor, ...]:
        if not out.requires_grad:
            return tuple(torch.zeros_like(leaf) for leaf in leaves)
        return torch.autograd.grad(
            out, leaves, multipliers, retain_graph=True, create_graph=torch.is_grad_enabled(), materialize_grads=True
        )

    return apply
