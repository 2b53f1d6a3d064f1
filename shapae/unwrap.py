"""The model within its wrappers, and copies of models."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
# Where wrappers of torch.compile, Lightning and Fabric keep the model; and those that keep it as ``module``.
INNER = ("_orig_mod", "_original_module", "_forward_module")
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)


def copied(module: M) -> M:
    """A deep copy, also where ``module`` keeps results of its last forward pass, which torch refuses to copy."""
    return copy.deepcopy(module, _kept(module))


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within wrappers of torch.compile, DataParallel, Lightning and the like.

    Where parts of it are compiled, a copy without that, which shares its parameters and buffers: compiled code can't
    be looked into.
    """
    while (inner := _inner(model)) is not None:
        model = inner
    if not any(_is_compiled(module) for module in model.modules()):
        return model
    memo: dict[int, Any] = _kept(model) | {id(each): each for each in tensors(model)}
    for module in list(model.modules())[::-1]:  # what is within another comes first
        if hasattr(module, "_orig_mod"):
            memo[id(module)] = copy.deepcopy(module._orig_mod, memo)
    return copy.deepcopy(model, memo)


def _inner(model: nn.Module) -> nn.Module | None:
    names = (*INNER, *(["module"] if isinstance(model, WRAPPERS) else []))
    return next((part for name in names if isinstance(part := getattr(model, name, None), nn.Module)), None)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or vars(module).get("_compiled_call_impl") is not None


def _kept(module: nn.Module) -> dict[int, Any]:
    """Copies of the results of the last forward pass, by their ids, as deepcopy wants to know them."""
    kept = [each for part in module.modules() for each in vars(part).values() if isinstance(each, Tensor)]
    return {id(each): each.detach().clone() for each in kept if not each.is_leaf}


def tensors(module: nn.Module) -> list[Tensor]:
    """Its parameters and buffers."""
    return [*module.parameters(), *module.buffers()]
