"""Bars of the features with the largest values."""

import numpy as np
import shap
from matplotlib.axes import Axes

from shapae.plots._figure import escaped, new_axes, pyplot_axes, readable, relabel_bars


def draw(explanation: shap.Explanation, *, max_display: int = 20, ax: Axes | None = None) -> Axes:
    """Draw the mean |value| of each feature over the rows, or the values of a single row.

    Args:
        explanation: Of one output, and one row or several.
        max_display: How many features, the largest first.
        ax: Where to draw; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There are several outputs.
    """
    shown = readable(explanation)
    bars = shown.values if shown.values.ndim == 1 else np.abs(shown.values).mean(axis=0)
    largest = np.argsort(-np.abs(bars))[:max_display].tolist()
    ax = new_axes(ax, 8, 0.4 * len(largest) + 1.2)
    with pyplot_axes(ax):
        # Only the features to show, because shap would draw one bar more: the sum of all others.
        shap.plots.bar(shown[..., largest], max_display=len(largest), ax=ax, show=False)
    relabel_bars(ax, {len(largest) - place: bars[j] for place, j in enumerate(largest)})
    if min(bars[largest]) < 0:  # shap has left room for "-0.00" before the names
        left, right = ax.get_xlim()
        ax.set_xlim(left - 0.16 * (right - left), right + 0.06 * (right - left))
    label = "SHAP value" if shown.values.ndim == 1 else "mean |SHAP value|"
    ax.set_xlabel(f"{label} (impact on {escaped(shown.output_names)})", fontsize=12)
    return ax
