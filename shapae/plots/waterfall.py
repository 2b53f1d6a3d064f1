"""Waterfall from the base value to the score of one row, feature by feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shap
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from shapae.plots._figure import (
    LOWERS,
    NAME,
    NUMBER,
    RAISES,
    escape,
    inches_of,
    label_x,
    new_line_axes,
    points,
    printable,
    score_label,
    width_of,
    wrap,
)
from shapae.plots._lines import GAP, GREY, largest, name_lines, readings, rule_lines, with_readings
from shapae.plots._numbers import Taken, digits_apart, limits, number, number_ticks
from shapae.utils.constraints import check_arguments, check_optional

# Length of the head of an arrow and half its height, in inches and in lines.
HEAD, HALF = 0.1, 0.36
# Part of the largest value from which the part of a score that no feature has is drawn.
NEGLIGIBLE = 1e-3


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps from the base value to the score, from the last to the first: the largest is at the top.

    Attributes:
        values: (s,), the steps.
        names: s escaped names.
        readings: s numbers of the row, or categories; "" for sums of features.
        ends: (s,), where the steps end.
        base: Where the first one starts.
    """

    values: NDArray[np.float64]
    names: Sequence[str]
    readings: Sequence[str]
    ends: NDArray[np.float64]
    base: float

    @classmethod
    def of(cls, shown: shap.Explanation, texts: Sequence[str], most: int) -> "Steps":
        """List the steps of a row: features, the sum of all others, and the part of the score that none has."""
        values = np.asarray(shown.values, dtype=np.float64)
        order = largest(values, len(values))
        alone = order if len(order) <= most else order[: most - 1]
        lines = [(values[j], shown.feature_names[j], texts[j]) for j in alone]
        if count := len(order) - len(alone):
            lines.append((values[order[len(alone) :]].sum(), f"{count} other feature{'s' * (count > 1)}", ""))
        base = float(np.ravel(shown.base_values)[0])
        lines += _rest(shown, base, values)
        steps, names, numbers = zip(*lines, strict=True)
        ends = base + np.cumsum(steps[::-1])[::-1]
        return cls(np.array(steps), names, numbers, ends, base)

    @property
    def starts(self) -> NDArray[np.float64]:
        """(s,): where the steps start."""
        return np.append(self.ends[1:], self.base)


def draw(explanation: shap.Explanation, *, max_display: int = 15, ax: Axes | None = None) -> Axes:
    """Draw the values of one row as steps from the mean score of the background to the score of the row.

    A last step is grey: the part of the score that no feature of the explanation has, if there is one.

    Args:
        explanation: Explanation of one output and one row: ``explanation[0]``.
        max_display: Maximum number of features, the last of which is the sum of all others.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: The explanation has several outputs or rows; or ``max_display`` is less than 1.
    """
    check_arguments(max_display=max_display)
    check_optional(ax=ax)
    shown = printable(explanation, ndim=1)
    steps = Steps.of(shown, readings(explanation), max_display)
    ax = new_line_axes(ax, with_readings(steps.names, steps.readings), lines_beside=5)
    name_lines(ax, steps.names, steps.readings)
    rule_lines(ax, len(steps.names))
    label = f"SHAP value (impact on {score_label(shown)})"
    label_x(ax, label, labelpad=20)  # below the base value
    if (row := getattr(shown, "row_names", None)) is not None:
        ax.set_title(
            wrap(f"row {escape(row)}", inches_of(ax)[0], NAME), fontsize=points(NAME), pad=22
        )  # above the score
    _draw_steps(ax, steps)
    return ax


def _rest(shown: shap.Explanation, base: float, values: NDArray[np.float64]) -> list[tuple[float, str, str]]:
    """List the part of the score that no feature has; none where the score is not known, or the part negligible."""
    score = getattr(shown, "scores", None)
    rest = 0.0 if score is None else float(score) - base - values.sum()
    if not abs(rest) > NEGLIGIBLE * np.abs(values).max():
        return []
    whole = np.isclose(rest, float(shown.residual), rtol=NEGLIGIBLE)
    return [(rest, "residual, of no feature" if whole else "features left out", "")]


