"""Decompositions of operators into simpler ones, where torch has none or a less suitable one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from shapae.utils.registry import Registry

DECOMPOSITIONS: Registry[Callable[..., Any]] = Registry("operator to be decomposed")


@DECOMPOSITIONS.register("div")
def div(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    """Compute a / b as a * (1 / b)."""
    if rounding_mode is not None:
        return NotImplemented
    dtype = torch.result_type(a, b)
    dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
    return a * torch.as_tensor(b, dtype=dtype, device=getattr(b, "device", None)).reciprocal()


@DECOMPOSITIONS.register("var")
def var(x: Tensor, *settings: Any, **named: Any) -> Tensor:
    """Compute the mean square of the deviations from the mean."""
    variance: Tensor = var_mean(x, *settings, **named)[0]
    return variance


@DECOMPOSITIONS.register("var_mean")
def var_mean(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Any:
    """Compute the variance as in ``var``, and the mean."""
    axes = dim if dim not in (None, []) else list(range(x.ndim))
    mean = x.mean(axes, keepdim=True)
    squares = (x - mean).square().sum(axes, keepdim=keepdim)
    degrees_of_freedom = x.numel() / mean.numel() - (int(unbiased) if correction is None else correction)
    return squares / degrees_of_freedom, mean if keepdim else x.mean(axes)


@DECOMPOSITIONS.register("native_batch_norm", "_native_batch_norm_legit")
def batch_norm(x: Tensor, weight: Any, bias: Any, *settings: Any) -> Any:
    """Apply an affine map to each channel, as batch norm does in eval mode."""
    if len(settings) != 5 or settings[2]:  # running mean and variance, training, momentum, eps
        return NotImplemented
    shape = [-1, *[1] * (x.ndim - 2)]
    out = (x - settings[0].view(shape)) * torch.rsqrt(settings[1] + settings[4]).view(shape)
    out = out if weight is None else out * weight.view(shape)
    out = out if bias is None else out + bias.view(shape)
    return out, x.new_empty(0), x.new_empty(0)


@DECOMPOSITIONS.register("_thnn_fused_gru_cell")
def gru_cell(gates: Tensor, hidden_gates: Tensor, state: Tensor, bias: Any = None, hidden_bias: Any = None) -> Any:
    """Compute the next state of a GRU cell, from the products of the input and of the state with its weights.

    Reference:
        Cho et al., 2014, section 2.3, with the reset gate after the product as in cuDNN
    """
    reset, update, new = (gates if bias is None else gates + bias).chunk(3, 1)
    *others, candidate = (hidden_gates if hidden_bias is None else hidden_gates + hidden_bias).chunk(3, 1)
    reset, update = torch.sigmoid(reset + others[0]), torch.sigmoid(update + others[1])
    new = torch.tanh(new + reset * candidate)
    return new + update * (state - new), new.new_empty(0)


@DECOMPOSITIONS.register("_thnn_fused_lstm_cell")
def lstm_cell(gates: Tensor, hidden_gates: Tensor, cell: Tensor, bias: Any = None, hidden_bias: Any = None) -> Any:
    """Compute the next state and cell of an LSTM cell, from the products of the input and of the state.

    Reference:
        Gers, Schmidhuber and Cummins, 2000, Learning to forget
    """
    both = gates + hidden_gates
    for each in (bias, hidden_bias):
        both = both if each is None else both + each
    enter, forget, new, leave = both.chunk(4, 1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
    return torch.sigmoid(leave) * torch.tanh(cell), cell, cell.new_empty(0)


@DECOMPOSITIONS.register("max")
def max(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:  # noqa: A001 (torch's name)
    """Compute the largest value and its position."""
    return x.amax() if dim is None else (x.amax(dim, keepdim), _numbers(x).argmax(dim, keepdim))


@DECOMPOSITIONS.register("min")
def min(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:  # noqa: A001 (torch's name)
    """Compute the smallest value and its position."""
    return x.amin() if dim is None else (x.amin(dim, keepdim), _numbers(x).argmin(dim, keepdim))


def _numbers(x: Tensor) -> Tensor:
    return x.int() if x.dtype == torch.bool else x


@DECOMPOSITIONS.register("amin")
def amin(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Compute -max(-x)."""
    return ~(~x).amax(dim, keepdim) if x.dtype == torch.bool else -(-x).amax(dim, keepdim)


