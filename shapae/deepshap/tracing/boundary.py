"""The boundary of torch: what leaves it can't be recorded."""

from collections.abc import Container, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from shapae.errors import ModelError
from shapae.utils.text import LEAVES_TORCH
from shapae.utils.torch_private import is_functional_tensor
from shapae.utils.torch_trace import ModuleNames

LEAVING = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist, torch.Tensor.__dlpack__}


class Boundary(TorchFunctionMode):
    """Function mode that refuses to hand numbers that depend on the row to numpy and to lists.

    Args:
        variables: By their id(), tensors that depend on the row.
        module_names: Names for the message.
    """

    def __init__(self, variables: Container[int], module_names: ModuleNames) -> None:
        super().__init__()
        self.variables, self.module_names = variables, module_names

    def __torch_function__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``function``, unless numbers would leave torch.

        Raises:
            RuntimeError: The tensor is functional, so that it has no memory to be read; ``record`` tries without.
            ModelError: The numbers depend on the row.
        """
        if function in LEAVING and is_functional_tensor(args[0]):
            raise RuntimeError("a tensor under functionalization can't be read.")
        if function in LEAVING and id(args[0]) in self.variables:
            raise ModelError(f"{self.module_names.here()} {LEAVES_TORCH}")
        return function(*args, **(kwargs or {}))
