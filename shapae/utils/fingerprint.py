"""Fingerprints of arrays and of modules: whether work that is continued is the work that was begun."""

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Addresses of objects in texts, which differ from run to run.
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def fingerprint(arrays: Iterable[Tensor | NDArray[Any]]) -> str:
    """Hash arrays and tensors, bit by bit, with their shapes and dtypes.

    >>> zero = np.zeros(2)
    >>> fingerprint([zero]) == fingerprint([zero.copy()]), fingerprint([zero]) == fingerprint([-zero])
    (True, False)
    """
    found = sha256()
    for each in arrays:
        found.update(f"{tuple(each.shape)} {each.dtype} ".encode())
        found.update(_bytes(each))
    return found.hexdigest()


def fingerprint_state(module: nn.Module) -> str:
    """Hash the tensors of the state_dict of a module."""
    return fingerprint(each for each in module.state_dict().values() if isinstance(each, Tensor))


def fingerprint_text(text: str) -> str:
    """Hash a text, such as that of a module with its layers, without the addresses of objects."""
    return sha256(ADDRESS.sub("", text).encode()).hexdigest()


def _bytes(array: Tensor | NDArray[Any]) -> Any:
    """Return the bytes of an array, without a copy where they lie in order; numpy has not all dtypes of torch."""
    if isinstance(array, Tensor):
        array = array.detach().to_dense().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""
