"""Recordings of the calls of a part of a model, in one thread."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from threading import RLock, get_ident
from typing import Any

from torch import Tensor, nn

# Inputs and outputs of calls.
Calls = list[tuple[Tensor, Any]]


@contextmanager
def recorded(model: nn.Module, path: str) -> Iterator[Calls]:
    """Record the first tensor of each call of a method or module of ``model`` in this thread, and what it returns."""
    part, calls = attrgetter(path)(model), Calls()
    if isinstance(part, nn.Module):
        record = _recorder(calls)
        hook = part.register_forward_hook(lambda _, *call: record(*call), with_kwargs=True)
        try:
            yield calls
        finally:
            hook.remove()
        return
    owner, _, name = path.rpartition(".")
    with _watched(attrgetter(owner)(model) if owner else model, name, _recorder(calls)):
        yield calls


def _recorder(calls: Calls) -> Callable[..., None]:
    thread = get_ident()

    def record(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if get_ident() == thread:
            calls.extend([(each, output) for each in (*args, *kwargs.values()) if isinstance(each, Tensor)][:1])

    return record


_LOCK = RLock()


@contextmanager
def _watched(owner: nn.Module, name: str, record: Callable[..., None]) -> Iterator[None]:
    """Let a method tell each call to ``record``, and to those of other threads: the last of them puts it back."""
    with _LOCK:
        method = vars(owner).get(name)
        if not isinstance(method, WatchedMethod):
            method = vars(owner)[name] = WatchedMethod(owner, name)  # hides the method of the class
        method.records.append(record)
    try:
        yield
    finally:
        with _LOCK:
            method.records.remove(record)
            if not method.records:
                method.put_back()


class WatchedMethod:
    """A method of one object that tells its calls. Copies of the object have the method itself.

    Args:
        owner: The object.
        name: Name of the method.
    """

    def __init__(self, owner: nn.Module, name: str) -> None:
        self.owner, self.name, self.is_own = owner, name, name in vars(owner)
        self.method = getattr(owner, name)
        self.records = list[Callable[..., None]]()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method, and tell it."""
        output = self.method(*args, **kwargs)
        for record in [*self.records]:
            record(args, kwargs, output)
        return output

    def __reduce__(self) -> Any:
        return (_itself, (self.method,)) if self.is_own else (getattr, (self.owner, self.name))

    def put_back(self) -> None:
        """Put the method back, where the object or its class has it."""
        if self.is_own:
            vars(self.owner)[self.name] = self.method
        else:
            del vars(self.owner)[self.name]


def _itself(method: Any) -> Any:
    return method
