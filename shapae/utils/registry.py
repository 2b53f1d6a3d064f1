"""Registries: a table that takes each key once, and a folder of files as a table."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

from shapae.errors import UnknownName

V = TypeVar("V")


class Registry(Mapping[str, V]):
    """Names to objects; each name is taken once.

    >>> colours: Registry[int] = Registry("colour")
    >>> _ = colours.register("red")(0xFF0000)
    >>> sorted(colours)
    ['red']
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, V] = {}

    def register(self, *names: str) -> Callable[[V], V]:
        """Decorator: put the decorated object under each of ``names``.

        Raises:
            ValueError: A name is taken.
        """
        for name in names:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is already taken by {self._entries[name]!r}.")

        def put(entry: V) -> V:
            self._entries.update(dict.fromkeys(names, entry))
            return entry

        return put

    def __getitem__(self, name: str) -> V:
        if name not in self._entries:
            raise UnknownName(self.kind, name, list(self))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class ModuleRegistry(Mapping[str, ModuleType]):
    """The files of a package as a table: a file's name is its key; ``_private`` files are left out.

    A file is imported when it is first asked for, so that one that needs an extra costs nothing until then.

    >>> import json
    >>> sorted(ModuleRegistry("file of json", json.__name__, json.__path__))
    ['decoder', 'encoder', 'scanner', 'tool']
    """

    def __init__(self, kind: str, package: str, path: list[str]) -> None:
        self.kind = kind
        self._package = package
        self._files = [file.name for file in iter_modules(path) if not file.name.startswith("_")]

    def __getitem__(self, name: str) -> ModuleType:
        if name not in self._files:
            raise UnknownName(self.kind, name, self._files)
        return import_module(f"{self._package}.{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
