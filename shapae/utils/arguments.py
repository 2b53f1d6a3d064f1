"""Arguments of constructors, read back from the objects that were made of them."""

from collections.abc import Callable
from inspect import signature
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shapae.utils.reachable import OF_THE_PROCESS

# Types of arguments that JSON holds.
PLAIN = (str, int, float, bool, list, NoneType)


def read_arguments(made: Any, attribute: Callable[[Any, str], Any] = getattr) -> dict[str, Any] | None:
    """Read back the arguments of the constructor of an object, from its attributes.

    Args:
        made: Any object.
        attribute: Function of the object and of the name of an argument, which returns the argument.

    Returns:
        By name; None if arguments are not plain, or do not make an equal object.

    >>> from torch import nn
    >>> read_arguments(nn.Dropout(0.2)), read_arguments(nn.Identity())
    ({'p': 0.2, 'inplace': False}, None)
    """
    try:
        arguments = {name: attribute(made, name) for name in signature(type(made)).parameters}
        plain = all(isinstance(each, PLAIN) for each in arguments.values())
        return arguments if plain and alike(type(made)(**arguments), made) else None
    except Exception:  # classes of the user may fail in any way
        return None


def alike(one: Any, other: Any) -> bool:
    """Return whether two objects are of one class and hold equal numbers, text and functions; modes do not count.

    >>> from torch import nn
    >>> alike(nn.Dropout(0.5).eval(), nn.Dropout(0.5)), alike(nn.Dropout(0.5), nn.Dropout(0.2))
    (True, False)
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, (Tensor, np.ndarray)):
        return one.dtype == other.dtype and bool(torch.equal(torch.as_tensor(one), torch.as_tensor(other)))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    compares: Any = type(one).__eq__
    if compares is object.__eq__ and hasattr(one, "__dict__") and not isinstance(one, OF_THE_PROCESS):
        return alike(_state(one), _state(other))
    return bool(one == other)


def _state(each: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(each).items() if name != "training"}
