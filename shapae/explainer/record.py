"""The record of a result: how it was made, and with which versions of the libraries and of Python."""

import platform
import sys
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from shapae.utils.version import __version__

LIBRARIES = ("torch", "shap", "numpy")


@cache  # a look-up takes ten milliseconds
def _versions() -> dict[str, str]:
    libraries = {name: _version(name) for name in LIBRARIES}
    return {"shapae": __version__} | libraries | {"python": platform.python_version()}


def _version(name: str) -> str:
    """Look up a version; a library without metadata says it itself, or it is unknown: no result is lost over it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(name), "__version__", "unknown"))


def versions() -> dict[str, str]:
    """Look up all versions, by name."""
    return dict(_versions())


def make_record(start: float, optional: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Make the record of a result.

    Args:
        start: Time at which the work began, by ``time.perf_counter``.
        optional: Further entries, which are left out where they are None.
        settings: Entries that every record has.
    """
    entries = settings | {"versions": versions(), "seconds": round(time.perf_counter() - start, 3)}
    return entries | {name: each for name, each in optional.items() if each is not None}
