"""Rows by features: the values as colours, similar rows side by side."""

import shap
from matplotlib.axes import Axes

from shapae.errors import DataError
from shapae.plots._figure import escaped, new_axes, pyplot_axes, readable


def draw(explanation: shap.Explanation, *, max_display: int = 15, ax: Axes | None = None) -> Axes:
    """Draw the values of every row, rows clustered by their values; the line above is their score.

    Args:
        explanation: Of one output and several rows.
        max_display: How many features, the last of which is the sum of all others.
        ax: Where to draw; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There are several outputs, or a single row.
    """
    shown = readable(explanation, rows=2)
    if len(shown.values) < 2:
        raise DataError("this plot takes two rows or more; for one row there is shapae.plots.waterfall.")
    ax = new_axes(ax, 9, 6)
    with pyplot_axes(ax):
        shap.plots.heatmap(shown, max_display=max_display, ax=ax, show=False)
    ax.set_xlabel(f"rows, clustered by their SHAP values for {escaped(shown.output_names)}")
    return ax
