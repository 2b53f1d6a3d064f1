"""Bars of the features with the largest values."""

import numpy as np
import shap
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from shapae.explainer.importance import Importance
from shapae.plots._figure import LOWERS, RAISES, escape, new_axes, printable, pyplot_axes, relabel_bars, width_of
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

    Bars of an ``Importance`` have standard errors over the rows, and the colour of the sign of the mean value.

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
    shown = printable(select_output(explanation, output))
    bars = shown.values if shown.values.ndim == 1 else np.abs(shown.values).mean(axis=0)
    largest = np.argsort(-np.abs(bars))[:max_display].tolist()
    ax = new_axes(ax, 8, 0.4 * len(largest) + 1.2)
    with pyplot_axes(ax):
        # Only the displayed features: otherwise shap adds a bar with the sum of all others.
        shap.plots.bar(shown[..., largest], max_display=len(largest), ax=ax, show=False)
    relabel_bars(ax, {len(largest) - rank: bars[j] for rank, j in enumerate(largest)})
    if min(bars[largest]) < 0:  # shap leaves room for "-0.00" only
        left, right = ax.get_xlim()
        ax.set_xlim(left - 0.16 * (right - left), right + 0.06 * (right - left))
    label = "SHAP value" if shown.values.ndim == 1 else "mean |SHAP value|"
    ax.set_xlabel(f"{label} (impact on {escape(shown.output_names)})", fontsize=12)
    return ax


def _draw_importance(importance: Importance, output: str | None, most: int, ax: Axes | None) -> Axes:
    """Draw mean |value| with standard errors, in the colours of the signs of the mean values."""
    at = choose_output(importance.output_names, output, "shapae.plots.bar(importance, output={!r})")
    name = importance.output_names[at]
    table = importance.output(name).head(most)
    mean, size = table["mean_value"].to_numpy(), table["mean_abs_value"].to_numpy()
    sure = np.abs(mean) > SIGNIFICANCE * table["mean_value_error"].to_numpy()
    signs = np.where(sure, np.sign(mean), 0).astype(int).tolist()
    errors = table["mean_abs_value_error"].fillna(0).to_numpy()
    names = [escape(feature) for feature in table.index]
    ax, places = new_axes(ax, 7.5 + 1.2 * width_of(names), 0.4 * len(table) + 1.6), range(len(table))
    ax.barh(places, size, 0.7, color=[COLORS[sign] for sign in signs], xerr=errors, ecolor="0.2")
    for place, end, number in zip(places, size + errors, size, strict=True):
        ax.annotate(f"{number:.3g}", (end, place), (4, 0), textcoords="offset points", va="center")
    ax.set_yticks(places, names, fontsize=12)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlim(0, 1.12 * float((size + errors).max()) or 1.0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel(f"mean |SHAP value| (impact on {escape(name)})", fontsize=12)
    _add_legend(ax, [sign for sign in COLORS if sign in signs])
    return ax


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
    )
