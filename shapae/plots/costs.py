"""Scatter plot of time against error: fast and accurate backends are at the lower left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from shapae.plots._figure import colors, escape, new_axes
from shapae.utils.constraints import check_arguments, check_optional

# Smallest error drawn: smaller errors, among them 0, have no useful place on a logarithmic axis.
MIN_ERROR = 1e-3
# Width and height of a letter, as fractions of the axes: large enough for axes of five inches by four.
LETTER_WIDTH, LETTER_HEIGHT = 0.0185, 0.045


def draw(
    costs: pd.DataFrame,
    *,
    reference: str = "the reference",
    reference_error: float = 0.0,
    controls: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw a dot for each backend, and a line for each control, which has no meaningful time.

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
    ax = new_axes(ax, 7, 5)
    _scale(ax, costs.iloc[:, 0], costs.iloc[:, 1])
    errors = costs.iloc[:, 1].clip(lower=MIN_ERROR)
    for name in errors.index.intersection([*controls]):
        ax.axhline(errors[name], color="grey", linestyle=":")
        ax.annotate(escape(name), (0.01, errors[name]), xycoords=("axes fraction", "data"), va="bottom", color="grey")
    if reference_error > MIN_ERROR:
        ax.axhspan(MIN_ERROR / 2, reference_error, color="0.92", label=f"within the error of {escape(reference)}")
        ax.legend(loc="lower left", frameon=False)
    _draw_dots(ax, costs, errors, controls)
    ax.set_xlabel(costs.columns[0])
    ax.set_ylabel(f"relative error to {escape(reference)}, or {MIN_ERROR:g}")
    ax.set_title("seconds against error: lower left is better")
    return ax


def _scale(ax: Axes, seconds: pd.Series, errors: pd.Series) -> None:
    """Set logarithmic axes, with room for names and readable numbers."""
    ax.set(xscale="log", xlim=(seconds.min() / 3, 3 * seconds.max()))
    ax.set(yscale="log", ylim=(MIN_ERROR / 2, 3 * float(np.nanmax([*errors, 1]))))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def _draw_dots(ax: Axes, costs: pd.DataFrame, errors: "pd.Series[float]", controls: Sequence[str]) -> None:
    """Draw a dot and a name for each backend."""
    colour = colors(costs.index, controls)
    dots = pd.DataFrame({"x": costs.iloc[:, 0], "y": errors}).drop(index=[*controls], errors="ignore")
    ax.scatter(dots["x"], dots["y"], color=[colour[name] for name in dots.index], zorder=3)
    fractions = ax.transAxes.inverted().transform(ax.transData.transform(dots))
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "textcoords": "axes fraction"}
    for name, dot, label in zip(dots.index, dots.to_numpy(), _label_positions(fractions, [*dots.index]), strict=True):
        line: dict[str, Any] = {"arrowstyle": "-", "color": colour[name], "lw": 0.6}
        ax.annotate(escape(name), tuple(dot), tuple(label), color=colour[name], arrowprops=line, **style)


def _label_positions(dots: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """Place the names near their dots without overlap: (n, 2), in fractions of the axes."""
    boxes = [(x, y, 0.02) for x, y in dots]
    for (x, y), name in zip(dots, names, strict=True):
        width = LETTER_WIDTH * len(name)
        candidates = [y + side * step * LETTER_HEIGHT for step in range(1, 12) for side in (1, -1)]
        free = [
            height
            for height in candidates
            if all(abs(x - u) > (width + w) / 2 or abs(height - v) > 0.8 * LETTER_HEIGHT for u, v, w in boxes)
            and 0.02 < height < 0.98
        ]
        boxes.append((x, (free or candidates)[0], width))
    return np.array([(x, y) for x, y, _ in boxes[len(dots) :]])
