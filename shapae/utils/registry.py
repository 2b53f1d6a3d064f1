"""Registries: a mapping that accepts each name once, and the modules of a package as a mapping."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

from shapae.errors import UnknownName

V = TypeVar("V")


class Registry(Mapping[str, V]):
    """Mapping from names to objects; each name can be registered once.

    >>> colours: Registry[int] = Registry("colour")
    >>> _ = colours.register("red")(0xFF0000)
    >>> sorted(colours)
    ['red']
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, V] = {}

    def register(self, *names: str) -> Callable[[V], V]:
        """Return a decorator that registers an object under each of ``names``.

        Raises:
            ValueError: A name is already taken.
        """
        for name in names:
            if name in self._entries:
                raise ValueError(
                    f"{self.kind} {name!r} is already taken by {self._entries[name]!r}. Choose another name."
                )

        def decorate(entry: V) -> V:
            self._entries.update(dict.fromkeys(names, entry))
            return entry

        return decorate

    def __getitem__(self, name: str) -> V:
        if name not in self._entries:
            raise UnknownName(self.kind, name, list(self))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class ModuleRegistry(Mapping[str, ModuleType]):
    """Mapping from names to the modules of a package, without ``_private`` modules.

    A module is imported at its first access, so that its optional dependencies are not needed before.

    >>> import json
    >>> sorted(ModuleRegistry("module of json", json.__name__, json.__path__))
    ['decoder', 'encoder', 'scanner', 'tool']
    """

    def __init__(self, kind: str, package: str, path: list[str]) -> None:
        self.kind = kind
        self._package = package
        self._names = [module.name for module in iter_modules(path) if not module.name.startswith("_")]

    def __getitem__(self, name: str) -> ModuleType:
        if name not in self._names:
            raise UnknownName(self.kind, name, self._names)
        return import_module(f"{self._package}.{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
