"""Lines of features: a name at the left of each, after the feature's number in the row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shap
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae.plots._figure import NAME, REMARK, escape, points
from shapae.plots._numbers import number
from shapae.tables.players import NO_CATEGORY, NO_ONE_HOT, category_names

# Colour of what is beside the point: numbers of the row, remarks, lines of the grid.
GREY = "0.4"
# Space between a name and what is beside it, in inches.
GAP = 0.06


def readings(row: shap.Explanation) -> list[str]:
    """Write the number, or the category, of each feature of a single row; nothing where it is not known."""
    known = row.display_data if row.display_data is not None else row.data
    if np.shape(known) != np.shape(row.values):
        return [""] * len(row.values)
    written = [number(float(each)) if _is_number(each) else escape(each) for each in known]
    codes = getattr(row, "categories", None)
    if codes is None:
        return written
    for place in np.flatnonzero(codes != NO_ONE_HOT).tolist():
        names = category_names(row.made_by["groups"][row.feature_names[place]])
        written[place] = "none" if codes[place] == NO_CATEGORY else escape(names[codes[place]])
    return written


def _is_number(given: Any) -> bool:
    return np.issubdtype(np.asarray(given).dtype, np.number)


def with_readings(names: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """Write names as they are printed, for their widths."""
    return [f"{reading} = {name}" if reading else name for name, reading in zip(names, numbers, strict=True)]


def name_lines(ax: Axes, names: Sequence[str], numbers: Sequence[str] = ()) -> None:
    """Write the name of each line, from the top down, and the number of the row in grey before it.

    Args:
        ax: Axes to draw on; lines are at 0, 1, ...
        names: Escaped names.
        numbers: Numbers of the row, or none at all.
    """
    ax.set_yticks(range(len(names)), names, fontsize=points(NAME), color="0.1")
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0, pad=GAP * 72)
    ax.spines[["top", "right", "left"]].set_visible(False)
    for label, reading in zip(ax.get_yticklabels(), numbers, strict=False):
        if reading:  # beside the name, wherever the layout moves it
            ax.annotate(
                f"{reading} =",
                (0, 0.5),
                (-72 * GAP, 0),
                xycoords=label,
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=points(NAME),
                color=GREY,
                annotation_clip=False,
            )


def rule_lines(ax: Axes, count: int) -> None:
    """Draw a dotted rule through each line, as shap does."""
    for line in range(count):
        ax.axhline(line, color="0.8", linewidth=0.5, dashes=(1, 5), zorder=-1)


def remark(ax: Axes, text: str) -> None:
    """Write a remark in small print above the axes, at their left."""
    ax.annotate(
        text, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=points(REMARK), color=GREY
    )


def largest(sizes: NDArray[Any], most: int) -> list[int]:
    """Find the positions of the largest sizes, in descending order; those that are not numbers come last."""
    return [int(place) for place in np.argsort(-np.nan_to_num(np.abs(sizes), nan=-1), kind="stable")[:most]]
