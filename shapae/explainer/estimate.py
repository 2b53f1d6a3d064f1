"""Estimate of the cost of a call, from short trials."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from shapae.utils.dispatch import DispatchMode
from shapae.utils.memory import format_bytes

# Seconds that a trial should take, so that its duration can be extrapolated.
TRIAL_SECONDS = 0.25
aten = torch.ops.aten
FLOPS: dict[Any, Callable[..., int]] = flop_registry | {
    aten.addmm_: flop_registry[aten.addmm],
    aten.baddbmm_: flop_registry[aten.baddbmm],
    aten.mv: lambda matrix, *others, **settings: 2 * matrix.numel(),
    aten.addmv: lambda bias, matrix, *others, **settings: 2 * matrix.numel(),
    aten.dot: lambda vector, *others, **settings: 2 * vector.numel(),
}


@dataclass(frozen=True)
class Estimate:
    """Cost of a call.

    Attributes:
        rows: Number of rows to explain.
        multiplications: Number of multiplications in products of matrices, and in convolutions.
        bytes: Bytes of the values and their standard errors.
        seconds: Time with the threads of this process; workers share the same cores.
    """

    rows: int
    multiplications: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        """Cost in one sentence."""
        return (
            f"{self.rows} rows: {self.multiplications:.2g} multiplications, about {self.seconds:.2g} s, "
            f"{format_bytes(self.bytes)} of values"
        )


class Products(DispatchMode):
    """Counter of flops: two for each multiplication in a product of matrices.

    torch's FlopCounterMode misses ``addmm_``, ``baddbmm_``, ``mv`` and ``dot``, and ``torch.autograd.grad`` of a leaf.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func``, and count it."""
        kwargs = kwargs or {}
        if func.overloadpacket not in FLOPS:
            with self:
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        self.flops += FLOPS[func.overloadpacket](*args, **kwargs, out_val=out)
        return out


def estimate(run: Callable[[int], Any], rows: int, size: int) -> Estimate:
    """Estimate the cost of ``run(rows)`` from runs with fewer rows.

    Args:
        run: Function that explains a number of rows, some rows again and again.
        rows: Number of rows to explain.
        size: Bytes of the result of one row.
    """
    some, seconds = 1, _seconds(run, 1)  # the first run prepares what all of them share
    while (seconds := _seconds(run, some)) < TRIAL_SECONDS and some < rows:
        some = min(2 * some, rows)
    with Products() as products:
        run(some)
    return Estimate(rows, products.flops // 2 * rows // some, rows * size, seconds * rows / some)


def _seconds(run: Callable[[int], Any], rows: int) -> float:
    start = time.perf_counter()
    run(rows)
    return time.perf_counter() - start