@DECOMPOSITIONS.register("median")
def median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Compute the value in the middle, or the lower one of two, and its position."""
    flat, axis = (x.flatten(), 0) if dim is None else (x, dim)
    found = flat.kthvalue((flat.shape[axis] + 1) // 2, axis, keepdim)
    return found.values if dim is None else found


@DECOMPOSITIONS.register("_cdist_forward")
def cdist(a: Tensor, b: Tensor, p: float, compute_mode: int | None = None) -> Tensor:
    """Compute the norms of all differences."""
    norms: Tensor = torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, dim=-1)
    return norms


@DECOMPOSITIONS.register("rrelu_with_noise")
def rrelu(
    x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: Any = None
) -> Any:
    """Apply a leaky ReLU with the mean slope, as RReLU does in eval mode."""
    return NotImplemented if training else functional.leaky_relu(x, (lower + upper) / 2)


@DECOMPOSITIONS.register("max_pool2d_with_indices")
def max_pool2d(
    x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """Compute the largest value of each window, and its position in the plane."""
    if ceil_mode:
        return NotImplemented
    windows, positions = _windows(x, *(_both_axes(each) for each in (kernel, stride or kernel, padding, dilation)))
    largest = windows.argmax(-1, keepdim=True)
    return windows.amax(-1), positions.expand(windows.shape).gather(-1, largest).squeeze(-1)


def _windows(x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]) -> Any:
    """Return the values of each window, (..., rows, columns, values), and their positions in the plane."""
    padded = functional.pad(x, [padding[1]] * 2 + [padding[0]] * 2, value=torch.finfo(x.dtype).min)
    rows, columns = (
        torch.arange(0, size - gap * (width - 1), step)[:, None] + torch.arange(width) * gap
        for size, width, step, gap in zip(padded.shape[-2:], kernel, stride, dilation, strict=True)
    )
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    positions = (rows - padding[0]) * x.shape[-1] + columns - padding[1]
    padded_positions = (rows * padded.shape[-1] + columns).to(x.device)
    windows = padded.flatten(-2).index_select(-1, padded_positions.flatten())
    return windows.reshape(*x.shape[:-2], *padded_positions.shape[:2], -1), positions.to(x.device).flatten(-2)


def _both_axes(size: Any) -> list[int]:
    sizes = [size] if isinstance(size, int) else list(size)
    return sizes * (2 // len(sizes))


@DECOMPOSITIONS.register("_sparse_addmm")
def sparse_addmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Compute beta * x + alpha * a @ b."""
    return torch.addmm(x, a, b, beta=beta, alpha=alpha)


@DECOMPOSITIONS.register("copy")
def copy(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Return the source in the shape and dtype of ``x``, which it overwrites."""
    return source.to(x.dtype).expand(x.shape)


@DECOMPOSITIONS.register("masked_fill")
def masked_fill(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Choose between ``value`` and ``x``, as ``torch.where`` does."""
    return torch.where(mask, torch.as_tensor(value, dtype=x.dtype, device=x.device), x)


@DECOMPOSITIONS.register("index_put", "_unsafe_index_put")
def index_put(x: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Any:
    """Write one value wherever a mask is true, as ``masked_fill`` does."""
    mask = indices[0]
    if len(indices) != 1 or mask is None or mask.dtype != torch.bool or values.numel() != 1 or accumulate:
        return NotImplemented
    return masked_fill(x, mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)), values.reshape(()))


@DECOMPOSITIONS.register("prod")
def prod(x: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """Multiply in pairs, then multiply the products in pairs, and so on."""
    x, dim = (x.reshape(-1), 0) if dim is None else (x, dim if isinstance(dim, int) else dim[0])
    x = x if dtype is None else x.to(dtype)
    while (size := x.shape[dim]) > 1:
        left, right, rest = torch.split(x, [size // 2, size // 2, size % 2], dim)
        x = torch.cat([left * right, rest], dim)
    return x if keepdim else x.squeeze(dim)


@DECOMPOSITIONS.register("_trilinear")
def trilinear(
    a: Tensor, b: Tensor, c: Tensor, expand_a: Any, expand_b: Any, expand_c: Any, axes: Any, unroll_dim: int = 1
) -> Tensor:
    """Sum the products of three factors."""
    for axis in range(a.ndim + len(expand_a)):
        a, b, c = (
            each.unsqueeze(axis) if axis in expand else each
            for each, expand in ((a, expand_a), (b, expand_b), (c, expand_c))
        )
    return (a * b * c).sum(axes)


@DECOMPOSITIONS.register("unfold")
def unfold(x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Cut windows along an axis; their values form the last axis."""
    starts = torch.arange(0, x.shape[dim] - size + 1, step, device=x.device)
    positions = starts[:, None] + torch.arange(size, device=x.device)
    windows = x.movedim(dim, -1).index_select(-1, positions.flatten())
    return windows.reshape(*windows.shape[:-1], *positions.shape).movedim(-2, dim if dim >= 0 else dim - 1)
