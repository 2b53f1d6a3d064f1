"""Models that store results on themselves and read them back: threads run them in turn."""

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from threading import RLock
from typing import Any
from weakref import ref

from torch import nn

# Modules that store something in their forward, by their ids, with the locks of their turns.
_TURNS: dict[int, tuple["ref[nn.Module]", Any]] = {}


@contextmanager
def stores_noticed(root: nn.Module) -> Iterator[None]:
    """Notice which modules in ``root`` store something while they run inside: from then on they are run in turn.

    Attributes count that are set, also those that are set to another number, and items of lists and dicts of a module.
    """
    before = [(module, _held(module)) for module in root.modules()]
    yield
    for module, held in before:
        now = _held(module)
        if _turn_of(module) is None and not (len(now) == len(held) and all(map(_is, now, held))):
            _TURNS[id(module)] = (ref(module, _forget), RLock())


def _held(module: nn.Module) -> list[Any]:
    """List what a module holds: its attributes, and the items of those that are containers."""
    held = [*vars(module).values()]
    for each in vars(module).values():
        held += each.values() if isinstance(each, dict) else each if isinstance(each, list | tuple | deque) else ()
    return held


def _is(one: Any, other: Any) -> bool:
    return one is other


def _forget(gone: "ref[nn.Module]") -> None:
    for key in [key for key, (module, _) in [*_TURNS.items()] if module is gone]:
        _TURNS.pop(key, None)


def _turn_of(module: nn.Module) -> Any:
    known, lock = _TURNS.get(id(module), (None, None))
    return lock if known is not None and known() is module else None


def in_turn(root: nn.Module) -> AbstractContextManager[Any]:
    """Wait until no other thread runs the modules in ``root`` that store something; it takes no time without any."""
    if not _TURNS:
        return nullcontext()
    locks = {id(lock): lock for module in root.modules() if (lock := _turn_of(module)) is not None}
    stack = ExitStack()
    try:
        for key in sorted(locks):  # in one order, so that no two threads wait for each other
            stack.enter_context(locks[key])
    except BaseException:
        stack.close()
        raise
    return stack
