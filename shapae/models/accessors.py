"""Accessors of a model: the path of a module, a key of the output of forward, or a function.

Accessors are small callable objects, not closures, so that copies and worker processes receive them without the model.
"""

from collections.abc import Callable
from inspect import getattr_static
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.models import outputs

Accessor = Callable[[Any, Tensor], Any]


def as_accessor(name: str, part: Any, model: nn.Module, *, keys: bool = True) -> Accessor | None:
    """Convert ``part`` to an accessor, as described in ``shapae.Autoencoder``.

    Args:
        name: Name of the argument, for the error message.
        part: A function, a path, a key, or None.
        model: The model, whose attributes distinguish paths from keys.
        keys: Whether ``part`` may be a key.

    Raises:
        ModelError: ``part`` is neither a function nor a path nor a key.
    """
    if isinstance(part, str) and _has_path(model, part):
        return ModulePath(part)
    if keys and isinstance(part, (str, int)):
        return OutputKey(part)
    if part is not None and (isinstance(part, nn.Module) or not callable(part)):
        got = repr(part) if isinstance(part, str) else type(part).__name__
        raise ModelError(
            f"{name} must be a function of the model and the rows, or the path of a part of the model, got {got}. "
            f"Write {name}=lambda m, x: m.part(x), or {name}='part'."
        )
    accessor: Accessor | None = part
    return accessor


def _has_path(model: nn.Module, path: str) -> bool:
    try:
        return callable(attrgetter(path)(model))
    except AttributeError:
        return False


def has_forward(model: nn.Module) -> bool:
    """Return whether ``model`` defines a forward method."""
    return getattr_static(model, "forward") is not nn.Module.forward  # static: scripted modules define it by instance


def find_paths(model: nn.Module, *names: str) -> list[Accessor]:
    """Find the methods and modules of ``model`` with these names."""
    return [ModulePath(name) for name in names if _has_path(model, name)]


class ModulePath:
    """A method or a module within the model."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run the method or module on ``rows``."""
        return model(rows) if self.path == "forward" else attrgetter(self.path)(model)(rows)

    def __str__(self) -> str:
        return self.path


class OutputKey:
    """A key, position or attribute of the output of forward."""

    def __init__(self, key: str | int) -> None:
        self.key = key

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run the model on ``rows`` and return the field under the key.

        Raises:
            ModelError: The output has no such key.
        """
        output = model(rows)
        fields = outputs.output_fields(output)
        if self.key in fields:
            return fields[self.key]
        raise ModelError(
            f"forward of {type(model).__name__} returns no {self.key!r}, and the model has no part of that name. "
            f"Forward returns {outputs.describe_output(output)}. Give one of these keys, or a function of the model "
            f"and the rows."
        )


class OtherOutputs:
    """All fields of the output of forward except the reconstruction."""

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """Run the model on ``rows`` and return its other fields by key."""
        return outputs.without_reconstruction(model(rows), (rows.shape[0], rows.shape[1]))

    def __str__(self) -> str:
        return "forward, beside the reconstruction,"
