"""Kinds of arguments: integers, numbers, names and others, each with a phrase for messages."""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from sys import float_info
from typing import Any, Protocol

import numpy as np
from torch import Tensor

# Largest integer that numpy and torch count with.
LARGEST = 2**63 - 1
# Types whose values are written in messages, and the largest number of characters of a value.
PLAIN = (str, bytes, bool, int, float, complex, type(None))
WIDTH = 60


class Constraint(Protocol):
    """The values that an argument may have; ``str`` of it is a noun phrase, "an integer, at least 1"."""

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is one of the values."""


@dataclass(frozen=True)
class Integer:
    """An integer, also of numpy, in a range; True and False are none, and neither is 2.0.

    >>> Integer(1).accepts(np.int64(3)), Integer(1).accepts(2.0), Integer(1).accepts(True)
    (True, False, False)
    """

    least: int = -LARGEST
    most: int = LARGEST
    excluded: int | None = None

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is in the range."""
        number = plain(given)
        if not isinstance(number, int) or isinstance(number, bool):
            return False
        return self.least <= number <= self.most and number != self.excluded

    def __str__(self) -> str:
        most = "2**32 - 1" if self.most == 2**32 - 1 else self.most
        words = "an integer" if self.excluded is None else f"an integer other than {self.excluded}"
        if self.most < LARGEST:
            return f"{words} from {self.least} to {most}"
        return f"{words}, at least {self.least}" if self.least > -LARGEST else words


@dataclass(frozen=True)
class Number:
    """A finite number in a range; True and False are none.

    >>> Number(above=0).accepts(0), Number(0).accepts(0), Number().accepts(float("nan"))
    (False, True, False)
    """

    least: float = -float_info.max
    most: float = float_info.max
    above: float | None = None
    example: str = ""

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is in the range."""
        number = plain(given)  # float32 would be compared with the largest float64 in float32
        if not isinstance(number, int | float) or isinstance(number, bool):
            return False
        return self.least <= number <= self.most and (self.above is None or number > self.above)

    def __str__(self) -> str:
        example = self.example and f", such as {self.example}"
        if self.most < float_info.max:
            lower = f"from {self.least} to" if self.above is None else f"above {self.above} and at most"
            return f"a number {lower} {self.most}{example}"
        if self.above is not None:
            return f"a positive number{example}" if self.above == 0 else f"a number above {self.above}{example}"
        return f"a number, at least {self.least}" if self.least > -float_info.max else "a finite number"


@dataclass(frozen=True)
class Text:
    """A string, of one character or more if ``least`` is 1."""

    least: int = 0

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is such a string."""
        return isinstance(given, str) and len(given) >= self.least

    def __str__(self) -> str:
        return "a string that is not empty" if self.least else "a string"


class OneOf:
    """One of several strings."""

    def __init__(self, *options: str) -> None:
        self.options = options

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is one of the strings."""
        return isinstance(given, str) and given in self.options

    def __str__(self) -> str:
        return " or ".join(map(repr, self.options))


@dataclass(frozen=True)
class Kind:
    """An object of some types.

    Attributes:
        types: The types.
        words: The types in words.
    """

    types: Any
    words: str

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is of one of the types."""
        return isinstance(given, self.types)

    def __str__(self) -> str:
        return self.words


class Function:
    """Anything that can be called, except for a class of which an object was meant."""

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is a function or an object that is called."""
        return callable(given) and not isinstance(given, type)

    def __str__(self) -> str:
        return "a function"


@dataclass(frozen=True)
class Several:
    """A list, array or index whose items satisfy a constraint; a string is none, and a set has no order.

    Attributes:
        each: Constraint of the items.
        words: The whole in words.
        alone: Whether a single item stands for a list of it.
        count: Number of items; None for any number.
        least: Smallest number of items.
        ordered: Whether the order of the items counts, which a set does not have.
    """

    each: Any
    words: str
    alone: bool = False
    count: int | None = None
    least: int = 0
    ordered: bool = True

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is a list of such items."""
        if self.alone and self.each.accepts(given):
            return True
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Collection):
            return False
        if self.ordered and isinstance(given, set | frozenset):
            return False
        if getattr(given, "ndim", 1) != 1 or self.count not in (None, len(given)) or len(given) < self.least:
            return False
        return all(map(self.each.accepts, given))

    def __str__(self) -> str:
        return self.words


class Name:
    """A string, or a number as labels of tables are.

    >>> [Name().accepts(each) for each in ("CD79A", 5, True, b"CD79A", float("nan"))]
    [True, True, False, False, False]
    """

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is a string or a number."""
        return isinstance(given, str) or Number().accepts(given)

    def __str__(self) -> str:
        return "a name"


class Output:
    """A name or a position of an output; also a position in a tensor, of which lists are made."""

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is a string or an integer."""
        number = given.item() if isinstance(given, Tensor) and given.ndim == 0 else given
        return isinstance(number, str) or Integer().accepts(number)

    def __str__(self) -> str:
        return "a name or a position"


class Label:
    """A name or a position: of any type that has a hash, but for tensors."""

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is no array, no list and no truth value."""
        return isinstance(given, Hashable) and not isinstance(given, bool | Tensor | None)

    def __str__(self) -> str:
        return "a name or a position"


def plain(given: Any) -> Any:
    """Convert a number of numpy to one of Python, which JSON holds; others are returned as they are."""
    return given.item() if isinstance(given, np.generic) else given


def written(value: Any) -> str:
    """Write a value in a message: plain values as in code, but short; others by their type.

    >>> written("yes"), written([1.5]), written(np.float64(2.5)), written(10**400), written(int), written(np.eye(2))
    ("'yes'", '[1.5]', '2.5', 'an integer of 1329 bits', 'the class int', 'an array of shape (2, 2)')
    """
    value = plain(value)
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, PLAIN):
        return _short(repr(value))
    if isinstance(value, list | tuple):
        return _short(f"[{', '.join(map(written, value[:WIDTH]))}]")
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
