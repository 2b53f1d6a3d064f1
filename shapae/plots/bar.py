"""Bars of the features with the largest values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shap
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from shapae.explainer.importance import Importance
from shapae.plots._figure import (
    LOWERS,
    NUMBER,
    RAISES,
    REMARK,
    escape,
    inches_of,
    label_x,
    new_line_axes,
    points,
    printable,
    score_label,
    width_of,
)
from shapae.plots._lines import GAP, largest, name_lines, readings, with_readings
from shapae.plots._numbers import Taken, limits, number, number_ticks
from shapae.plots._results import SIGNIFICANCE, check_explanation, choose_output, select_output
from shapae.utils.constraints import check_arguments, check_optional

# Colours of features that raise the output, that lower it, and of all others.
COLORS = {1: RAISES, -1: LOWERS, 0: "0.6"}
LEGEND = {1: "mean value above 0", -1: "mean value below 0", 0: f"within {SIGNIFICANCE} standard errors of 0"}


def draw(
    explanation: shap.Explanation | Importance,
    *,
    output: str | None = None,
    max_display: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean |value| of each feature over the rows, or the values of a single row.

    Lines across the ends of bars are standard errors: of means over the rows, or of the values of a single row where
    they are known. Bars of an ``Importance`` have the colour of the sign of the mean value.

    Args:
        explanation: Explanation of one row or several; or an Importance.
        output: Name of the output; it may be left out if there is only one.
        max_display: Maximum number of features, in descending order.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There are several outputs and none is chosen; or this is another result; or
            ``max_display`` is less than 1.
        UnknownName: There is no such output.
    """
    check_arguments(max_display=max_display)
    check_optional(output=output, ax=ax)
    if isinstance(explanation, Importance):
        return _draw_importance(explanation, output, max_display, ax)
    check_explanation(explanation, "an Explanation or an Importance")
    selected = select_output(explanation, output)
    shown = printable(selected)
    if shown.values.ndim == 1:
        return _draw_row(shown, readings(selected), max_display, ax)
    return _draw_rows(shown, max_display, ax)


def _draw_row(shown: shap.Explanation, texts: Sequence[str], most: int, ax: Axes | None) -> Axes:
    """Draw the values of a single row, and the numbers of the row beside the names."""
    order = largest(shown.values, most)
    names, numbers = [shown.feature_names[j] for j in order], [texts[j] for j in order]
    ax = new_line_axes(ax, with_readings(names, numbers))
    name_lines(ax, names, numbers)
    label_x(ax, f"SHAP value (impact on {score_label(shown)})")
    errors = getattr(shown, "standard_errors", None)
    values = np.asarray(shown.values, dtype=np.float64)[order]
    colors = [COLORS[1 if value > 0 else -1] for value in values]
    _draw_bars(ax, values, None if errors is None else errors[order], colors, sign=True)
    return ax


def _draw_rows(shown: shap.Explanation, most: int, ax: Axes | None) -> Axes:
    """Draw mean |value| over the rows, with standard errors if there are several."""
    sizes = np.abs(np.asarray(shown.values, dtype=np.float64))
    means, n = sizes.mean(axis=0), len(sizes)
    order = largest(means, most)
    names = [shown.feature_names[j] for j in order]
    ax = new_line_axes(ax, names)
    name_lines(ax, names)
    label_x(ax, f"mean |SHAP value| (impact on {score_label(shown)})")
    errors = sizes[:, order].std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else None
    _draw_bars(ax, means[order], errors, [RAISES] * len(order))
    return ax


def _draw_importance(importance: Importance, output: str | None, most: int, ax: Axes | None) -> Axes:
    """Draw mean |value| with standard errors, in the colours of the signs of the mean values."""
    at = choose_output(importance.output_names, output, "shapae.plots.bar(importance, output={!r})")
    name = importance.output_names[at]
    table = importance.output(name).head(most)
    mean, size = table["mean_value"].to_numpy(), table["mean_abs_value"].to_numpy()
    sure = np.abs(mean) > SIGNIFICANCE * table["mean_value_error"].to_numpy()
    signs = np.where(sure, np.sign(mean), 0).astype(int).tolist()
    names = [escape(feature) for feature in table.index]
    ax = new_line_axes(ax, names, lines_beside=4)
    name_lines(ax, names)
    label_x(ax, f"mean |SHAP value| (impact on {score_label(importance, name)})")
    _add_legend(ax, [sign for sign in COLORS if sign in signs])
    errors = table["mean_abs_value_error"].fillna(0).to_numpy()
    _draw_bars(ax, size, errors, [COLORS[sign] for sign in signs])
    return ax


def _draw_bars(
    ax: Axes, values: NDArray[Any], errors: NDArray[Any] | None, colors: Sequence[str], *, sign: bool = False
) -> None:
    """Draw bars with their errors, and their numbers beyond both."""
    lines, known = range(len(values)), errors is not None
    reach = np.zeros(len(values)) if errors is None else np.nan_to_num(errors)
    ax.barh(lines, values, 0.7, color=colors, xerr=reach if known else None, error_kw={"ecolor": "0.2", "capsize": 2})
    texts = [number(value, sign=sign) for value in values]
    taken: list[Taken] = []
    for line, value, error, text in zip(lines, values, reach, texts, strict=True):
        right = value >= 0
        end, room = value + (error if right else -error), width_of([text], NUMBER) + 2 * GAP
        taken.append((end, room * (not right), room * right))
        options: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": points(NUMBER)}
        ax.annotate(text, (end, line), ((1 if right else -1) * GAP * 72, 0), ha="left" if right else "right", **options)
    ends = [0, *(values - reach), *(values + reach)] if sign else [0, *(values + reach)]
    low, high = limits(min(ends), max(ends), taken, inches_of(ax)[0])
    ax.set_xlim(low if sign and min(ends) < 0 else 0, high)
    if sign:
        ax.axvline(0, color="0.2", linewidth=0.8)
    number_ticks(ax)


def _add_legend(ax: Axes, signs: list[int]) -> None:
    """Explain the colours of signs in a line above the bars."""
    ax.legend(
        handles=[Patch(color=COLORS[sign], label=LEGEND[sign]) for sign in signs],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
        borderaxespad=0,
        handlelength=1.2,
        columnspacing=1,
        fontsize=points(REMARK),
    )
