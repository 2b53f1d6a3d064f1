"""Bars of the features with the largest values."""

import numpy as np
import shap
from matplotlib.axes import Axes

from shapae.plots._figure import escape, new_axes, printable, pyplot_axes, relabel_bars


def draw(explanation: shap.Explanation, *, max_display: int = 20, ax: Axes | None = None) -> Axes:
    """Draw the mean |value| of each feature over the rows, or the values of a single row.

    Args:
        explanation: Explanation of one output, and one row or several.
        max_display: Maximum number of features, in descending order.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: The explanation has several outputs.
    """
    shown = printable(explanation)
    bars = shown.values if shown.values.ndim == 1 else np.abs(shown.values).mean(axis=0)
    largest = np.argsort(-np.abs(bars))[:max_display].tolist()
    ax = new_axes(ax, 8, 0.4 * len(largest) + 1.2)
    with pyplot_axes(ax):
        # Only the displayed features: otherwise shap adds a bar with the sum of all others.
        shap.plots.bar(shown[..., largest], max_display=len(largest), ax=ax, show=False)
    relabel_bars(ax, {len(largest) - rank: bars[j] for rank, j in enumerate(largest)})
    if min(bars[largest]) < 0:  # shap leaves room for "-0.00" only
        left, right = ax.get_xlim()
        ax.set_xlim(left - 0.16 * (right - left), right + 0.06 * (right - left))
    label = "SHAP value" if shown.values.ndim == 1 else "mean |SHAP value|"
    ax.set_xlabel(f"{label} (impact on {escape(shown.output_names)})", fontsize=12)
    return ax
