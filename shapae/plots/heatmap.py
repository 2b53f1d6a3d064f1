"""Heatmap of the values, rows by features, similar rows side by side."""

from typing import Any

import numpy as np
import shap
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from shapae.errors import DataError
from shapae.plots._figure import (
    LINE,
    NAME,
    NUMBER,
    REMARK,
    add_colorbar,
    cluster_order,
    label_x,
    new_line_axes,
    points,
    printable,
    score_label,
    size_of,
    width_of,
    wrap,
)
from shapae.plots._lines import GREY, largest
from shapae.plots._numbers import Numbers, number
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import shorten

# Quantile of the sizes of the displayed values other than 0 from which colours do not change any more: one outlier of
# 20 rows or more does not make all others white.
QUANTILE = 0.95
# Largest number of rows that are clustered, which takes the square of it; more are sorted along their main direction.
CLUSTERED = 2000
# Largest number of rows whose names are written, and the largest number of characters of these names.
NAMED, CHARACTERS = 30, 20
# Lines of the matrix that the line of scores takes, with the space below it.
ABOVE = 2.2
# Parts of the width of the matrix: of the space beside it, and of the bars beside it.
APART, BARS = 0.01, 0.1


def draw(explanation: shap.Explanation, *, max_display: int = 15, ax: Axes | None = None) -> Axes:
    """Draw the values of every row, clustered by their values, below a line of their scores.

    Bars at the right are the mean |value| of each feature. The largest twentieth of the displayed values has the
    colours at the ends, so that a few of them do not make all others white.

    Args:
        explanation: Explanation of one output and several rows.
        max_display: Maximum number of features, by their mean |value|.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: The explanation has several outputs, or a single row; or ``max_display`` is less than 1.
    """
    check_arguments(max_display=max_display)
    check_optional(ax=ax)
    shown = printable(explanation, ndim=2)
    if len(shown.values) < 2:
        raise DataError(
            f"this plot takes 2 rows or more, got {len(shown.values)}. For a single row, use "
            f"shapae.plots.waterfall(explanation[0])."
        )
    sizes = np.abs(shown.values).mean(axis=0, dtype=np.float64)
    features = largest(sizes, max_display)
    names = [shown.feature_names[j] for j in features]
    values = np.asarray(shown.values[:, features], dtype=np.float64)
    order = _order(values)
    ticks = _row_names(shown, order)
    beside = max(5, 10 - len(features)) + int(np.ceil(width_of(ticks, REMARK) / points(LINE)))
    scores = _scores(shown)[order]
    names = [f"f(x)\n{number(scores.min())} to {number(scores.max())}", *names]
    ax = new_line_axes(ax, names, lines_beside=beside, beside=1.3)
    _draw_values(ax, values[order].T)
    _draw_scores(ax, scores)
    ax.set_yticks([-1.5, *range(len(features))], names, fontsize=points(NAME))
    _draw_sizes(ax, sizes[features], len(order))
    ax.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=points(REMARK))
    _describe_colors(ax, values, shown)
    few = f" {len(features)} of {sizes.size} features." if len(features) < sizes.size else ""
    label_x(ax, f"{len(order)} rows, similar ones side by side.{few}")
    return ax


def _order(values: NDArray[np.float64]) -> NDArray[Any]:
    """Order rows (n, f) so that similar ones are neighbours."""
    if len(values) <= CLUSTERED:
        return cluster_order(values)
    _, _, directions = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    return np.argsort(values @ directions[0], kind="stable")


def _row_names(shown: shap.Explanation, order: NDArray[Any]) -> list[str]:
    """Name the rows in their order, by their positions if they have no names; none if there are many."""
    if len(order) > NAMED:
        return []
    names = getattr(shown, "row_names", None)
    return [shorten(str(row if names is None else names[row]), CHARACTERS).replace("$", r"\$") for row in order]


def _scores(shown: shap.Explanation) -> NDArray[np.float64]:
    """(n,): the scores; where they are not known, base values plus the sums of values."""
    known = getattr(shown, "scores", None)
    sums = shown.base_values + np.sum(shown.values, axis=1, dtype=np.float64)
    return np.asarray(sums if known is None else known, dtype=np.float64).ravel()


def _draw_values(ax: Axes, cells: NDArray[np.float64]) -> None:
    """Draw a cell for each feature and row."""
    sizes = np.abs(cells)
    bound = float(np.quantile(sizes[sizes > 0], QUANTILE)) if sizes.any() else 1.0
    ax.imshow(cells, aspect="auto", cmap=shap.plots.colors.red_white_blue, vmin=-bound, vmax=bound)
    rows, columns = cells.shape
    ax.add_patch(Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor="0.8", linewidth=0.5))
    ax.set_ylim(rows - 0.5, -0.5 - ABOVE)
    ax.set_xlim(-0.5, columns * (1 + APART + BARS) - 0.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _draw_scores(ax: Axes, scores: NDArray[np.float64]) -> None:
    """Draw the line of scores above the matrix, from the smallest score to the largest."""
    finite = scores[np.isfinite(scores)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0, 1)
    heights = (scores - low) / ((high - low) or 1)
    ax.plot(range(len(scores)), -0.9 - 1.3 * heights, color="0.1", linewidth=1)


def _draw_sizes(ax: Axes, sizes: NDArray[np.float64], n: int) -> None:
    """Draw the mean |value| of each feature at the right of the matrix."""
    left = n * (1 + APART) - 0.5
    widths = BARS * n * sizes / (sizes.max() or 1)
    ax.barh(range(len(sizes)), widths, 0.7, left=left, color="0.3")
    ax.annotate("mean\n|value|", (left, -0.7), va="bottom", fontsize=points(REMARK), color=GREY)


def _describe_colors(ax: Axes, values: NDArray[np.float64], shown: shap.Explanation) -> None:
    """Draw the bar of colours, which has points at its ends if values are beyond them."""
    largest_color = ax.images[-1].get_clim()[1]
    assert largest_color is not None
    extend = "both" if np.abs(values).max() > largest_color else "neither"
    label = wrap(f"SHAP value (impact on {score_label(shown)})", 0.9 * size_of(ax)[1], NUMBER)
    add_colorbar(ax, label, extend=extend, aspect=40, pad=0.02, format=Numbers())
