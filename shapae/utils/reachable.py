"""All objects that an object holds, at any depth, and the results that its containers collect."""

import gc
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from types import BuiltinFunctionType, FrameType, FunctionType, GeneratorType, ModuleType
from typing import Any

from torch import Tensor

from shapae.utils.loans import Loans

# Objects whose references are not followed: they hold nothing, or they refer to the whole process.
NUMBERS_AND_TEXT = (str, bytes, int, float, complex, type(None))
OF_THE_PROCESS = (type, FunctionType, BuiltinFunctionType, ModuleType, FrameType, GeneratorType, logging.Logger)
LEAVES = (*NUMBERS_AND_TEXT, *OF_THE_PROCESS, Tensor)
# Containers that may collect results.
KINDS = (list, dict, set, deque)


def reachable(root: Any) -> Iterator[Any]:
    """Yield ``root`` and all objects that it holds, at any depth, each once: attributes, items, and theirs.

    >>> [each for each in reachable([1, {"a": (2.5,)}]) if isinstance(each, float)]
    [2.5]
    """
    seen, found = dict[int, Any](), [root]
    while found:  # layer by layer, so that one call of Python finds all that a layer refers to
        new = {id(each): each for each in found if id(each) not in seen}
        seen |= new
        inner = {kind for kind in {*map(type, new.values())} if not issubclass(kind, LEAVES)}
        found = gc.get_referents(*(each for each in new.values() if type(each) in inner))
    yield from seen.values()


@contextmanager
def results_removed(root: Any) -> Iterator[None]:
    """Afterwards, take the tensors that came in meanwhile out of the lists, dicts, sets and deques in ``root``.

    Items that were replaced come back. Containers are shared by threads, see ``Loans``.
    """
    found = [*reachable(root)]
    kinds = {kind for kind in {*map(type, found)} if issubclass(kind, KINDS)}
    with _CONTAINERS.lent(each for each in found if type(each) in kinds):
        yield


def _items(container: Any) -> Any:
    """Return the items of a container; most containers of a module are empty."""
    return _copied(container) if container else ()


def _copied(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)


def _has_same_items(container: Any, items: Any) -> bool:
    if isinstance(items, dict):
        return container.keys() == items.keys() and all(map(is_, container.values(), items.values()))
    return len(container) == len(items) and all(map(is_, container, items))


def _remove_results(container: Any, items: Any) -> None:
    """Restore ``container``, with ``items`` before, if there are tensors among what came in."""
    if not container and not items or _has_same_items(container, items):  # nearly always, of hundreds of containers
        return
    if isinstance(container, dict):
        items = dict(items)
        added = {key: each for key, each in container.items() if items.get(key, items) is not each}
    else:
        known = set(map(id, items))
        added = {id(item): item for item in container if id(item) not in known}
    if not any(isinstance(each, Tensor) for each in reachable(added)):
        return
    if isinstance(container, dict):
        for key in added.keys() - items.keys():
            del container[key]
        container.update({key: items[key] for key in added.keys() & items.keys()})
    elif isinstance(container, set):
        container.difference_update(added.values())
    else:
        container.clear()
        container.extend(items)


_CONTAINERS = Loans(_items, _remove_results)
