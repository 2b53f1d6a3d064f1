"""Snapshots of objects: whether anything that a result was computed from has changed since."""

import gc
import os
import sys
from array import array
from collections.abc import Container, Iterator
from itertools import islice
from operator import is_
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shapae.utils.reachable import LEAVES
from shapae.utils.rounding import matmul_precision
from shapae.utils.torch_private import global_hooks

# Packages whose classes and functions do not change.
LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy", "shapae"}
# Largest number of objects that are followed: the comparison would take longer than what it saves.
MAX_OBJECTS = 2**16
MISSING = object()
# Holders of numbers whose bytes are compared.
BUFFERS = (np.ndarray, bytearray, array)
# Objects that hold their state outside of Python.
SCRIPTED = (torch.jit.ScriptModule, torch.jit.ScriptFunction)


class Snapshot:
    """The state of an object and of all that it holds, at any depth.

    Objects are compared by their identities, and the numbers of tensors and arrays to the last bit, with copies: torch
    counts only some of the writes into a tensor. Followed are closures, defaults and globals of functions, what they
    name in modules of the user, and the classes of the user; the environment and global hooks are compared, too. Not
    seen are libraries, and state outside of Python: files, or variables of compiled code.

    Args:
        followed: The object and all that it holds, see ``take_snapshot``.
        nbytes: Number of bytes of the copies.
    """

    def __init__(self, followed: list[Any], nbytes: int) -> None:
        self.nbytes = nbytes
        self._settings = _torch_settings()
        self._tensors = [each for each in followed if isinstance(each, Tensor)]
        self._arrays = [each for each in followed if isinstance(each, BUFFERS)]
        self._globals = [each for each in followed if isinstance(each, Global)]
        self._holders = [each for each in followed if not isinstance(each, (Tensor, *BUFFERS, Global))]
        self._held, self._lengths = _held(self._holders), _lengths(self._holders)
        self._tensor_states = [(_traits(each), _bits(each).clone()) for each in self._tensors]
        self._array_states = [(_array_traits(each), _items(each)) for each in self._arrays]

    def is_current(self) -> bool:
        """Return whether nothing has changed; also False where this can't be told."""
        held = _held(self._holders)
        if len(held) != len(self._held) or not all(map(is_, held, self._held)):
            return False
        if self._settings != _torch_settings() or not all(each.is_current() for each in self._globals):
            return False
        try:
            if self._lengths != _lengths(self._holders):
                return False
            tensors_are = all(map(_is_same_tensor, self._tensors, self._tensor_states))
            return tensors_are and all(map(_is_same_array, self._arrays, self._array_states))
        except Exception:  # a tensor that no longer has numbers
            return False


def take_snapshot(root: Any, room: float) -> Snapshot | None:
    """Take a snapshot of an object, and of all that it holds.

    Args:
        root: Any object.
        room: Largest number of bytes of the copies.

    Returns:
        None if the copies need more room, if too many objects are held, or if some can't be copied, as those that
        ``torch.jit.script`` makes.
    """
    try:
        followed = [*islice(_follow(root), MAX_OBJECTS + 1)]
        if len(followed) > MAX_OBJECTS or any(isinstance(each, SCRIPTED) for each in followed):
            return None
        size = sum(_nbytes(each) for each in followed if isinstance(each, (Tensor, *BUFFERS)))
        return Snapshot(followed, size) if size <= room else None
    except Exception:  # sparse tensors, tensors of other libraries, and objects that fail when they are looked at
        return None


class Global:
    """A variable that a function uses by its name, in the names of a module.

    Args:
        names: The names of the module, with their values.
        name: The name.
    """

    def __init__(self, names: dict[str, Any], name: str) -> None:
        self.names, self.name, self.value = names, name, names.get(name, MISSING)

    def is_current(self) -> bool:
        """Return whether the name still has this value."""
        return self.names.get(self.name, MISSING) is self.value


def _follow(root: Any) -> Iterator[Any]:
    """Yield ``root`` and all that it holds which may change: holders, tensors, arrays, and globals of functions."""
    seen, pending = dict[int, Any](), [root]
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each  # held, so that no other object gets its id
        if isinstance(each, (Tensor, *BUFFERS)):
            yield each
            pending += each.ravel().tolist() if isinstance(each, np.ndarray) and each.dtype.hasobject else ()
            pending += [each.__dict__] if isinstance(each, Tensor) else ()
        elif isinstance(each, (ModuleType, FunctionType)):
            variables = _own_names(each) if isinstance(each, ModuleType) else _globals(each)
            yield from variables
            pending += [variable.value for variable in variables if not isinstance(variable.value, ModuleType)]
            if isinstance(each, FunctionType):
                yield each
                pending += [each.__closure__, each.__defaults__, each.__kwdefaults__, each.__dict__]
        elif not isinstance(each, LEAVES) or (isinstance(each, type) and not _is_of_library(each)):
            yield each
            pending += gc.get_referents(each)


