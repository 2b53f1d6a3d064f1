"""Curves of a search for planted rows: the fraction found against the fraction checked."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae.plots._figure import new_axes
from shapae.utils.constraints import check_arguments, check_optional

STYLES = {
    "self influence": ("tab:blue", "-", 2.5),
    "mean influence": ("tab:green", "-", 2.0),
    "loss": ("tab:orange", "-", 1.5),
    "best": ("0.6", ":", 1.5),
}


def draw(curves: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a curve for each order in which the rows are checked, and the diagonal of a random order.

    Args:
        curves: One column for each order, indexed by the fraction checked: ``Cleaning.curves``.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.
    """
    check_arguments(curves=curves)
    check_optional(ax=ax)
    ax = new_axes(ax, 5.5, 4.5)
    for name, curve in curves.items():
        colour, style, width = STYLES.get(str(name), (None, "-", 1.5))
        area = np.trapezoid(curve, curves.index)
        ax.plot(curves.index, curve, style, color=colour, linewidth=width, label=f"{name}, area {area:.2f}")
    ax.plot([0, 1], [0, 1], color="0.8", linewidth=1, label="random, area 0.50", zorder=0)
    ax.set(xlabel="fraction of the training rows checked", ylabel="fraction of the planted rows found")
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    ax.legend(frameon=False, loc="lower right")
    return ax
