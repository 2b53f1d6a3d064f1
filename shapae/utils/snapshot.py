"""Snapshots of objects: whether anything that a result was computed from has changed since."""

import gc
import sys
from collections.abc import Iterator
from itertools import islice
from operator import is_
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.utils.reachable import LEAVES

# Packages whose classes and functions do not change.
LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy", "shapae"}
# Largest number of objects that are followed: the comparison would take longer than what it saves.
MAX_OBJECTS = 2**16
MISSING = object()


class Snapshot:
    """The state of an object and of all that it holds, at any depth.

    Objects are compared by their identities, and the numbers of tensors and arrays to the last bit, with copies: torch
    counts only some of the writes into a tensor. Closures, defaults and globals of functions are followed, and the
    classes of the user. Not seen are libraries, and state outside of Python: files, or variables of compiled code.

    Args:
        followed: The object and all that it holds, see ``take_snapshot``.
        nbytes: Number of bytes of the copies.
    """

    def __init__(self, followed: list[Any], nbytes: int) -> None:
        self.nbytes = nbytes
        self._settings = _torch_settings()
        self._tensors = [each for each in followed if isinstance(each, Tensor)]
        self._arrays = [each for each in followed if isinstance(each, np.ndarray)]
        self._globals = [each for each in followed if isinstance(each, Global)]
        self._holders = [each for each in followed if not isinstance(each, (Tensor, np.ndarray, Global))]
        self._held, self._lengths = _held(self._holders), _lengths(self._holders)
        self._tensor_states = [(_traits(each), _bits(each).clone()) for each in self._tensors]
        self._array_states = [(_array_traits(each), _items(each)) for each in self._arrays]

    def is_current(self) -> bool:
        """Return whether nothing has changed; also False where this can't be told."""
        held = _held(self._holders)
        if len(held) != len(self._held) or not all(map(is_, held, self._held)):
            return False
        if self._lengths != _lengths(self._holders) or self._settings != _torch_settings():
            return False
        if not all(each.is_current() for each in self._globals):
            return False
        try:
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
        None if the copies need more room, if too many objects are held, or if some can't be copied.
    """
    followed = [*islice(_follow(root), MAX_OBJECTS + 1)]
    try:
        size = sum(each.nbytes for each in followed if isinstance(each, (Tensor, np.ndarray)))
        return Snapshot(followed, size) if size <= room and len(followed) <= MAX_OBJECTS else None
    except Exception:  # sparse tensors, and tensors of other libraries
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
    if isinstance(root, nn.Module):  # scripted modules hold their tensors outside of Python
        pending += [*root.parameters(), *root.buffers()]
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each  # held, so that no other object gets its id
        if isinstance(each, (Tensor, np.ndarray)):
            yield each
            pending += each.ravel().tolist() if isinstance(each, np.ndarray) and each.dtype.hasobject else ()
        elif isinstance(each, FunctionType):
            yield each
            pending += [each.__closure__, each.__defaults__, each.__kwdefaults__, each.__dict__]
            for variable in () if _is_of_library(each) else _globals(each):
                yield variable
                pending.append(variable.value)
        elif not isinstance(each, LEAVES) or (isinstance(each, type) and not _is_of_library(each)):
            yield each
            pending += gc.get_referents(each)


def _is_of_library(each: Any) -> bool:
    return str(each.__module__).partition(".")[0] in LIBRARIES


def _globals(function: FunctionType) -> Iterator[Global]:
    """Yield the globals that a function names, and what it names of the user's modules among them."""
    names = [*_names(function.__code__)]
    for name in names:
        if name in function.__globals__:
            variable = Global(function.__globals__, name)
            yield variable
            value = variable.value
            if isinstance(value, ModuleType) and value.__name__.partition(".")[0] not in LIBRARIES:
                yield from (Global(vars(value), each) for each in names if each in vars(value))


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


def _is_same_tensor(tensor: Tensor, state: tuple[Any, Tensor]) -> bool:
    traits, bits = state
    return bool(traits == _traits(tensor) and torch.equal(_bits(tensor), bits))


def _array_traits(array: NDArray[Any]) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.strides


def _items(array: NDArray[Any]) -> Any:
    """Return the bytes of an array, or its objects."""
    return array.ravel().tolist() if array.dtype.hasobject else array.tobytes()


def _is_same_array(array: NDArray[Any], state: tuple[Any, Any]) -> bool:
    traits, items = state
    if traits != _array_traits(array):
        return False
    now = _items(array)
    return all(map(is_, now, items)) if array.dtype.hasobject else bool(now == items)


def _torch_settings() -> tuple[Any, ...]:
    """Return what decides, for the whole process or thread, how torch computes."""
    kinds = ("cpu", "cuda")
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        *(torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) for kind in kinds),
    )
