"""What a call would take, found out by a short one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from shapae.utils.memory import format_bytes

# Seconds that a trial should take to tell how long all of it would.
ENOUGH = 0.25
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
    """What a call would take.

    Attributes:
        rows: How many rows are to be explained.
        multiplications: In products of matrices, and in convolutions.
        bytes: Of the values and their standard errors.
        seconds: With the threads of this process; workers share the same cores.
    """

    rows: int
    multiplications: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        """For a person to read."""
        return (
            f"{self.rows} rows: {self.multiplications:.2g} multiplications, about {self.seconds:.2g} s, "
            f"{format_bytes(self.bytes)} of values"
        )


class Products(TorchDispatchMode):
    """Counts two flops for each multiplication in a product of matrices.

    As torch's FlopCounterMode, which misses ``addmm_``, ``baddbmm_``, ``mv`` and ``dot``, and which
    ``torch.autograd.grad`` of a leaf does not run in.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
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


def estimated(run: Callable[[int], Any], rows: int, size: int) -> Estimate:
    """What ``run(rows)`` would take, from runs with fewer rows.

    Args:
        run: Explains so many rows, some of them again and again.
        rows: How many are to be explained.
        size: Bytes of what is found for one row.
    """
    some, seconds = 1, _seconds(run, 1)  # the first run prepares what all of them share
    while (seconds := _seconds(run, some)) < ENOUGH and some < rows:
        some = min(2 * some, rows)
    with Products() as products:
        run(some)
    return Estimate(rows, products.flops // 2 * rows // some, rows * size, seconds * rows / some)


def _seconds(run: Callable[[int], Any], rows: int) -> float:
    start = time.perf_counter()
    run(rows)
    return time.perf_counter() - start
