"""Curves of a search for planted rows: the fraction found against the fraction checked."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae.plots._colours import PALETTE
from shapae.plots._figure import escape, label_x, new_axes, width_of
from shapae.plots._scales import legend_beside
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import shorten

STYLES = {
    "self influence": (PALETTE[0], "-", 2.5),
    "mean influence": (PALETTE[2], "-.", 2.0),
    "loss": (PALETTE[1], "--", 2.0),
    "best": ("0.5", ":", 2.0),
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
    areas = {name: np.trapezoid(curve, curves.index) for name, curve in curves.items()}
    labels = {name: f"{escape(shorten(str(name)))}, area {area:.2f}" for name, area in areas.items()}
    ax = new_axes(ax, 5.5 + width_of([*labels.values(), "random, area 0.50"], 9), 4.5)
    for name, curve in curves.items():
        colour, style, width = STYLES.get(str(name), (None, "-", 1.5))
        ax.plot(curves.index, curve, linestyle=style, color=colour, linewidth=width, label=labels[name])
    ax.plot([0, 1], [0, 1], color="0.8", linewidth=1, label="random, area 0.50", zorder=0)
    label_x(ax, "fraction of the training rows checked")
    ax.set(ylabel="fraction of the planted rows found", xlim=(0, 1), ylim=(-0.02, 1.02))
    legend_beside(ax, handlelength=3)
    return ax
