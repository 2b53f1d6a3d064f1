"""Seconds against error: what is fast and right stands at the lower left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from shapae.plots._figure import colors, escaped, new_axes

# Smaller errors stand on the lower edge.
LEAST = 1e-3
# Of a letter, as a part of the axes; enough for axes of five inches by four.
WIDTH, HEIGHT = 0.0185, 0.045


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
    ax = new_axes(ax, 7, 5)
    _scale(ax, costs.iloc[:, 0], costs.iloc[:, 1])
    errors = costs.iloc[:, 1].clip(lower=LEAST)
    for name in errors.index.intersection([*controls]):
        ax.axhline(errors[name], color="grey", linestyle=":")
        ax.annotate(escaped(name), (0.01, errors[name]), xycoords=("axes fraction", "data"), va="bottom", color="grey")
    if reference_error > LEAST:
        ax.axhspan(LEAST / 2, reference_error, color="0.92", label=f"within the error of {escaped(reference)}")
        ax.legend(loc="lower left", frameon=False)
    colour = colors(costs.index, controls)
    dots = pd.DataFrame({"x": costs.iloc[:, 0], "y": errors}).drop(index=[*controls], errors="ignore")
    ax.scatter(dots["x"], dots["y"], color=[colour[name] for name in dots.index], zorder=3)
    at = ax.transAxes.inverted().transform(ax.transData.transform(dots))
    for name, point, label in zip(dots.index, dots.to_numpy(), _apart(at, [*dots.index]), strict=True):
        line: dict[str, Any] = {"arrowstyle": "-", "color": colour[name], "lw": 0.6}
        options: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "color": colour[name],
            "fontsize": 9,
            "arrowprops": line,
        }
        ax.annotate(escaped(name), (point[0], point[1]), (label[0], label[1]), textcoords="axes fraction", **options)
    ax.set_xlabel(costs.columns[0])
    ax.set_ylabel(f"relative error to {escaped(reference)}, or {LEAST:g}")
    ax.set_title("seconds against error: lower left is better")
    return ax


def _scale(ax: Axes, seconds: pd.Series, errors: pd.Series) -> None:
    """Logarithms of both, with room for names, and numbers that can be read."""
    ax.set(xscale="log", xlim=(seconds.min() / 3, 3 * seconds.max()))
    ax.set(yscale="log", ylim=(LEAST / 2, 3 * float(np.nanmax([*errors, 1]))))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def _apart(dots: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """Where the names of ``dots`` stand, in parts of the axes (n, 2): as near as they can without meeting others."""
    taken = [(x, y, 0.02) for x, y in dots]
    for (x, y), name in zip(dots, names, strict=True):
        width = WIDTH * len(name)
        places = [y + side * step * HEIGHT for step in range(1, 12) for side in (1, -1)]
        free = [
            place
            for place in places
            if all(abs(x - u) > (width + w) / 2 or abs(place - v) > 0.8 * HEIGHT for u, v, w in taken)
            and 0.02 < place < 0.98
        ]
        taken.append((x, (free or places)[0], width))
    return np.array([(x, y) for x, y, _ in taken[len(dots) :]])
