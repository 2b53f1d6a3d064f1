"""Seconds against error: what is fast and right stands at the lower left."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from shapae.plots._canvas import axes, colours, escaped

# Smaller errors stand on the lower edge.
LEAST = 1e-3


def draw(
    costs: pd.DataFrame,
    *,
    reference: str = "the reference",
    reference_error: float = 0.0,
    controls: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw a dot for each backend, and a line for each control, whose seconds tell nothing.

    Args:
        costs: Seconds and error: two columns of ``Comparison.table``.
        reference: The name of what the errors are differences from.
        reference_error: How sure that is; smaller differences tell nothing.
        controls: Names of rows that are not backends.
        ax: Where to draw; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.
    """
    ax = axes(ax, 7, 5)
    seconds, errors = costs.iloc[:, 0], costs.iloc[:, 1].clip(lower=LEAST)
    for name in errors.index.intersection([*controls]):
        ax.axhline(errors[name], color="grey", linestyle=":")
        ax.annotate(escaped(name), (0.01, errors[name]), xycoords=("axes fraction", "data"), va="bottom", color="grey")
    if reference_error > LEAST:
        ax.axhspan(LEAST / 2, reference_error, color="0.92", label=f"within the error of {escaped(reference)}")
        ax.legend(loc="lower right", frameon=False)
    for name, colour in colours(costs.index, controls).items():
        if name not in controls:
            ax.scatter(seconds[name], errors[name], color=colour, zorder=3)
            _label(ax, name, seconds, errors, colour)
    for axis in (ax.xaxis, ax.yaxis):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.margins(x=0.2)
    ax.set_ylim(LEAST / 2, 3 * float(np.nanmax([*errors, 1])))
    ax.set_xlabel(costs.columns[0])
    ax.set_ylabel(f"relative error to {escaped(reference)}, or {LEAST:g}")
    ax.set_title("seconds against error: lower left is better")
    return ax


def _label(ax: Axes, name: str, seconds: pd.Series, errors: pd.Series, colour: str) -> None:
    """Above the dots of even rank in seconds, below those of odd rank, lest names of neighbours collide."""
    up = int((seconds < seconds[name]).sum()) % 2 == 0
    at, off, side = (seconds[name], errors[name]), (0, 7 if up else -7), "bottom" if up else "top"
    ax.annotate(escaped(name), at, off, textcoords="offset points", ha="center", va=side, color=colour)
