"""Waterfall from the base value to the score of one row, feature by feature."""

import numpy as np
import shap
from matplotlib.axes import Axes

from shapae.plots._figure import escape, new_axes, printable, pyplot_axes, relabel_bars
from shapae.utils.constraints import check_arguments, check_optional


def draw(explanation: shap.Explanation, *, max_display: int = 15, ax: Axes | None = None) -> Axes:
    """Draw the values of one row as steps from the mean score of the background to the score of the row.

    Args:
        explanation: Explanation of one output and one row: ``explanation[0]``.
        max_display: Maximum number of features, the last of which is the sum of all others.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: The explanation has several outputs or rows; or ``max_display`` is less than 1.
    """
    check_arguments(max_display=max_display)
    check_optional(ax=ax)
    shown = printable(explanation, ndim=1)
    shown.values = shown.values.astype(np.float64)  # shap places two labels 1e-8 apart: too close for float32
    lines = min(max_display, len(shown.values))
    ax = new_axes(ax, 8, 0.5 * lines + 1.5)
    with pyplot_axes(ax):
        shap.plots.waterfall(shown, max_display=max_display, show=False)
    largest = shown.values[np.argsort(-np.abs(shown.values))]
    values = [*largest[: lines - 1], largest[lines - 1 :].sum()]
    relabel_bars(ax, {lines - 1 - rank: value for rank, value in enumerate(values)})
    ax.set_xlabel(escape(shown.output_names), fontsize=13, labelpad=16)  # below shap's E[f(X)]
    return ax
