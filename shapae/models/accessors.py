"""Ways to what a model does: by a path to one of its parts, by a key of what its forward returns, or by a function.

They are small callable objects, not closures: a copy or a worker process gets them without the user's model.
"""

from collections.abc import Callable
from inspect import getattr_static
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.models import outputs as returned

Accessor = Callable[[Any, Tensor], Any]


def as_accessor(name: str, part: Any, model: nn.Module, *, keys: bool = True) -> Accessor | None:
    """The way that ``part`` describes: see ``shapae.Autoencoder``.

    Args:
        name: Of the argument, for the message.
        part: A function, a path, a key, or None.
        model: Its parts tell paths from keys.
        keys: Whether there can be keys.

    Raises:
        ModelError: It is none of these.
    """
    if isinstance(part, str) and _has_path(model, part):
        return ModulePath(part)
    if keys and isinstance(part, (str, int)):
        return OutputKey(part)
    if part is not None and (isinstance(part, nn.Module) or not callable(part)):
        got = repr(part) if isinstance(part, str) else type(part).__name__
        raise ModelError(
            f"{name} must be a function of the model and the rows, or the path of a part of the model, got {got}; "
            f"write {name}=lambda m, x: m.part(x), or {name}='part', with the part that does it."
        )
    way: Accessor | None = part
    return way


def _has_path(model: nn.Module, path: str) -> bool:
    try:
        return callable(attrgetter(path)(model))
    except AttributeError:
        return False


def has_forward(model: nn.Module) -> bool:
    """Whether ``model`` has a forward of its own."""
    return getattr_static(model, "forward") is not nn.Module.forward  # scripted modules find theirs for instances only


def find_paths(model: nn.Module, *names: str) -> list[Accessor]:
    """The methods or parts of ``model`` that have one of these names."""
    return [ModulePath(name) for name in names if _has_path(model, name)]


class ModulePath:
    """A method or a part of the model."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """What it returns for ``rows``."""
        return model(rows) if self.path == "forward" else attrgetter(self.path)(model)(rows)

    def __str__(self) -> str:
        return self.path


class OutputKey:
    """What forward returns under a key, at a position or as an attribute."""

    def __init__(self, key: str | int) -> None:
        self.key = key

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """What is there for ``rows``.

        Raises:
            ModelError: Nothing.
        """
        output = model(rows)
        found = returned.output_fields(output)
        if self.key in found:
            return found[self.key]
        raise ModelError(
            f"forward of {type(model).__name__} returns no {self.key!r}, and the model has no part of that name: it "
            f"returns {returned.describe_output(output)}. Give one of these keys, or a function of the model and "
            f"the rows."
        )


class OtherOutputs:
    """What forward returns beside the reconstruction."""

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        """By key."""
        return returned.without_reconstruction(model(rows), (rows.shape[0], rows.shape[1]))

    def __str__(self) -> str:
        return "forward, beside the reconstruction,"
