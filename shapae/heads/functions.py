"""Heads of the user's own: modules and plain functions, and the names of their outputs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from shapae.errors import ModelError, UnknownName
from shapae.heads.base import HEADS, Head
from shapae.heads.losses import LOSSES
from shapae.heads.reconstruction import ReconstructionError
from shapae.models.unwrapping import unwrap
from shapae.utils.constraints import check_arguments
from shapae.utils.kinds import written
from shapae.utils.text import DEVICES_DIFFER, LEAVES_TORCH, SEVERAL_DEVICES
from shapae.utils.torch_private import ORIGINAL_FUNCTION, is_compiled

HeadFunction = Callable[..., Tensor]


class FunctionHead(nn.Module):
    """A plain function as a head.

    Args:
        function: From an autoencoder and rows (n, d) to numbers (n,) or (n, k). Its attributes ``output_names``,
            ``anchored`` and ``chosen`` count, see ``Head``.
    """

    def __init__(self, function: HeadFunction) -> None:
        super().__init__()
        self.function = function
        self.uncompiled = getattr(function, ORIGINAL_FUNCTION, function)  # compiled code can't be traced
        self.anchored = bool(getattr(function, "anchored", False))
        self.chosen = getattr(function, "chosen", None)

    def forward(self, autoencoder: Any, rows: Tensor, *anchors: Tensor) -> Tensor:
        """(n, d) -> (n,), or (n, k)."""
        return self.uncompiled(autoencoder, rows, *anchors)

    def extra_repr(self) -> str:
        """Name of the function."""
        return function_name(self.function)


def function_name(function: Any) -> str:
    """Name a function, or an object that is called; a lambda has no name of its own.

    >>> function_name(len), function_name(lambda x: x)
    ('len', 'score')
    """
    name = getattr(function, "__name__", type(function).__name__)
    return "score" if name == "<lambda>" else str(name)


def short_name(head: nn.Module) -> str:
    """Name a head in a message: by its class, or by its function."""
    return function_name(head.function if isinstance(head, FunctionHead) else head)


def head_name(head: str | nn.Module | HeadFunction) -> str:
    """Name a head: its name, the representation of a module, or the name of a function."""
    if isinstance(head, str):
        return head
    if isinstance(head, FunctionHead):
        return function_name(head.function)
    return str(head) if isinstance(head, nn.Module) else function_name(head)


def as_head(head: str | nn.Module | HeadFunction) -> nn.Module:
    """Return the head of a name, the head of a function, or ``head`` itself.

    Raises:
        ModelError: It is neither a name nor a module nor a function.
        UnknownName: There is no such head.
    """
    if isinstance(head, str):
        return named(head)
    if isinstance(head, nn.Module):
        return unwrap(head) if any(is_compiled(module) for module in head.modules()) else head
    if isinstance(head, type) or not callable(head):
        call = f" Did you mean {head.__name__}()?" if isinstance(head, type) else ""
        raise ModelError(
            f"the head must be a name, a torch.nn.Module, or a function of the autoencoder and the rows, got "
            f"{written(head)}.{call}"
        )
    return FunctionHead(head)


def named(name: str) -> Head:
    """Return the head of a name: "latent" for all its outputs, "latent:3" or "reconstruction:CD79A" for one output.

    "reconstruction_error:mae,fixed" has the loss or the target of the error behind the colon.

    >>> named("latent:3")
    Latent(chosen=['3'])

    Raises:
        UnknownName: There is no such head; the message lists all names.
    """
    check_arguments(name=name)
    kind, colon, choice = name.partition(":")
    if colon and HEADS[kind] is ReconstructionError:
        return ReconstructionError.of(choice)
    if kind in LOSSES and kind not in HEADS:
        raise UnknownName("head", name, [f"reconstruction_error:{kind}", *HEADS])
    head = HEADS[kind]()
    if colon:
        head.chosen = [choice]
    return head


def how_to_choose(head: nn.Module, outputs: Sequence[str]) -> str:
    """Say how one of the outputs of a head is chosen: by the name of the head, or on a head that has no name."""
    names = [name for name, kind in HEADS.items() if kind is type(head)]
    if names and getattr(head, "chosen", None) is None:
        return f"Choose one, such as {outputs[0]!r}: head='{names[0]}:0'."
    return f"Choose one on the head itself, before it is explained: head.chosen = [{outputs[0]!r}]."


def output_names(head: nn.Module, features: Sequence[str], width: int) -> list[str]:
    """Name the outputs of a head before any are chosen.

    Args:
        head: Its attribute ``output_names`` is a list of names, or a method as in ``Head``. Heads without it are named
            after their class or function.
        features: d names.
        width: Number of outputs.

    Raises:
        ModelError: The names of the head are not unique, or not as many as its outputs.
    """
    owner = head.function if isinstance(head, FunctionHead) else head
    given = getattr(owner, "output_names", None)
    if given is None:
        name = short_name(head)
        return [name] if width == 1 else [f"{name} {output}" for output in range(width)]
    given = given(features, width) if callable(given) else given
    given = [given] if isinstance(given, str) or not isinstance(given, Iterable) else given
    names = [str(name) for name in given]
    if len(names) != width or len({*names}) < width:
        raise ModelError(
            f"output_names of the head {short_name(head)} must be {width} different names, one for each output, got "
            f"{names}."
        )
    return names


# Parts of what torch says, and what that means.
KNOWN_ERRORS = {
    **dict.fromkeys(DEVICES_DIFFER, SEVERAL_DEVICES),
    "Can't call numpy()": LEAVES_TORCH,
    "Inference tensors": "has tensors that were made within torch.inference_mode(), with which nothing has a gradient. "
    "Copy the model outside of it, copy.deepcopy(model), or use backend='sampling', which needs no gradients.",
    "between 0 and 1": "computes a binary cross-entropy of numbers that are not between 0 and 1, which rows with some "
    "replaced features may have even if no row has. If these are logits, use the loss 'bce_with_logits', or "
    "torch.nn.functional.binary_cross_entropy_with_logits.",
}


def refuse_known(head: nn.Module, error: RuntimeError) -> None:
    """Say what is wrong where torch does not say it in the words of the user.

    Raises:
        ModelError: The error is one of ``KNOWN_ERRORS``.
    """
    for part, meaning in KNOWN_ERRORS.items():
        if part in str(error):
            raise ModelError(f"the head {short_name(head)}, or the model, {meaning}") from error
