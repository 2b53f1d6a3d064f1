"""Names of the modules that run operators; bytes, dtypes, infinity and NaN in the results of operators."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from shapae.utils.dispatch import DispatchMode
from shapae.utils.torch_private import tree_leaves

Function = Callable[..., Tensor]
# Parts of the names of operators whose products cuDNN computes.
CUDNN_PRODUCTS = ("conv", "cudnn_rnn")


class ModuleNames:
    """Names of the modules of ``function``, for messages."""

    def __init__(self, function: Any) -> None:
        owner = getattr(function, "__self__", function)  # the object of a method
        modules = owner.named_modules() if isinstance(owner, nn.Module) else ()
        root = type(owner).__name__
        self._names = {id(module): f"{root}.{name}" if name else root for name, module in modules}

    def here(self) -> str:
        """Return the name of the innermost module whose method is running."""
        for frame in _frames(sys._getframe(1)):
            module = frame.f_locals.get("self")
            if isinstance(module, nn.Module):
                return self.name(module)
        return "the function"

    def name(self, module: nn.Module) -> str:
        """Return the name of a module."""
        return self._names.get(id(module)) or type(module).__name__


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


class NonFiniteTracer(DispatchMode):
    """Dispatch mode that finds the first operators which return infinity, or NaN, for inputs without it."""

    KINDS = {"infinity": torch.isinf, "NaN": torch.isnan}

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.module_names = ModuleNames(function)
        self.first: dict[str, str] = {}

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator and check its output."""
        out = op(*args, **(kwargs or {}))
        for kind, test in self.KINDS.items():
            if kind not in self.first and _any(test, out) and not _any(test, (args, kwargs)):
                self.first[kind] = f"{op} in {self.module_names.here()}"
        return out


def _any(test: Callable[[Tensor], Tensor], values: Any) -> bool:
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return any(bool(test(tensor).any()) for tensor in tensors)


def first_nonfinite(function: Function, rows: Tensor) -> dict[str, str]:
    """Find the first operators, with their modules, that return "infinity" or "NaN" for ``rows``, if there are any."""
    tracer = NonFiniteTracer(function)
    with torch.no_grad(), tracer:
        function(rows)
    return tracer.first


@dataclass(frozen=True)
class _Made:
    """One call of an operator: its name, the module in which it runs, and what its result holds."""

    op: str
    place: str
    holds: frozenset[str]


class NonFiniteLog(DispatchMode):
    """Dispatch mode that lists all calls of operators, and whether their results hold infinity or NaN."""

    def __init__(self, names: ModuleNames) -> None:
        super().__init__()
        self.module_names, self.calls = names, list[_Made]()

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator and list it."""
        out = op(*args, **(kwargs or {}))
        holds = frozenset(kind for kind, test in NonFiniteTracer.KINDS.items() if _any(test, out))
        self.calls.append(_Made(str(op), self.module_names.here(), holds))
        return out


def first_nonfinite_of(function: Function, rows: Tensor, finite: Tensor, names: ModuleNames) -> str:
    """Find the first operator whose result holds infinity or NaN for some rows, and not for others.

    Constants that are infinite, such as masks, are so for all rows.

    Args:
        function: See ``first_nonfinite``.
        rows: (n, d).
        finite: (n, d), rows for which the function is finite.
        names: Names of its modules.

    Returns:
        The operator and its module in words; "" if there is none.
    """
    logs = []
    for each in (rows, finite):
        with torch.no_grad(), NonFiniteLog(names) as log:
            function(each)
        logs.append(log.calls)
    for made, other in zip_longest(*logs):
        if made is None or (other is not None and made.op != other.op):
            break
        kinds = made.holds - (other.holds if other else frozenset())
        if kinds:
            return f"{made.op} in {made.place}, the first to make {' and '.join(sorted(kinds))}"
    return ""


class ResultBytes(DispatchMode):
    """Dispatch mode that counts the bytes of the results of all operators, by dtype; a view takes none.

    Saved tensors alone would tell what autograd keeps, but their hooks fail within ``torch.func`` transforms.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_dtype = Counter[torch.dtype]()
        self.operators = set[str]()

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator and count its output."""
        out = op(*args, **(kwargs or {}))
        self.operators.add(op.overloadpacket.__name__)
        for leaf in () if op.is_view else tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.by_dtype[leaf.dtype] += leaf.numel() * leaf.element_size()  # sparse tensors have no nbytes
        return out


def result_bytes_per_row(function: Function, rows: Tensor) -> dict[torch.dtype, int]:
    """Count the bytes that the results of all operators take for each row, by dtype.

    Args:
        function: From rows (n, d) to (n, k).
        rows: (1 or more, d).

    Returns:
        The difference between three rows and two rows. Tensors that do not grow with the rows, such as parameters,
        cancel out.
    """
    try:  # with gradients, since torch chooses fused kernels without them, whose results can't be seen
        few, more = (_result_bytes(function, rows, count, gradients=True) for count in (2, 3))
    except Exception:  # a function may leave torch where there are no gradients, as by rows.numpy()
        few, more = (_result_bytes(function, rows, count, gradients=False) for count in (2, 3))
    return {dtype: count - few[dtype] for dtype, count in more.items() if count > few[dtype]}


def _result_bytes(function: Function, rows: Tensor, count: int, *, gradients: bool) -> Counter[torch.dtype]:
    with torch.set_grad_enabled(gradients):
        copies = rows[:1].detach().repeat(count, 1).requires_grad_(gradients)
        results = ResultBytes()
        with results:
            function(copies)
    return results.by_dtype


def runs_on_cudnn(function: Function, rows: Tensor) -> bool:
    """Tell whether cuDNN computes some products of ``function``; see ``result_bytes_per_row`` for the arguments."""
    if rows.device.type != "cuda":
        return False
    results = ResultBytes()
    with torch.no_grad(), results:
        function(rows[:1].detach().repeat(2, 1))
    return any(part in name for name in results.operators for part in CUDNN_PRODUCTS)


def coarsest_dtype(function: Function, rows: Tensor) -> torch.dtype:
    """Find the least precise floating point dtype in which ``function`` computes results of ``rows``.

    Args:
        function: See ``result_bytes_per_row``.
        rows: See ``result_bytes_per_row``.

    Returns:
        At most as precise as the dtype of ``rows``. Constants in other dtypes do not count.
    """
    dtypes = {rows.dtype, *result_bytes_per_row(function, rows)}
    return max((each for each in dtypes if each.is_floating_point or each.is_complex), key=lambda d: torch.finfo(d).eps)