def _draw_steps(ax: Axes, steps: Steps) -> None:
    """Draw an arrow for each step, with its number inside where there is room for it."""
    width = inches_of(ax)[0]
    numbers = [number(value, sign=True) for value in steps.values]
    marks = _marks(steps)
    inside = _place_numbers(ax, steps, numbers, marks, width)
    unit = float(np.diff(ax.get_xlim())[0]) / width
    for line, (start, end, value) in enumerate(zip(steps.starts, steps.ends, steps.values, strict=True)):
        grey = steps.names[line] in ("residual, of no feature", "features left out")
        color = "0.55" if grey else RAISES if value > 0 else LOWERS
        _draw_arrow(ax, line, (start, end), color, HEAD * unit)
        where: dict[str, Any] = {"va": "center", "fontsize": points(NUMBER), "textcoords": "offset points"}
        if inside[line]:
            ax.annotate(numbers[line], ((start + end) / 2, line), (0, 0), ha="center", color="white", **where)
        else:
            side = 1 if value >= 0 else -1
            align = "left" if value >= 0 else "right"
            ax.annotate(numbers[line], (end, line), (side * GAP * 72, 0), ha=align, color=color, **where)
    lines = np.arange(len(steps.values) - 1)
    ax.vlines(steps.starts[:-1], lines - HALF, lines + 1 + HALF, color="0.7", linewidth=0.7, linestyle="--", zorder=-1)
    _draw_marks(ax, marks)
    number_ticks(ax)


def _marks(steps: Steps) -> list[tuple[float, str]]:
    """Write the base value and the score, with the digits that tell them apart."""
    ends = np.array([steps.base, steps.ends[0]])
    digits = max(3, digits_apart(ends, float(np.abs(np.diff(ends))[0])) + 2)
    return [(each, f"{name} = {number(each, digits)}") for each, name in zip(ends, ("E[f(X)]", "f(x)"), strict=True)]


def _place_numbers(
    ax: Axes, steps: Steps, numbers: Sequence[str], marks: Sequence[tuple[float, str]], width: float
) -> NDArray[np.bool_]:
    """Set limits with room for numbers and marks, and find the numbers that have room inside of their arrows."""
    points, widths = np.append(steps.ends, steps.base), np.array([width_of([each], NUMBER) for each in numbers])
    low, high = float(points.min()), float(points.max())
    halves = [width_of([text], NAME) / 2 for _, text in marks]
    taken: list[Taken] = [(place, half, half) for (place, _), half in zip(marks, halves, strict=True)]
    inside = np.ones(len(numbers), dtype=bool)
    start, end = limits(low, high, taken, width)
    while (still := inside & (widths + 2 * HEAD < np.abs(steps.values) / (end - start) * width)).sum() < inside.sum():
        inside = still
        beside: list[Taken] = [
            (place, size * (value < 0), size * (value >= 0))
            for place, value, size in zip(
                steps.ends[~inside], steps.values[~inside], widths[~inside] + 2 * GAP, strict=True
            )
        ]
        start, end = limits(low, high, [*taken, *beside], width)
    ax.set_xlim(start, end)
    return inside


def _draw_arrow(ax: Axes, line: int, ends: tuple[float, float], color: str, head: float) -> None:
    """Draw an arrow that points to its end; a short one is all head."""
    start, end = ends
    neck = end - np.sign(end - start) * min(head, abs(end - start))
    corners = [(start, -HALF), (neck, -HALF), (end, 0), (neck, HALF), (start, HALF)]
    ax.add_patch(Polygon([(x, line + y) for x, y in corners], facecolor=color, edgecolor=color, linewidth=0.4))


def _draw_marks(ax: Axes, marks: Sequence[tuple[float, str]]) -> None:
    """Mark the base value below the axes, and the score above them."""
    for (place, text), height, offset in zip(marks, (0, 1), (-20, 4), strict=True):
        ax.axvline(place, color="0.7", linewidth=0.7, linestyle="--", zorder=-2)
        ax.annotate(
            text,
            (place, height),
            (0, offset),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom" if height else "top",
            fontsize=points(NAME),
            color=GREY,
            annotation_clip=False,
        )
