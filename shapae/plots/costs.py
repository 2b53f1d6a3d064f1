"""Scatter plot of time against error: fast and accurate backends are at the lower left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae.plots._colours import styles
from shapae.plots._figure import escape, label_x, new_axes, size_of, width_of, wrap
from shapae.plots._scales import legend_beside, log_axis
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import shorten

# Smallest error drawn: smaller errors, among them 0, have no useful place on a logarithmic axis.
MIN_ERROR = 1e-3
# Lines of the two largest controls, which have no time.
CONTROLS = (":", "--")


def draw(
    costs: pd.DataFrame,
    *,
    reference: str = "the reference",
    reference_error: float = 0.0,
    controls: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw a mark for each backend, and a line for each control, which has no meaningful time.

    Args:
        costs: Time and error: two columns of ``Comparison.table``.
        reference: Name of the reference of the errors.
        reference_error: Relative error of the reference; smaller errors can't be distinguished.
        controls: Names of rows that are controls.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.
    """
    check_arguments(costs=costs, reference=reference, reference_error=reference_error, controls=controls)
    check_optional(ax=ax)
    controls = [controls] if isinstance(controls, str) else [*controls]
    names = {name: escape(shorten(name)) for name in costs.index}
    ax = new_axes(ax, 5.5 + width_of([*names.values()], 9), 4.5)
    errors = costs.iloc[:, 1].clip(lower=MIN_ERROR)
    _scale(ax, costs.iloc[:, 0], errors)
    if reference_error > MIN_ERROR:
        within = f"within the error\nof {escape(shorten(reference))}"
        ax.axhspan(MIN_ERROR / 2, reference_error, color="0.92", label=within, zorder=0)
    style = styles(costs.index, controls)
    for name in errors.sort_values().index:
        mark, error = style[name], errors[name]
        if name in controls:
            line = CONTROLS[controls.index(name) % len(CONTROLS)]
            ax.axhline(error, color=mark.color, linestyle=line, label=names[name], zorder=1)
        else:
            options: dict[str, Any] = {
                "color": mark.color,
                "marker": mark.marker,
                "edgecolors": "black",
                "linewidths": 0.5,
            }
            ax.scatter(costs.iloc[:, 0][name], error, s=55, **options, label=names[name], zorder=3)
    legend_beside(ax)
    label_x(ax, escape(str(costs.columns[0])))
    ax.set_ylabel(wrap(f"relative error to {escape(shorten(reference))}, or {MIN_ERROR:g}", size_of(ax)[1]))
    ax.set_title(wrap("seconds against error: lower left is better", size_of(ax)[0]))
    return ax


def _scale(ax: Axes, seconds: "pd.Series[float]", errors: "pd.Series[float]") -> None:
    """Set logarithmic axes, with room around the marks and readable numbers."""
    times = (float(np.nanmin([*seconds, np.inf])) / 2, 2 * float(np.nanmax([*seconds, 0])))
    heights = (MIN_ERROR / 2, 3 * float(np.nanmax([*errors, 1])))
    ax.set(xscale="log", xlim=times, yscale="log", ylim=heights)
    for axis, ends in ((ax.xaxis, times), (ax.yaxis, heights)):
        log_axis(axis, *ends)