def _is_of_library(each: Any) -> bool:
    return str(each.__module__).partition(".")[0] in LIBRARIES


def _own_names(module: ModuleType) -> list[Global]:
    """List all variables of a module that something holds, and of the modules of its package among them."""
    package, names = module.__name__.partition(".")[0], {*vars(module)}
    inner = (each for each in vars(module).values() if isinstance(each, ModuleType))
    names.update(*(vars(each) for each in inner if each.__name__.partition(".")[0] == package))
    return _variables(vars(module), names)


def _globals(function: FunctionType) -> list[Global]:
    """List the globals that a function names, and what it names of modules, among them or imported by it."""
    if _is_of_library(function):
        return []
    names, package = {*_names(function.__code__)}, function.__globals__.get("__package__")
    imported = (sys.modules.get(place) for name in names for place in (name, f"{package}.{name}"))
    spaces = [vars(each) for each in imported if isinstance(each, ModuleType)]
    return [variable for space in (function.__globals__, *spaces) for variable in _variables(space, names)]


def _variables(space: dict[str, Any], names: Container[str]) -> list[Global]:
    """List the variables with these names in a space, and in the modules of the user among them, and so on."""
    found, spaces, seen = list[Global](), [space], set[int]()
    while spaces:
        space = spaces.pop()
        if id(space) in seen or str(space.get("__name__")).partition(".")[0] in LIBRARIES:
            continue
        seen.add(id(space))
        new = [Global(space, name) for name in [*space] if name in names and not name.startswith("__")]
        spaces += [vars(each.value) for each in new if isinstance(each.value, ModuleType)]
        found += new
    return found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _held(holders: list[Any]) -> list[Any]:
    """Return what objects hold: values, and the keys of dicts, of which Python gives not all."""
    return gc.get_referents(*holders) + [key for each in holders if isinstance(each, dict) for key in each]


def _lengths(holders: list[Any]) -> list[int]:
    """Return the lengths of containers: an item may have moved from one to the next."""
    return [len(each) for each in holders if isinstance(each, (list, dict, set, tuple))]


def _traits(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.stride()


def _bits(tensor: Tensor) -> Tensor:
    """Return the bits of a tensor as integers, the largest that fit, which are compared fastest."""
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.int64 if flat.nbytes % 8 == 0 else torch.uint8)


def same_bits(tensor: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have the same numbers, to the last bit; False where this can't be told."""
    if tensor.shape != other.shape or tensor.dtype != other.dtype or tensor.layout != torch.strided:
        return False
    return torch.equal(_bits(tensor), _bits(other))


def _is_same_tensor(tensor: Tensor, state: tuple[Any, Tensor]) -> bool:
    traits, bits = state
    return bool(traits == _traits(tensor) and torch.equal(_bits(tensor), bits))


def _nbytes(each: Any) -> int:
    return each.nbytes if isinstance(each, (Tensor, np.ndarray)) else memoryview(each).nbytes


def _array_traits(each: Any) -> tuple[Any, ...]:
    return (each.dtype, each.shape, each.strides) if isinstance(each, np.ndarray) else (type(each), len(each))


def _items(each: Any) -> Any:
    """Return the bytes of an array, or its objects."""
    if not isinstance(each, np.ndarray):
        return bytes(each)
    return each.ravel().tolist() if each.dtype.hasobject else each.tobytes()


def _is_same_array(each: Any, state: tuple[Any, Any]) -> bool:
    traits, items = state
    if traits != _array_traits(each):
        return False
    now = _items(each)
    return all(map(is_, now, items)) if isinstance(now, list) else bool(now == items)


def _torch_settings() -> tuple[Any, ...]:
    """Return what decides, for the whole process or thread, how torch computes: hooks and the environment, too."""
    kinds = ("cpu", "cuda")
    return (
        dict(os.environ),
        [[*each.values()] for each in global_hooks()],
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        *(torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) for kind in kinds),
    )
