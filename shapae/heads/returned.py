"""Heads that fail, or return something else than numbers of rows: messages that say how to mend them."""

import inspect
from typing import Any

import numpy as np
from torch import Tensor, nn

from shapae.errors import ShapeError
from shapae.heads.functions import FunctionHead, short_name


def check_numbers(head: nn.Module, numbers: Any, n: int) -> Tensor:
    """Check what a head returned, and give it two axes: (n, k).

    Raises:
        ShapeError: It is neither (n,) nor (n, k), or it has no gradient.
    """
    if not isinstance(numbers, Tensor):
        got = type(numbers).__name__
    elif numbers.ndim not in (1, 2) or len(numbers) != n:
        got = str(tuple(numbers.shape))
    else:
        got = "" if numbers.is_floating_point() else f"{numbers.dtype}, which has no gradient"
    if got:
        raise ShapeError(
            f"the head {short_name(head)} must return one number per row ({n},) or k numbers per row ({n}, k), "
            f"floating point, got {got}. It was called with {n} rows.{_cure(numbers, n)}"
        )
    checked: Tensor = numbers.unsqueeze(1) if numbers.ndim == 1 else numbers
    return checked


def _cure(numbers: Any, n: int) -> str:
    if isinstance(numbers, np.ndarray):
        return (
            " Return a tensor, torch.as_tensor(numbers). What numpy computes has no gradient: use backend='sampling', "
            "or 'exact'."
        )
    if isinstance(numbers, dict | list | tuple) and len(numbers):
        return (
            f" Return one of its parts, such as numbers[{next(iter(numbers)) if isinstance(numbers, dict) else 0!r}]."
        )
    if not isinstance(numbers, Tensor):
        return ""
    if numbers.ndim == 0:
        return " Average over the features of each row, not over the rows: .mean(dim=1)."
    if numbers.ndim > 2 and len(numbers) == n:
        return " Put all axes but the first together: .flatten(1)."
    return "" if len(numbers) != n or numbers.is_complex() else " Convert the numbers: numbers.float()."


def advice(head: nn.Module, autoencoder: Any, error: Exception, source: str) -> str:
    """Say how a head may be mended that failed, or at least how it is called.

    Args:
        head: The head.
        autoencoder: The autoencoder that it was called with.
        error: What it raised.
        source: Of its score.
    """
    attribute = getattr(error, "name", None)
    if isinstance(error, AttributeError) and attribute and hasattr(getattr(autoencoder, "model", None), attribute):
        return f"The model itself is autoencoder.model: write autoencoder.model.{attribute}."
    if isinstance(error, TypeError) and _required(head) == 3 and not getattr(head, "anchored", False):
        return (
            "A head takes the autoencoder and the rows; one that takes the explained rows as a third argument says so: "
            "head.anchored = True."
        )
    if source == "latent":
        return "With source='latent' its rows are latents: compare reconstructions with autoencoder.target(rows)."
    called = "A head takes the autoencoder and the rows, and returns (n,) or (n, k)."
    if isinstance(error, IndexError) or "must match the size" in str(error):
        return (
            f"{called} It is called with any number of rows, also of the background, so that it can't hold a number "
            f"for each row of a table, such as a label: return one output for each label, and take that of each row "
            f"afterwards, explanation.values[numpy.arange(n), :, labels]."
        )
    return called


def _required(head: nn.Module) -> int:
    """Count the arguments without a default of a head."""
    call: Any = head.uncompiled if isinstance(head, FunctionHead) else head.forward
    try:
        arguments = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # a function without a signature
        return 2
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.default is each.empty and each.kind in positional for each in arguments)
