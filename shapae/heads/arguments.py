"""Heads by their class and arguments, of which they can be made again."""

from typing import Any

from torch import nn

from shapae.errors import UnknownName
from shapae.heads.base import HEADS
from shapae.heads.losses import LOSSES
from shapae.heads.reconstruction import ErrorFromOthers
from shapae.utils.arguments import alike, read_arguments

# Classes of heads by their names.
KINDS: dict[str, Any] = {kind.__name__: kind for kind in (*HEADS.values(), ErrorFromOthers)}
# Arguments with another name than the attribute that holds them.
ATTRIBUTES = {"units": "chosen", "features": "chosen"}


def describe_head(head: nn.Module) -> dict[str, Any] | None:
    """Describe a head by its class and arguments, in plain text and numbers.

    Returns:
        None for heads, or losses, that are not of shapae, or have arguments that are more than that.

    >>> from shapae.heads import named
    >>> describe_head(named("latent:3"))
    {'class': 'Latent', 'units': ['3']}
    """
    name = type(head).__name__
    arguments = read_arguments(head, _attribute) if KINDS.get(name) is type(head) else None
    return None if arguments is None else {"class": name} | arguments


def make_head(described: dict[str, Any]) -> nn.Module:
    """Make the head that ``describe_head`` describes.

    Raises:
        UnknownName: There is no such class.
    """
    arguments = dict(described)
    name = arguments.pop("class")
    if name not in KINDS:
        raise UnknownName("class of heads", name, [*KINDS])
    head: nn.Module = KINDS[name](**arguments)
    return head


def _attribute(head: Any, name: str) -> Any:
    if name == "loss":
        return next(loss for loss, make in LOSSES.items() if alike(make(), head.loss))
    if name == "target":
        return "fixed" if head.anchored else "moving"
    return getattr(head, ATTRIBUTES.get(name, name))
