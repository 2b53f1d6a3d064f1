"""Accessors of a model: the path of a part, a field of what a part returns, or a function of the user.

Accessors are small callable objects, not closures, so that copies and worker processes receive them without the model.
``str`` of an accessor says what it runs, and ``code`` is the Python expression of it for the argument ``x``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import getattr_static
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.models import outputs
from shapae.models.recordings import recorded

Accessor = Callable[[Any, Tensor], Any]


@dataclass(frozen=True)
class Part:
    """A method or a module within the model.

    Attributes:
        path: Path of the part, such as "net.encoder"; "forward" for the model itself.
    """

    path: str

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run the method or module on ``rows``."""
        return model(rows) if self.path == "forward" else attrgetter(self.path)(model)(rows)

    def __str__(self) -> str:
        return self.path

    def code(self, x: str = "x") -> str:
        """Return the expression."""
        return f"m({x})" if self.path == "forward" else f"m.{self.path}({x})"


# The model itself.
FORWARD = Part("forward")


@dataclass(frozen=True)
class Field:
    """A field, a position or the mean of what another accessor returns.

    Attributes:
        inner: The other accessor.
        key: Key, position or attribute of the field; None for the mean of a distribution.
        dotted: Whether the field is an attribute, in the expression.
    """

    inner: Any
    key: str | int | None
    dotted: bool = False

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run the inner accessor and return the field.

        Raises:
            ModelError: There is no such field.
        """
        output = self.inner(model, rows)
        if self.key is None:
            return output.mean
        fields = outputs.output_fields(output)
        if self.key in fields:
            return fields[self.key]
        raise ModelError(
            f"{self.inner} of {type(model).__name__} returns no {self.key!r}, and the model has no part of that name. "
            f"It returns {outputs.describe_output(output)}. Give one of these keys, or a function of the model and "
            f"the rows."
        )

    def __str__(self) -> str:
        return f"{self.inner}{self._suffix}"

    def code(self, x: str = "x") -> str:
        """Return the expression."""
        return f"{self.inner.code(x)}{self._suffix}"

    @property
    def _suffix(self) -> str:
        if self.key is None:
            return ".mean"
        return f".{self.key}" if self.dotted else f"[{self.key!r}]"


@dataclass(frozen=True)
class Chain:
    """A module of the model after another accessor, such as the layer of the means after the trunk of an encoder.

    Attributes:
        inner: The other accessor.
        outer: The part that runs on its result.
    """

    inner: Any
    outer: Any

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run both, one after the other."""
        return self.outer(model, self.inner(model, rows))

    def __str__(self) -> str:
        return f"{self.inner} -> {self.outer}"

    def code(self, x: str = "x") -> str:
        """Return the expression."""
        return str(self.outer.code(self.inner.code(x)))


@dataclass(frozen=True)
class Within:
    """The output of a module while another part of the model runs, with the inputs that the module has there.

    Attributes:
        part: The module.
        whole: The accessor that runs.
    """

    part: Part
    whole: Any

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run the whole, and return the output of the last call of the module."""
        with recorded(model, self.part.path) as calls:
            self.whole(model, rows)
        return calls[-1][1]

    def __str__(self) -> str:
        return f"{self.part}, within {self.whole}"


@dataclass(frozen=True)
class FirstHalf:
    """The first half of the columns, where an encoder returns mean and log variance side by side.

    Attributes:
        inner: The accessor that returns both.
    """

    inner: Any

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run the inner accessor and return the first half of its columns."""
        return self.inner(model, rows).chunk(2, dim=1)[0]

    def __str__(self) -> str:
        return f"{self.inner}, first half of the columns"

    def code(self, x: str = "x") -> str:
        """Return the expression."""
        return f"{self.inner.code(x)}.chunk(2, dim=1)[0]"


@dataclass(frozen=True)
class FirstLayers:
    """The first layers of a model that is a plain Sequential.

    Attributes:
        count: Number of layers.
    """

    count: int

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run the layers on ``rows``."""
        assert isinstance(model, nn.Sequential)
        return model[: self.count](rows)

    def __str__(self) -> str:
        return f"the first {self.count} layers"

    def code(self, x: str = "x") -> str:
        """Return the expression."""
        return f"m[:{self.count}]({x})"


@dataclass(frozen=True, eq=False)
class Given:
    """A function of the user.

    Attributes:
        function: (model, rows) -> any output.
    """

    function: Accessor

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Call the function."""
        return self.function(model, rows)

    def __str__(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__)).replace("<lambda>", "a function")

    def code(self, x: str = "x") -> str:
        """Return a placeholder of the expression."""
        return f"f(m, {x})"


def as_accessor(name: str, part: Any, model: nn.Module, *, keys: bool = True) -> Any:
    """Convert ``part`` to an accessor, as described in ``shapae.Autoencoder``.

    Args:
        name: Name of the argument, for the error message.
        part: A function, a path, a key, or None.
        model: The model, whose attributes distinguish paths from keys.
        keys: Whether ``part`` may be a key.

    Raises:
        ModelError: ``part`` is neither a function nor a path nor a key.
    """
    prefix, _, rest = part.partition(":") if isinstance(part, str) else ("", "", "")
    if prefix == "part":
        if not has_path(model, rest):
            raise ModelError(f"{name}={part!r}: {type(model).__name__} has no part {rest!r}.")
        return Part(rest)
    if prefix == "key" and keys:
        return Field(FORWARD, rest)
    if isinstance(part, str) and has_path(model, part):
        return Part(part)
    if keys and isinstance(part, str | int) and not isinstance(part, bool):
        return Field(FORWARD, part)
    if part is not None and (isinstance(part, nn.Module | type) or not callable(part)):
        got = repr(part) if isinstance(part, str) else type(part).__name__
        raise ModelError(
            f"{name} must be a function of the model and the rows, or the path of a part of the model, got {got}. "
            f"Write {name}=lambda m, x: m.part(x), or {name}='part'."
        )
    return None if part is None else Given(part)


def as_argument(accessor: Any) -> Any:
    """Return the argument of which ``as_accessor`` makes an accessor: a string, a position, a function, or None.

    >>> as_argument(Part("net.encoder")), as_argument(Field(FORWARD, 1)), as_argument(Given(len))
    ('part:net.encoder', 1, <built-in function len>)
    """
    if isinstance(accessor, Part):
        return f"part:{accessor.path}"
    if isinstance(accessor, Field):
        return f"key:{accessor.key}" if isinstance(accessor.key, str) else accessor.key
    return accessor.function if isinstance(accessor, Given) else None


def has_path(model: nn.Module, path: str) -> bool:
    """Return whether ``model`` has a method or a module of this path."""
    try:
        return callable(attrgetter(path)(model))
    except AttributeError:
        return False


def has_forward(model: nn.Module) -> bool:
    """Return whether ``model`` defines a forward method."""
    return getattr_static(model, "forward") is not nn.Module.forward  # static: scripted modules define it by instance


def find_parts(model: nn.Module, names: Sequence[str]) -> list[Part]:
    """Find the methods and modules of ``model`` with these names: its own first, then those of its parts."""
    owners = [path for path, _ in model.named_modules()]
    paths = [f"{owner}.{name}" if owner else name for owner in sorted(owners, key=_depth) for name in names]
    return [Part(path) for path in paths if has_path(model, path)]


def _depth(path: str) -> int:
    return path.count(".") + bool(path)


def hookable(model: nn.Module, part: Part) -> bool:
    """Return whether the calls of a part can be recorded: modules that are scripted take no hooks."""
    return not isinstance(attrgetter(part.path)(model), torch.jit.ScriptModule)
