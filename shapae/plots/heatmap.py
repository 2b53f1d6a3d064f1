"""Heatmap of the values, rows by features, similar rows side by side."""

import shap
from matplotlib.axes import Axes

from shapae.errors import DataError
from shapae.plots._figure import escape, new_axes, printable, pyplot_axes
from shapae.utils.constraints import check_arguments, check_optional


def draw(explanation: shap.Explanation, *, max_display: int = 15, ax: Axes | None = None) -> Axes:
    """Draw the values of every row, clustered by their values, below a line of their scores.

    Args:
        explanation: Explanation of one output and several rows.
        max_display: Maximum number of features, the last of which is the sum of all others.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: The explanation has several outputs, or a single row; or ``max_display`` is less than 1.
    """
    check_arguments(max_display=max_display)
    check_optional(ax=ax)
    shown = printable(explanation, ndim=2)
    if len(shown.values) < 2:
        raise DataError(
            f"this plot takes 2 rows or more, got {len(shown.values)}. For a single row, use "
            f"shapae.plots.waterfall(explanation[0])."
        )
    ax = new_axes(ax, 9, 6)
    with pyplot_axes(ax):
        shap.plots.heatmap(shown, max_display=max_display, ax=ax, show=False)
    ax.set_xlabel(f"rows, clustered by their SHAP values for {escape(shown.output_names)}")
    return ax
