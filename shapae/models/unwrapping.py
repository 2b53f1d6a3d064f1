"""Models without their wrappers, and copies of models."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
# Attributes in which wrappers of torch.compile, Lightning and Fabric hold the model; and wrappers that hold it as
# ``module``, a name that is too common to be looked for in other classes.
INNER = ("_orig_mod", "_original_module", "_forward_module")
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)


def deep_copy(module: M) -> M:
    """Copy ``module``, even if it holds results of its last forward pass, which torch refuses to copy."""
    return copy.deepcopy(module, _saved_results(module))


def share_parameters(module: M) -> M:
    """Copy ``module`` with parameters and buffers that share the memory of the original.

    New weights of the original are seen; but the dtype, the gradients, hooks, attributes and modes of the copy are its
    own. Scripted modules are copied with their weights.
    """
    memo: dict[int, Any] = {id(each): each.detach() for each in module.buffers()}
    memo |= {id(each): nn.Parameter(each.detach(), each.requires_grad) for each in module.parameters()}
    return copy.deepcopy(module, _saved_results(module) | memo)


def unwrap(model: nn.Module) -> nn.Module:
    """Remove wrappers of torch.compile, DataParallel, Lightning and similar packages.

    If parts of the model are compiled, the result is an uncompiled copy that shares parameters and buffers, because
    compiled code can't be traced.
    """
    while (inner := _inner_model(model)) is not None:
        model = inner
    if not any(_is_compiled(module) for module in model.modules()):
        return model
    memo: dict[int, Any] = _saved_results(model) | {id(each): each for each in parameters_and_buffers(model)}
    for module in list(model.modules())[::-1]:  # inner modules before outer modules
        if hasattr(module, "_orig_mod"):
            memo[id(module)] = copy.deepcopy(module._orig_mod, memo)
    return copy.deepcopy(model, memo)


def _inner_model(model: nn.Module) -> nn.Module | None:
    names = (*INNER, *(["module"] if isinstance(model, WRAPPERS) else []))
    return next((part for name in names if isinstance(part := getattr(model, name, None), nn.Module)), None)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or vars(module).get("_compiled_call_impl") is not None


def _saved_results(module: nn.Module) -> dict[int, Any]:
    """Copy the results of the last forward pass that ``module`` holds; the copies by id are a memo for deepcopy."""
    tensors = [each for part in module.modules() for each in vars(part).values() if isinstance(each, Tensor)]
    return {id(each): each.detach().clone() for each in tensors if not each.is_leaf}


def parameters_and_buffers(module: nn.Module) -> list[Tensor]:
    """List the parameters and buffers of ``module``."""
    return [*module.parameters(), *module.buffers()]


def _floating(tensors: list[Tensor]) -> Iterator[Tensor]:
    return (each for each in tensors if each.is_floating_point())


def single_precision_template(model: nn.Module) -> Tensor:
    """Make an empty tensor of the dtype and device of ``model``, in at least single precision."""
    like = next(_floating(parameters_and_buffers(model)), torch.empty(0))
    return torch.empty(0, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
