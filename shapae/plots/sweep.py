"""Heatmap of the decoded features while one latent unit moves."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from shapae.plots._figure import add_colorbar, escape, new_axes, width_of
from shapae.plots._latents import DOWN, UP, Report
from shapae.plots._results import check_has
from shapae.utils.constraints import check_arguments, check_optional

# Area of the circle of the largest importance, in square points; and its distance from the heatmap, in cells.
AREA, GAP = 110, 1.2


def draw(report: Report, unit: str | int, *, row: Any = None, max_display: int = 20, ax: Axes | None = None) -> Axes:
    """Draw the change of each decoded feature at the quantiles of one unit, beside the importance for this unit.

    The circles on the left are the other direction: their areas are the importances of the features for the unit, red
    if high readings raise it, blue if they lower it.

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
    ax = new_axes(ax, 0.45 * q + 2.6 + width_of(names), max(2.2, 0.25 * count) + 1.2)
    largest = float(np.abs(shown).max()) or 1.0
    ax.imshow(shown, aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    areas = AREA * np.abs(drives) / (np.abs(table["drives"]).max() or 1)
    ax.scatter(np.full(count, -0.5 - GAP / 2), range(count), areas, np.where(drives > 0, UP, DOWN))
    ax.set_xlim(-0.5 - GAP, q - 0.5)
    ax.set_ylim(count - 0.5, -0.5)
    positions = [f"{100 * each:g} %\n{place:.2g}" for each, place in zip(sweep.quantiles, sweep.positions, strict=True)]
    ax.set_xticks([-0.5 - GAP / 2, *range(q)], ["drives\nit", *positions], fontsize=8)
    ax.set_yticks(range(count), names)
    ax.set_xlabel(f"quantile and value of {escape(sweep.unit)}")
    add_colorbar(ax, f"change from the {'median' if row is None else 'row'},\nin units of {sweep.units}")
    return ax
