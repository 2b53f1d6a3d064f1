"""Private names of torch, which may go in any release: all of shapae takes them from here, and all are checked here."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from shapae.errors import MissingPackage

# The oldest and the newest release of torch that the tests were run with; docs/project/versions.md has the date.
TESTED = ("2.6.0", "2.14.1")


def private(name: str) -> Any:
    """Return an object of torch.

    Raises:
        MissingPackage: The installed release of torch does not have it.
    """
    try:
        return resolve_name(name)
    except (AttributeError, ImportError) as error:
        oldest, newest = TESTED
        raise MissingPackage(
            f"torch {torch.__version__} has no {name}, which shapae needs. shapae was tested with torch {oldest} to "
            f"{newest}: pip install 'torch>={oldest},<={newest}'."
        ) from error


if TYPE_CHECKING:  # classes, so that annotations and subclasses have their types
    from torch._ops import OpOverload as OpOverload
    from torch.nn.modules.loss import _Loss
    from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode

    TorchLoss = _Loss
else:
    TorchLoss = private("torch.nn.modules.loss._Loss")
    OpOverload = private("torch._ops.OpOverload")
    TorchDispatchMode = private("torch.utils._python_dispatch.TorchDispatchMode")
decomposition_table: dict[Any, Callable[..., Any]] = private("torch._decomp.decomposition_table")
enable_python_dispatcher: Callable[[], AbstractContextManager[None]] = private(
    "torch._dispatch.python.enable_python_dispatcher"
)
is_functional_tensor: Callable[[Tensor], bool] = private("torch._is_functional_tensor")
set_grad_enabled: Callable[[bool], None] = private("torch._C._set_grad_enabled")
tree_leaves: Callable[[Any], list[Any]] = private("torch.utils._pytree.tree_leaves")
tree_map: Callable[[Callable[[Any], Any], Any], Any] = private("torch.utils._pytree.tree_map")

# Attributes of operators, modules and graphs that shapae reads, each of an object that must have it.
ATTRIBUTES = (
    *("torch.ops.aten.add_.Tensor._schema.is_mutable", "torch.ops.aten.add_.Tensor._schema.arguments"),
    *("torch.ops.aten.add_.Tensor.decompose", "torch.ops.aten.add_.Tensor.is_view"),
    *("torch.ops.aten.add_.Tensor.overloadpacket", "torch.ops.aten.add_.Tensor.tags", "torch.ops.aten.add_.overloads"),
    *("torch.nn.modules.module._global_forward_hooks", "torch.nn.modules.module._global_forward_pre_hooks"),
    "torch.nn.Module._compiled_call_impl",
)
for _name in ATTRIBUTES:
    private(_name)

# Attributes of a module that hold its hooks.
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
# Attribute of a compiled module that holds the original, and prefix of its parameters.
ORIGINAL = "_orig_mod"
# Attribute of a compiled function that holds the original.
ORIGINAL_FUNCTION = "_torchdynamo_orig_callable"


def is_mutable(op: OpOverload) -> bool:
    """Return whether an operator writes into some of its arguments."""
    return bool(op._schema.is_mutable)


def writes_into_first(op: OpOverload) -> bool:
    """Return whether an operator writes into its first argument."""
    first: Sequence[Any] = op._schema.arguments[:1]
    return any(each.alias_info is not None and each.alias_info.is_write for each in first)


def argument_types(op: OpOverload) -> list[str]:
    """List the types of the arguments of an operator."""
    return [str(argument.type) for argument in op._schema.arguments]


def has_hooks(module: nn.Module) -> bool:
    """Return whether hooks of the user run before or after the forward of a module."""
    return any(getattr(module, name) for name in HOOKS)


def global_hooks() -> list[dict[Any, Any]]:
    """List the tables of hooks that torch runs for all modules of the process."""
    names = vars(nn.modules.module).items()
    return [each for name, each in names if name.startswith("_global_") and isinstance(each, dict)]


def own_parameters(module: nn.Module) -> dict[str, Any]:
    """Return the parameters of a module by their names, without those that a parametrization computes."""
    return module._parameters


def own_buffers(module: nn.Module) -> dict[str, Any]:
    """Return the buffers of a module by their names; some may be None."""
    return module._buffers


def next_nodes(node: Any) -> list[Any]:
    """List the nodes of the graph of gradients that a node passes its gradients to."""
    return [each for each, _ in node.next_functions]


def is_compiled(module: nn.Module) -> bool:
    """Return whether torch.compile made a module, or compiled its call."""
    return hasattr(module, ORIGINAL) or vars(module).get("_compiled_call_impl") is not None
