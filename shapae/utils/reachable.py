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

# Objects whose references are not followed: they hold nothing, or they refer to the whole process.
NUMBERS_AND_TEXT = (str, bytes, int, float, complex, type(None))
OF_THE_PROCESS = (type, FunctionType, BuiltinFunctionType, ModuleType, FrameType, GeneratorType, logging.Logger)
LEAVES = (*NUMBERS_AND_TEXT, *OF_THE_PROCESS, Tensor)


def reachable(root: Any) -> Iterator[Any]:
    """Yield ``root`` and all objects that it holds, at any depth, each once: attributes, items, and theirs.

    >>> [each for each in reachable([1, {"a": (2.5,)}]) if isinstance(each, float)]
    [2.5]
    """
    seen, found = dict[int, Any](), [root]
    while found:  # layer by layer, so that one call of Python finds all that a layer refers to
        new = {id(each): each for each in found if id(each) not in seen}
        seen |= new
        found = gc.get_referents(*(each for each in new.values() if not isinstance(each, LEAVES)))
    yield from seen.values()


@contextmanager
def results_removed(root: Any) -> Iterator[None]:
    """Afterwards, take the tensors that came in meanwhile out of the lists, dicts, sets and deques in ``root``."""
    kinds = (list, dict, set, deque)
    before = [(each, _copied(each)) for each in reachable(root) if isinstance(each, kinds)]
    try:
        yield
    finally:
        for container, items in before:
            if container or items:  # most containers of a module are empty
                _remove_results(container, items)


def _copied(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)


def _has_same_items(container: Any, items: Any) -> bool:
    if isinstance(container, dict):
        return bool(container.keys() == items.keys())
    return len(container) == len(items) and all(map(is_, container, items))


def _remove_results(container: Any, items: Any) -> None:
    """Remove what was added to ``container``, with ``items`` before, if there are tensors in it."""
    if _has_same_items(container, items):  # nearly always, and there may be hundreds of containers
        return
    if isinstance(container, dict):  # a new value of an old key is no addition: it replaces another result
        added = {key: container[key] for key in container.keys() - items.keys()}
    else:
        known = set(map(id, items))
        added = {id(item): item for item in container if id(item) not in known}
    if not any(isinstance(each, Tensor) for each in reachable(added)):
        return
    if isinstance(container, dict):
        for key in added:
            del container[key]
    elif isinstance(container, set):
        container.difference_update(added.values())
    else:
        container.clear()
        container.extend(items)
