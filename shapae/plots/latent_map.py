"""Matrix of the means of latent units per group of rows."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae.errors import DataError, UnknownName
from shapae.plots._colours import Ends
from shapae.plots._figure import cluster_order, escape, label_x
from shapae.plots._latents import Report
from shapae.plots._matrix import UNSURE, draw_cells, mark_unsure
from shapae.plots._results import SIGNIFICANCE, check_has
from shapae.utils.constraints import check_arguments, check_optional

# Smallest end of the colours, in standard deviations: the rounding errors of a single group have no colour.
FAINT = 0.1


def draw(report: Report, covariate: str | None = None, *, max_display: int = 30, ax: Axes | None = None) -> Axes:
    """Draw the mean of each active unit in each group, similar units and similar groups side by side.

    Means are shown as deviations from the mean over all rows, in standard deviations of the unit. A dot marks a mean
    that is less than two standard errors away.

    Args:
        report: Result of ``shapae.latents`` with covariates.
        covariate: Name of a covariate with groups; None for the first of them.
        max_display: Maximum number of units, by their variance.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: No covariate has groups, no unit is active, or ``max_display`` is less than 1.
        UnknownName: There is no such covariate with groups.
    """
    check_arguments(max_display=max_display)
    check_optional(ax=ax)
    check_has(report, "drivers", "a LatentReport", "shapae.latents(model, X, covariates=labels)")
    covariate, units = _choose(report, covariate), report.active[:max_display]
    if not units:
        raise DataError("none of the units is active, so that there is nothing to draw. See report.table.")
    shown, errors = _deviations(report, covariate, units)
    unsure = ~(np.abs(shown) >= SIGNIFICANCE * errors).to_numpy()
    columns, shown = shown.columns, shown.to_numpy()
    rows, groups = cluster_order(shown), cluster_order(shown.T)
    names = [escape(columns[group]) for group in groups]
    shown, unsure = shown[rows][:, groups], unsure[rows][:, groups]
    label = f"mean, in standard deviations of the unit\n{UNSURE}"
    both = [escape(units[row]) for row in rows], names
    ax = draw_cells(ax, shown, both, label=label, signed=True, ends=Ends.of(shown, least=FAINT))
    mark_unsure(ax, unsure)
    label_x(ax, escape(covariate))
    return ax


def _choose(report: Report, covariate: str | None) -> str:
    """Choose a covariate with groups, the first of them if None is given.

    Raises:
        DataError: No covariate has groups.
        UnknownName: There is no such covariate with groups.
    """
    known = list(dict.fromkeys(report.by_group.index.get_level_values("covariate")))
    if not known:
        raise DataError("no covariate of this report has groups. Give strings or categories, not numbers.")
    if covariate is not None and covariate not in known:
        raise UnknownName("covariate with groups", covariate, known)
    return covariate or known[0]


def _deviations(report: Report, covariate: str, units: list[str]) -> tuple[Any, Any]:
    """Tabulate units x groups: deviations of means, and standard errors, in standard deviations of the unit."""
    latents = pd.DataFrame(report.latents, columns=list(report.unit_names)).astype(np.float64)[units]
    table = report.by_group.xs(covariate, level="covariate")
    means, errors = (table[each].unstack("group").loc[units] for each in ("mean", "mean_error"))
    deviation = latents.std(ddof=0)
    return means.sub(latents.mean(), axis=0).div(deviation, axis=0), errors.div(deviation, axis=0)
