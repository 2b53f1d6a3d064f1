"""Whole numbers that users give."""

from typing import Any, TypeGuard

import numpy as np

from shapae.errors import DataError


def is_count(given: Any, least: int, most: float = np.inf) -> "TypeGuard[int]":
    """Return whether ``given`` is a whole number between two others; True and False are none.

    >>> is_count(3, 1), is_count(np.int64(3), 1, 2), is_count(2.0, 1), is_count(True, 1)
    (True, False, False, False)
    """
    return isinstance(given, int | np.integer) and not isinstance(given, bool) and bool(least <= given <= most)


def check_count(name: str, given: Any, least: int = 1) -> int:
    """Check a number of rows, features or repetitions, and return it.

    Args:
        name: Name of the argument, for the message.
        given: The argument.
        least: Smallest number that it may be.

    Raises:
        DataError: It is not an integer, or it is smaller.
    """
    if not is_count(given, least):
        raise DataError(f"{name} must be an integer, at least {least}, got {given!r}.")
    return int(given)
