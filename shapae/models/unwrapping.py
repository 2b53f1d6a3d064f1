"""Models without their wrappers, and copies of models."""

import copy
import copyreg
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.models.weights import COMPUTED
from shapae.utils.reachable import NUMBERS_AND_TEXT, reachable
from shapae.utils.torch_private import ORIGINAL, is_compiled
from shapae.utils.turns import in_turn

M = TypeVar("M", bound=nn.Module)
# Attributes in which wrappers of torch.compile, Lightning and Fabric hold the model; and wrappers that hold it as
# ``module``, a name that is too common to be looked for in other classes.
INNER = (ORIGINAL, "_original_module", "_forward_module")
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
# Objects that deepcopy surely takes, and of which there may be many.
COPYABLE = (*NUMBERS_AND_TEXT, type, FunctionType, BuiltinFunctionType, nn.Module, list, tuple, dict, set)


def deep_copy(module: M) -> M:
    """Copy ``module``, even if it holds what can't be copied.

    Results of its last forward pass are detached. Locks, open files, generators and the like are shared.

    Raises:
        ModelError: ``module`` can't be copied.
    """
    return _copy(module, {})


def share_parameters(module: M) -> M:
    """Copy ``module`` with parameters and buffers that share the memory of the original.

    New weights of the original are seen; but the dtype, the gradients, hooks, attributes and modes of the copy are its
    own. Scripted modules are copied with their weights. See ``deep_copy`` also for what is raised.
    """
    memo: dict[int, Any] = {id(each): each.detach() for each in module.buffers()}
    memo |= {id(each): nn.Parameter(each.detach(), each.requires_grad) for each in module.parameters()}
    return _copy(module, memo)


def _copy(module: M, memo: dict[int, Any]) -> M:
    """Copy ``module``.

    Args:
        module: Any module.
        memo: What stands for an object in the copy, by the id of the object, as in deepcopy; it is filled.

    Raises:
        ModelError: ``module`` can't be copied.
    """
    try:
        with in_turn(module):  # another thread may store results on it, half-way through
            for key, replacement in _replacements(module).items():
                memo.setdefault(key, replacement)
            return copy.deepcopy(module, memo)
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} holds something that can't be copied: {error}. Take it off the model before, or "
            f"define __deepcopy__ for its class."
        ) from error


def _replacements(module: nn.Module) -> dict[int, Any]:
    """Find all that ``module`` holds and that deepcopy refuses: what stands for it in a copy, by its id."""
    replacements: dict[int, Any] = {}
    for each in reachable(module):
        if not isinstance(each, Tensor):
            if not _is_copyable(each):
                replacements[id(each)] = each
        elif not each.is_leaf or each.layout != torch.strided:  # results of a forward pass, or sparse
            clone = each.detach().clone()
            parameter = isinstance(each, nn.Parameter)
            replacements[id(each)] = nn.Parameter(clone, each.requires_grad) if parameter else clone
    return replacements


def _is_copyable(each: Any) -> bool:
    if isinstance(each, COPYABLE) or hasattr(each, "__deepcopy__") or type(each) in copyreg.dispatch_table:
        return True
    try:
        each.__reduce_ex__(4)
    except Exception:  # TypeError of locks, files and generators; others of classes that refuse to be pickled
        return False
    return True


def unwrap(model: nn.Module) -> nn.Module:
    """Remove wrappers of torch.compile, DataParallel, Lightning and similar packages.

    If parts of the model are compiled, the result is an uncompiled copy that shares parameters and buffers, because
    compiled code can't be traced.
    """
    while (inner := _inner_model(model)) is not None:
        model = inner
    if not any(is_compiled(module) for module in model.modules()):
        return model
    memo: dict[int, Any] = {id(each): each for each in parameters_and_buffers(model)}
    for module in list(model.modules())[::-1]:  # inner modules before outer modules
        if isinstance(inner := getattr(module, ORIGINAL, None), nn.Module):
            memo[id(module)] = _copy(inner, memo)
    return _copy(model, memo)


def _inner_model(model: nn.Module) -> nn.Module | None:
    names = (*INNER, *(["module"] if isinstance(model, WRAPPERS) else []))
    return next((part for name in names if isinstance(part := getattr(model, name, None), nn.Module)), None)


def parameters_and_buffers(module: nn.Module) -> list[Tensor]:
    """List the parameters and buffers of ``module``."""
    return [*module.parameters(), *module.buffers()]


def _floating(tensors: list[Tensor]) -> Iterator[Tensor]:
    return (each for each in tensors if each.is_floating_point())


def single_precision_template(model: nn.Module) -> Tensor:
    """Make an empty tensor of the dtype and device of ``model``, in at least single precision."""
    known = (each for each in parameters_and_buffers(model) if each.dtype in COMPUTED)
    like = next(known, torch.empty(0))
    return torch.empty(0, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
