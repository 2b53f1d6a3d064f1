"""Bars of the features that drive a latent unit, beside the changes of the decoded features."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae.errors import DataError
from shapae.plots._figure import escape, new_axes, pyplot_axes, size_of, width_of
from shapae.plots._latents import DOWN, UP, Report
from shapae.plots._results import check_has
from shapae.plots._scales import label_scaled
from shapae.utils.constraints import check_arguments, check_optional


def draw(report: Report, unit: str | int, *, max_display: int = 20, ax: Axes | None = None) -> Axes:
    """Draw the features that raise a unit most, and those that lower it most, and what the unit does to them.

    Coloured bars are signed importances with their standard errors, on the lower axis. Grey bars are the changes of the
    same decoded features while the unit moves from its 1 % to its 99 % quantile, on the upper axis.

    Args:
        report: Result of ``shapae.latents``.
        unit: Name or position of the unit.
        max_display: Maximum number of features, half of them, but one at least, in either direction.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes of the importances; nothing is shown or saved.

    Raises:
        DataError: No feature drives the unit, or ``max_display`` is less than 1.
        UnknownName: There is no such unit.
    """
    check_arguments(unit=unit, max_display=max_display)
    check_optional(ax=ax)
    check_has(report, "drivers", "a LatentReport", "shapae.latents(model, X)")
    table = report.drivers(unit, max(1, max_display // 2))
    if table.empty:
        raise DataError(f"no feature drives the latent unit {unit!r}. See report.active for units that are used.")
    name = str(table.index.get_level_values("unit")[0])
    table = table.droplevel(["unit", "direction"]).sort_values("importance", ascending=False)
    names, count = [escape(feature) for feature in table.index], len(table)
    ax = new_axes(ax, 5 + width_of(names), 0.3 * count + 2)
    sizes, moves, places = table["importance"].to_numpy(), table["moves"].to_numpy(), np.arange(count)
    errors = np.nan_to_num(table["importance_error"].to_numpy())
    has_moves = bool(np.isfinite(moves).all())
    height, shift = (0.4, 0.2) if has_moves else (0.7, 0.0)
    ax.barh(places - shift, sizes, height, xerr=errors, color=np.where(sizes > 0, UP, DOWN), ecolor="0.3")
    _symmetric(ax, np.abs(sizes) + errors)
    ax.set_ylim(count - 0.4, -0.6)
    ax.set_yticks(places, names)
    ax.axvline(0, color="0.3", linewidth=0.8)
    inches = size_of(ax)[0]
    label = f"importance for {escape(name)}, with its direction"
    label_scaled(ax.xaxis, label, float((np.abs(sizes) + errors).max()), inches=inches)
    if has_moves:
        with pyplot_axes(ax):
            upper = ax.twiny()
        upper.barh(places + shift, moves, height, color="0.6")
        _symmetric(upper, np.abs(moves))
        label = f"change of the decoded feature (grey), 1 % to 99 % of {escape(name)}"
        label_scaled(upper.xaxis, label, float(np.abs(moves).max()), inches=inches)
    return ax


def _symmetric(ax: Axes, sizes: NDArray[Any]) -> None:
    """Center the horizontal axis at 0, so that both scales have it in one place."""
    largest = 1.05 * float(sizes.max()) or 1.0
    ax.set_xlim(-largest, largest)
    ax.locator_params("x", nbins=5)
