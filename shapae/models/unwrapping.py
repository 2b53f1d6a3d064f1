"""The model within its wrappers, and copies of models."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from shapae.errors import ModelError

M = TypeVar("M", bound=nn.Module)
# Where wrappers of torch.compile, Lightning and Fabric keep the model; and those that keep it as ``module``.
INNER = ("_orig_mod", "_original_module", "_forward_module")
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)


def deep_copy(module: M) -> M:
    """A deep copy, also where ``module`` keeps results of its last forward pass, which torch refuses to copy."""
    return copy.deepcopy(module, _last_results(module))


def share_parameters(module: M) -> M:
    """Copy ``module`` with the parameters and buffers of the original: hooks, attributes and modes are its own."""
    memo: dict[int, Any] = {id(each): each for each in parameters_and_buffers(module)}
    return copy.deepcopy(module, _last_results(module) | memo)


def unwrap(model: nn.Module) -> nn.Module:
    """The model within wrappers of torch.compile, DataParallel, Lightning and the like.

    Where parts of it are compiled, a copy without that, which shares its parameters and buffers: compiled code can't
    be looked into.
    """
    while (inner := _wrapped(model)) is not None:
        model = inner
    if not any(_is_compiled(module) for module in model.modules()):
        return model
    memo: dict[int, Any] = _last_results(model) | {id(each): each for each in parameters_and_buffers(model)}
    for module in list(model.modules())[::-1]:  # what is within another comes first
        if hasattr(module, "_orig_mod"):
            memo[id(module)] = copy.deepcopy(module._orig_mod, memo)
    return copy.deepcopy(model, memo)


def _wrapped(model: nn.Module) -> nn.Module | None:
    names = (*INNER, *(["module"] if isinstance(model, WRAPPERS) else []))
    return next((part for name in names if isinstance(part := getattr(model, name, None), nn.Module)), None)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or vars(module).get("_compiled_call_impl") is not None


def _last_results(module: nn.Module) -> dict[int, Any]:
    """Copies of the results of the last forward pass, by their ids, as deepcopy wants to know them."""
    kept = [each for part in module.modules() for each in vars(part).values() if isinstance(each, Tensor)]
    return {id(each): each.detach().clone() for each in kept if not each.is_leaf}


def parameters_and_buffers(module: nn.Module) -> list[Tensor]:
    """Its parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def template_tensor(module: nn.Module, rows: Tensor) -> Tensor:
    """An empty tensor of the dtype and device that ``module`` computes with.

    Args:
        module: Its floating point parameters and buffers tell.
        rows: They tell where it has none.

    Returns:
        (0,).

    Raises:
        ModelError: The dtype is neither float32 nor float64.
    """
    found = next(_floating([*parameters_and_buffers(module), rows]), torch.empty(0)).detach().new_empty(0)
    if found.dtype not in (torch.float32, torch.float64):
        raise ModelError(f"the model must compute in float32 or float64, got {found.dtype}; use model.float().")
    return found


def full_precision(module: M) -> M:
    """``module`` itself, or a copy in float32 if it computes in bfloat16 or float16."""
    halves = (torch.bfloat16, torch.float16)
    return deep_copy(module).float() if any(each.dtype in halves for each in parameters_and_buffers(module)) else module


def _floating(held: list[Tensor]) -> Iterator[Tensor]:
    return (each for each in held if each.is_floating_point())


def single_precision_template(model: nn.Module) -> Tensor:
    """An empty tensor in the dtype of ``model``, but not in half precision."""
    held = next(_floating(parameters_and_buffers(model)), torch.empty(0))
    return torch.empty(0, dtype=torch.promote_types(held.dtype, torch.float32), device=held.device)
