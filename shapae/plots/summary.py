"""Summary plot of shap: a dot for each row in a line for each feature."""

from typing import Any

import numpy as np
import shap
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from numpy.typing import NDArray

from shapae.plots._dots import clip_numbers, red_blue
from shapae.plots._figure import (
    NAME,
    add_colorbar,
    inches_of,
    label_x,
    new_line_axes,
    points,
    printable,
    score_label,
)
from shapae.plots._lines import largest, name_lines, remark, rule_lines
from shapae.plots._numbers import limits, number, number_ticks
from shapae.utils.constraints import check_arguments, check_optional

# Area of a dot in square points, and half the height of a line that dots fill.
DOT, HALF = 12, 0.4
# Number of bins of the values of a feature; dots of a bin are beside each other, as in shap.
BINS = 100


def draw(
    explanation: shap.Explanation, *, max_display: int = 20, clip: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the values of every row, for the features with the largest mean |value|; colours are feature values.

    Dots are grey where the feature value is not known, and for features whose value is the same in all rows, such as
    groups of one-hot columns.

    Args:
        explanation: Explanation of one output and several rows.
        max_display: Maximum number of features.
        clip: Quantile of the sizes of all displayed values, such as 0.99. Larger values are drawn at the end of the
            axis, as triangles, and the picture says how many there are. None for none.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes, with its figure in ``.figure``; nothing is shown or saved.

    Raises:
        DataError: The explanation has several outputs (choose one: ``explanation.output(name)``), or a single row; or
            ``max_display`` is less than 1, or ``clip`` is not above 0 and at most 1.

    Reference:
        Lundberg et al., 2020, https://doi.org/10.1038/s42256-019-0138-9, figure 4
    """
    check_arguments(max_display=max_display)
    check_optional(clip=clip, ax=ax)
    shown = printable(explanation, ndim=2)
    values = np.asarray(shown.values, dtype=np.float64)
    order = largest(np.abs(values).mean(axis=0), max_display)
    names = [shown.feature_names[j] for j in order]
    ax = new_line_axes(ax, names, beside=0.8)
    name_lines(ax, names)
    rule_lines(ax, len(order))
    ax.axvline(0, color="0.6", linewidth=0.8, zorder=-1)
    known = np.shape(shown.data) == values.shape
    colors = np.stack([clip_numbers(shown.data[:, j]) for j in order], axis=1) if known else None
    if known:
        _label_colors(ax)
    label_x(ax, f"SHAP value (impact on {score_label(shown)})")
    _draw_dots(ax, values[:, order], colors, clip)
    number_ticks(ax)
    return ax


def _draw_dots(ax: Axes, values: NDArray[np.float64], colors: NDArray[np.float64] | None, clip: float | None) -> None:
    bound = np.inf if clip is None else float(np.quantile(np.abs(values), clip))
    kept = values.clip(-bound, bound)
    beyond = np.abs(values) > bound
    rng = np.random.default_rng(0)
    for line in range(values.shape[1]):
        height = line + _spread(kept[:, line], rng)
        color = None if colors is None else colors[:, line]
        inside = ~beyond[:, line]
        for marker, some in (("o", inside), ("<", ~inside & (kept[:, line] < 0)), (">", ~inside & (kept[:, line] > 0))):
            if some.any():
                _scatter(ax, kept[some, line], height[some], None if color is None else (color[some], color), marker)
    if beyond.any():
        remark(ax, f"triangles: {beyond.sum()} of {beyond.size} points are beyond \N{PLUS-MINUS SIGN}{number(bound)}")
    edge = 2 * np.sqrt(DOT) / 72
    low, high = float(kept.min()), float(kept.max())
    ax.set_xlim(*limits(min(low, 0), max(high, 0), [(low, edge, 0), (high, 0, edge)], inches_of(ax)[0]))


def _scatter(ax: Axes, x: Any, y: Any, colors: tuple[Any, Any] | None, marker: str) -> None:
    options: dict[str, Any] = {"s": DOT, "marker": marker, "linewidths": 0, "rasterized": len(x) > 500}
    if colors is None:
        ax.scatter(x, y, color="#008bfb", **options)
        return
    own, all_rows = colors
    known = all_rows[np.isfinite(all_rows)]
    low, high = (known.min(), known.max()) if len(known) else (0, 0)
    missing = ~np.isfinite(own) | (low == high)  # a number that all rows share is neither low nor high
    ax.scatter(x[missing], y[missing], color="0.5", **options)
    ax.scatter(x[~missing], y[~missing], c=own[~missing], vmin=low, vmax=high, cmap=red_blue(), **options)


def _spread(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Compute heights at which the dots of similar values are beside each other, around 0, in the manner of shap."""
    order = rng.permutation(len(values))
    mixed = values[order]
    bins = np.round(BINS * (mixed - mixed.min()) / (np.ptp(mixed) or 1))
    sorted_bins = np.argsort(bins, kind="stable")
    first = np.r_[True, np.diff(bins[sorted_bins]) != 0]
    place = np.arange(len(values))
    layer = place - np.maximum.accumulate(np.where(first, place, 0))
    height = np.empty(len(values))
    height[order[sorted_bins]] = np.ceil(layer / 2) * (2 * (layer % 2) - 1)
    return np.asarray(HALF * 0.9 * height / (np.abs(height).max() + 1))


def _label_colors(ax: Axes) -> None:
    """Explain the colours of the dots."""
    bar = add_colorbar(ax, "", image=ScalarMappable(cmap=red_blue()), ticks=[0, 1], aspect=60, pad=0.02)
    bar.set_ticklabels(["Low", "High"], fontsize=points(NAME))
    bar.set_label("Feature value", fontsize=points(NAME), labelpad=-12)
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
