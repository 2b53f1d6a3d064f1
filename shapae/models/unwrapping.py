"""Models without their wrappers, copies of models, and the dtype of models."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from shapae.errors import ModelError

M = TypeVar("M", bound=nn.Module)
# Attributes in which wrappers of torch.compile, Lightning and Fabric hold the model; and wrappers that hold it as
# ``module``, a name that is too common to be looked for in other classes.
INNER = ("_orig_mod", "_original_module", "_forward_module")
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def deep_copy(module: M) -> M:
    """Copy ``module``, even if it holds tensors that torch refuses to copy; see ``_copied_tensors``."""
    return copy.deepcopy(module, _copied_tensors(module))


def share_parameters(module: M) -> M:
    """Copy ``module`` with parameters and buffers that share the memory of the original.

    New weights of the original are seen; but the dtype, the gradients, hooks, attributes and modes of the copy are its
    own. Scripted modules are copied with their weights.
    """
    memo: dict[int, Any] = {id(each): each.detach() for each in module.buffers()}
    memo |= {id(each): nn.Parameter(each.detach(), each.requires_grad) for each in module.parameters()}
    return copy.deepcopy(module, _copied_tensors(module) | memo)


def unwrap(model: nn.Module) -> nn.Module:
    """Remove wrappers of torch.compile, DataParallel, Lightning and similar packages.

    If parts of the model are compiled, the result is an uncompiled copy that shares parameters and buffers, because
    compiled code can't be traced.
    """
    while (inner := _inner_model(model)) is not None:
        model = inner
    if not any(_is_compiled(module) for module in model.modules()):
        return model
    memo: dict[int, Any] = _copied_tensors(model) | {id(each): each for each in parameters_and_buffers(model)}
    for module in list(model.modules())[::-1]:  # inner modules before outer modules
        if hasattr(module, "_orig_mod"):
            memo[id(module)] = copy.deepcopy(module._orig_mod, memo)
    return copy.deepcopy(model, memo)


def _inner_model(model: nn.Module) -> nn.Module | None:
    names = (*INNER, *(["module"] if isinstance(model, WRAPPERS) else []))
    return next((part for name in names if isinstance(part := getattr(model, name, None), nn.Module)), None)


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or vars(module).get("_compiled_call_impl") is not None


def _copied_tensors(module: nn.Module) -> dict[int, Any]:
    """Copy the tensors that torch refuses to copy; the copies by id are a memo for deepcopy.

    These are results of the last forward pass that ``module`` holds, and tensors in compressed sparse layouts.
    """
    attributes = (each for part in module.modules() for each in vars(part).values())
    tensors = [each for each in (*attributes, *parameters_and_buffers(module)) if isinstance(each, Tensor)]
    return {id(each): _copy_tensor(each) for each in tensors if not each.is_leaf or each.layout in COMPRESSED}


def _copy_tensor(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone()
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def parameters_and_buffers(module: nn.Module) -> list[Tensor]:
    """List the parameters and buffers of ``module``."""
    return [*module.parameters(), *module.buffers()]


def template_tensor(module: nn.Module, rows: Tensor) -> Tensor:
    """Make an empty tensor of the dtype and device that ``module`` computes with.

    Args:
        module: Its floating point parameters and buffers determine dtype and device.
        rows: They determine dtype and device if ``module`` has no such tensors.

    Returns:
        (0,).

    Raises:
        ModelError: The dtype is neither float32 nor float64.
    """
    like = next(_floating([*parameters_and_buffers(module), rows]), torch.empty(0)).detach().new_empty(0)
    if like.dtype not in (torch.float32, torch.float64):
        raise ModelError(f"the model must compute in float32 or float64, got {like.dtype}. Use model.float().")
    return like


def full_precision(module: M) -> M:
    """Return ``module``, or a copy in float32 if it computes in bfloat16 or float16."""
    halves = (torch.bfloat16, torch.float16)
    return deep_copy(module).float() if any(each.dtype in halves for each in parameters_and_buffers(module)) else module


def _floating(tensors: list[Tensor]) -> Iterator[Tensor]:
    return (each for each in tensors if each.is_floating_point())


def single_precision_template(model: nn.Module) -> Tensor:
    """Make an empty tensor of the dtype and device of ``model``, in at least single precision."""
    like = next(_floating(parameters_and_buffers(model)), torch.empty(0))
    return torch.empty(0, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
