"""Network of features: circles are main effects, lines are interactions."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from shapae.explainer.interactions import Interactions
from shapae.plots._colours import Ends
from shapae.plots._figure import new_axes, parent_figure, points, width_of
from shapae.plots._pairs import ShownPairs
from shapae.utils.constraints import check_arguments, check_optional

# Radius of the whole in inches, and on it the largest width of a line and the largest area of a circle, in points.
RADIUS, WIDTH, AREA = 2.6, 9.0, 1000.0
# Points on a line, and how far those between opposite features are bent towards the centre: 0 for not at all.
POINTS, BEND = 30, 0.5
# Distance of names from the centre, in units of the radius.
NAMES_AT = 1.13


def draw(interactions: Interactions, *, row: int | None = None, max_display: int = 20, ax: Axes | None = None) -> Axes:
    """Draw features on a circle, strongly interacting ones side by side, with lines between them.

    The area of a circle is the mean |main effect| of a feature, the width of a line the mean |interaction| of a pair,
    both halves together; each in units of the largest one, or of the 98th percentile where the largest is far larger;
    the legend says so. Red raises the score, blue lowers it, and grey does both, in different rows.

    Args:
        interactions: Result of ``Explainer.interactions``.
        row: Position of one row; None for the mean over all rows.
        max_display: Maximum number of features, of those with the largest interactions.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There is no such row.
    """
    check_arguments(max_display=max_display)
    check_optional(row=row, ax=ax)
    shown = ShownPairs.of(interactions, row, max_display)
    m = len(shown.names)
    sign = np.divide(shown.mean, shown.size, out=np.zeros_like(shown.mean), where=shown.size > 0)
    color = colormaps["coolwarm"]((sign + 1) / 2)
    angle = np.pi / 2 - 2 * np.pi * np.arange(m) / m
    place = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    labels = width_of(shown.names, 12) + 0.1  # larger than they are printed, for the ends of slanted names
    half = NAMES_AT * RADIUS + labels
    if ax is not None:
        half = min(ax.get_window_extent().size) / parent_figure(ax).dpi / 2
    ax = new_axes(ax, 2 * half, 2 * half + 1)
    radius = max(half / 3, (half - labels) / NAMES_AT)
    scale, fontsize = min(1.0, radius / RADIUS), points(11) * min(1, (half - NAMES_AT * radius) / labels)
    first, second = np.triu_indices(m, 1)
    order = np.argsort(shown.size[first, second], kind="stable")  # the largest are drawn last, on top
    first, second = first[order], second[order]
    pairs, main = shown.size[first, second], shown.size.diagonal()
    widest, wide = Ends.of(pairs), Ends.of(main)
    widths = np.minimum(1, pairs / widest.end)
    curves = [*_bend(place[first], place[second])]
    lines = LineCollection(curves, linewidths=WIDTH * scale * widths, zorder=1)
    lines.set_color([(*color[i, j, :3], 0.3 + 0.7 * width) for i, j, width in zip(first, second, widths, strict=True)])
    ax.add_collection(lines)
    areas = AREA * scale**2 * np.minimum(1, main / wide.end)
    ax.scatter(place[:, 0], place[:, 1], areas, color[range(m), range(m)], edgecolors="white", zorder=2)
    options: dict[str, Any] = {"va": "center", "rotation_mode": "anchor", "fontsize": fontsize}
    for name, (x, y), turn in zip(shown.names, NAMES_AT * place, np.degrees(angle), strict=True):
        left = x < -1e-9
        ax.text(x, y, name, rotation=turn + 180 * left, ha="right" if left else "left", **options)
    ax.set(xlim=(-half / radius, half / radius), ylim=(-half / radius, half / radius), aspect="equal", anchor="N")
    ax.set_axis_off()
    _add_legend(ax, "" if row is not None else "mean ", widest, wide)
    return ax


def _bend(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute curves from ``start`` to ``end`` (s, 2) that are bent towards the centre: (s, points, 2)."""
    t = np.linspace(0, 1, POINTS)[:, None]
    apart = np.linalg.norm(end - start, axis=1, keepdims=True) / 2
    control = ((1 - BEND * apart) * (start + end) / 2)[:, None]
    return np.asarray((1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * control + t**2 * end[:, None])


def _add_legend(ax: Axes, mean: str, pair: Ends, main: Ends) -> None:
    """Explain colours, and the largest line and circle."""
    ends = {"raises the score": 1.0, "lowers the score": 0.0} | ({"both, in different rows": 0.5} if mean else {})
    handles = [
        Line2D([], [], color=colormaps["coolwarm"](part), linewidth=4, label=label) for label, part in ends.items()
    ]
    title = f"widest line: {mean}|interaction| {_size(pair)}\nlargest circle: {mean}|main effect| {_size(main)}"
    ax.legend(handles=handles, title=title, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False)


def _size(ends: Ends) -> str:
    return f"{ends.end:.2g} to {ends.largest:.2g}" if ends.is_exceeded else f"{ends.largest:.2g}"
