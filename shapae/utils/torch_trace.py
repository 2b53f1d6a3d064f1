"""Names of the modules that run an operator, and a search for the first operator that returns infinity or NaN."""

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Function = Callable[..., Tensor]


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
                return self._names.get(id(module)) or type(module).__name__
        return "the function"


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


class NonFiniteTracer(TorchDispatchMode):
    """Dispatch mode that finds the first operators which return infinity, or NaN, for inputs without it."""

    KINDS = {"infinity": torch.isinf, "NaN": torch.isnan}

    def __init__(self, function: Function) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
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
