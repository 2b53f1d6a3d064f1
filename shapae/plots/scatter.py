"""Dependence plot of shap: the SHAP value of a feature against the feature."""

from typing import Any

import numpy as np
import pandas as pd
import shap
from matplotlib.axes import Axes

from shapae.errors import DataError
from shapae.plots._colours import MARKERS, PALETTE
from shapae.plots._dots import MISSING, find_feature, read_color, red_blue
from shapae.plots._figure import (
    NAME,
    NUMBER,
    REMARK,
    WIDTH,
    add_colorbar,
    escape,
    label_x,
    label_y,
    new_axes,
    points,
    printable,
    score_label,
    width_of,
    wrap,
)
from shapae.plots._lines import remark
from shapae.plots._numbers import Numbers, number_ticks
from shapae.tables.players import NO_CATEGORY, NO_ONE_HOT, category_names
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import shorten

# Height of the axes in inches, and area of a dot in square points.
HEIGHT, DOT = 4.6, 16
# Largest number of groups with colours of their own, and of characters of their names.
GROUPS, CHARACTERS = len(PALETTE), 28


def draw(explanation: shap.Explanation, feature: str | int, *, color: Any = None, ax: Axes | None = None) -> Axes:
    """Draw the value of a feature against the feature itself, a dot for each row.

    Args:
        explanation: Explanation of one output and several rows.
        feature: Name or position of the feature.
        color: Name of another feature; or n labels or numbers, one for each row, such as ``adata.obs["cell_type"]``.
            Labels have a legend, numbers a bar of colours. The names of a Series must be those of the rows. None for
            one colour.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: The explanation has several outputs, a single row, or no data; or there is not one label for each
            row, or the labels have other names than the rows.
        UnknownName: There is no such feature.

    Reference:
        Lundberg et al., 2020, https://doi.org/10.1038/s42256-019-0138-9, figure 4
    """
    check_arguments(feature=feature)
    check_optional(ax=ax)
    shown = printable(explanation, ndim=2)
    if np.shape(shown.data) != shown.values.shape:
        raise DataError("the explanation has no data, so that there is nothing to draw the values against.")
    names = [str(name) for name in explanation.feature_names]
    at = find_feature(feature, names)
    chosen = None if color is None else read_color(color, explanation, names)
    groups = [] if chosen is None or chosen.dtype.kind == "f" else _largest_groups(chosen)
    categories = _categories(explanation, names[at], at)
    x = np.where(explanation.categories >= 0, explanation.categories, len(categories) - 1) if categories else shown.data
    dots = pd.DataFrame({"x": x[:, at], "y": shown.values[:, at]}, dtype=np.float64).assign(color=chosen)
    width = WIDTH + 1.5 + width_of([*map(_printed, groups)], REMARK)
    own = new_axes(ax, width, HEIGHT + 1 + width_of([*map(_printed, categories)], NUMBER))
    own.axhline(0, color="0.8", linewidth=0.8, zorder=-1)
    own.spines[["top", "right"]].set_visible(False)
    if chosen is None:
        own.scatter(dots["x"], dots["y"], DOT, color=PALETTE[0], linewidths=0)
    elif chosen.dtype.kind == "f":
        _draw_numbers(own, dots, color if isinstance(color, str) else getattr(color, "name", None))
    else:
        _draw_groups(own, dots, groups, beside=ax is None)
    _mark(own, dots, categories)
    label_x(own, shown.feature_names[at])
    label_y(own, f"SHAP value (impact on {score_label(shown)})")
    return own


def _categories(explanation: Any, name: str, at: int) -> list[str]:
    """Name the categories of a group of one-hot columns, and that of rows of none; all other features have none."""
    codes = getattr(explanation, "categories", None)
    if codes is None or codes[0, at] == NO_ONE_HOT:
        return []
    return category_names(explanation.made_by["groups"][name]) + ["none"] * bool((codes[:, at] == NO_CATEGORY).any())


def _printed(label: Any) -> str:
    return escape(shorten(str(label), CHARACTERS))


def _largest_groups(labels: pd.Series) -> list[Any]:
    """List the groups that have colours of their own, in the order of the labels: the largest if there are many."""
    sizes = labels.value_counts()
    sizes = sizes[sizes > 0]
    few = {*sizes.index[: GROUPS if len(sizes) <= GROUPS else GROUPS - 1]}
    return [label for label in labels.cat.categories if label in few]


def _draw_numbers(ax: Axes, dots: pd.DataFrame, name: Any) -> None:
    """Draw dots in the colours of numbers; grey where there is no number."""
    known = np.isfinite(dots["color"])
    _draw_rest(ax, dots[~known], "")
    some = dots[known]
    image = ax.scatter(some["x"], some["y"], DOT, some["color"], cmap=red_blue(), linewidths=0)
    label = "" if name is None else wrap(escape(name), HEIGHT, NAME)
    add_colorbar(ax, label, image=image, format=Numbers(), aspect=40, pad=0.02)


def _draw_groups(ax: Axes, dots: pd.DataFrame, groups: list[Any], *, beside: bool) -> None:
    """Draw the dots of each group in its colour and with its marker; grey for rows of other groups, or of none."""
    missing = dots["color"].isna()
    others = ~missing & ~dots["color"].isin(groups)
    count = dots["color"][others].nunique()
    _draw_rest(ax, dots[others], f"{count} other labels")
    _draw_rest(ax, dots[missing], "no label")
    for label, color, marker in zip(groups, PALETTE, MARKERS, strict=False):
        some = dots[dots["color"] == label]
        ax.scatter(some["x"], some["y"], DOT, color=color, marker=marker, linewidths=0, label=_printed(label))
    where: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if beside else {"loc": "best"}
    ax.legend(fontsize=points(REMARK), frameon=False, **where)


def _draw_rest(ax: Axes, dots: pd.DataFrame, label: str) -> None:
    if len(dots):
        ax.scatter(dots["x"], dots["y"], DOT, color=MISSING, marker="x", linewidths=0.7, label=label)


def _mark(ax: Axes, dots: pd.DataFrame, categories: list[str]) -> None:
    """Place the ticks, and say how many rows have no place on the axes."""
    number_ticks(ax, "y")
    if categories:
        ax.set_xticks(range(len(categories)), [*map(_printed, categories)], rotation=90, fontsize=points(NUMBER))
    else:
        number_ticks(ax)
    lost = int((~np.isfinite(dots[["x", "y"]])).any(axis=1).sum())
    if lost:
        remark(ax, f"{lost} of {len(dots)} rows without a finite number are not drawn")
