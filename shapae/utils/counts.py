"""Whole numbers that users give."""

from typing import Any, TypeGuard

import numpy as np


def is_count(given: Any, least: int, most: float = np.inf) -> "TypeGuard[int]":
    """Return whether ``given`` is a whole number between two others; True and False are none.

    >>> is_count(3, 1), is_count(np.int64(3), 1, 2), is_count(2.0, 1), is_count(True, 1)
    (True, False, False, False)
    """
    return isinstance(given, int | np.integer) and not isinstance(given, bool) and bool(least <= given <= most)
