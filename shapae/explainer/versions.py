"""Versions of shapae, of the libraries that it computes with, and of Python."""

import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

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
