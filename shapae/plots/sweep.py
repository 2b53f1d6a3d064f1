"""Heatmap of the decoded features while one latent unit moves."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from shapae.plots._colours import Ends
from shapae.plots._figure import add_colorbar, escape, label_x, new_axes, points, size_of, width_of, wrap
from shapae.plots._latents import DOWN, UP, Report
from shapae.plots._results import check_has
from shapae.plots._scales import written
from shapae.utils.constraints import check_arguments, check_optional

# Area of the circle of the largest importance, in square points; and its distance from the heatmap, in cells.
AREA, GAP = 110, 1.2
# Quantiles between this and 1 minus this show all colours, if the changes outside of them are far larger.
INNER = 0.05


def draw(report: Report, unit: str | int, *, row: Any = None, max_display: int = 20, ax: Axes | None = None) -> Axes:
    """Draw the change of each decoded feature at the quantiles of one unit, beside the importance for this unit.

    The circles on the left are the other direction: their areas are the importances of the features for the unit, red
    if high readings raise it, blue if they lower it. If the outer changes are far larger than those between the 5 % and
    the 95 % quantile, the colours end at the latter; the colour bar says so.

    Args:
        report: Result of ``shapae.latents``.
        unit: Name or position of the unit that moves.
        row: Name or position of the row at whose latents the other units stay; None for their means.
        max_display: Maximum number of features, by the range of their changes.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There is no such row, or ``max_display`` is less than 1.
        UnknownName: There is no such unit.
        ModelError: The model has no known decoder.
    """
    check_arguments(unit=unit, max_display=max_display)
    check_optional(row=row, ax=ax)
    check_has(report, "drivers", "a LatentReport", "shapae.latents(model, X)")
    sweep = report.sweep(unit, row=row)
    table = sweep.table
    shown, drives = table.iloc[:max_display, 2:].to_numpy(), table["drives"].iloc[:max_display].to_numpy()
    names = [escape(name) for name in table.index[:max_display]]
    count, q = shown.shape
    positions = [
        f"{100 * each:g} %\n{written(float(place), '.2g')}"
        for each, place in zip(sweep.quantiles, sweep.positions, strict=True)
    ]
    down = max(2.6, 0.26 * count)
    ax = new_axes(ax, max(0.45, width_of(positions, 8) + 0.1) * (q + GAP) + 2.2 + width_of(names), down + 1.2)
    inner = shown[:, (sweep.quantiles >= INNER) & (sweep.quantiles <= 1 - INNER)]
    ends = Ends.of(shown, float(np.abs(inner).max(initial=0)))
    ax.imshow(shown, aspect="auto", cmap="RdBu_r", vmin=-ends.end, vmax=ends.end, interpolation="nearest")
    areas = AREA * np.abs(drives) / (np.abs(table["drives"]).max() or 1)
    ax.scatter(np.full(count, -0.5 - GAP / 2), range(count), areas, np.where(drives > 0, UP, DOWN))
    ax.set_xlim(-0.5 - GAP, q - 0.5)
    ax.set_ylim(count - 0.5, -0.5)
    ax.set_xticks([-0.5 - GAP / 2, *range(q)], ["drives\nit", *positions], fontsize=points(8))
    ax.set_yticks(range(count), names)
    label_x(ax, f"quantile and value of {escape(sweep.unit)}")
    label = f"change from the {'median' if row is None else 'row'}, in units of {sweep.units}"
    text = "\n".join(wrap(line, size_of(ax)[1]) for line in filter(None, [label, ends.note]))
    add_colorbar(ax, text, extend="both" if ends.is_exceeded else "neither")
    return ax
