"""Pictures of results in rooms below that of the plots, which these rooms can't import."""

from importlib import import_module
from typing import Any


def draw(plot: str, result: Any, **options: Any) -> Any:
    """Draw a result by a function of ``shapae.plots``.

    Args:
        plot: Name of the function.
        result: The result.
        **options: Arguments of the function.

    Returns:
        The Axes; nothing is shown or saved.
    """
    return getattr(import_module("shapae.plots"), plot)(result, **options)
