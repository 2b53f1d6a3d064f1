"""With what something was computed."""

import platform
from functools import cache
from importlib.metadata import version


@cache  # looking them up takes ten milliseconds
def _found() -> dict[str, str]:
    named = {name: version(name) for name in ("shapae", "torch", "shap", "numpy")}
    return named | {"python": platform.python_version()}


def versions() -> dict[str, str]:
    """Of shapae, what it computes with, and Python."""
    return dict(_found())
