"""Quantiles, which torch takes apart into operators on positions that seem to depend on the row.

They are replaced where they are called, because torch's own operators are not recorded as one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class QuantilesReplaced(TorchFunctionMode):
    """Mode in which quantiles are computed by ``kthvalue``, one level after the other."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function, or its replacement."""
        kwargs = kwargs or {}
        replacement = None if kwargs.get("out") is not None else REPLACEMENTS.get(function)
        return (replacement or function)(*args, **kwargs)


def quantile(
    x: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
    out: None = None,
) -> Tensor:
    """Interpolate between values in their order, as ``torch.quantile`` does where no value is NaN."""
    levels = torch.as_tensor(q, dtype=x.dtype)
    flat, axis = (x.flatten(), 0) if dim is None else (x, dim)
    ranks = (levels * (flat.shape[axis] - 1)).reshape(-1)
    quantiles = [_ranked(flat, rank, axis, keepdim, interpolation) for rank in ranks]
    result = torch.stack(quantiles) if levels.ndim else quantiles[0]
    return result.reshape(*levels.shape, *[1] * x.ndim) if dim is None and keepdim else result


def _ranked(x: Tensor, rank: Tensor, axis: int, keepdim: bool, interpolation: str) -> Tensor:
    """Return the value at a rank between 0 and n - 1, which need not be a whole number."""
    rank = WHOLE[interpolation](rank) if interpolation in WHOLE else rank
    below, above = (x.kthvalue(int(each) + 1, axis, keepdim).values for each in (rank.floor(), rank.ceil()))
    return torch.lerp(below, above, 0.5 if interpolation == "midpoint" else float(rank.frac()))


WHOLE = {"lower": torch.floor, "higher": torch.ceil, "nearest": torch.round}
REPLACEMENTS: dict[Any, Callable[..., Tensor]] = {torch.quantile: quantile, torch.Tensor.quantile: quantile}
