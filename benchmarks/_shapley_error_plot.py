"""Error against seconds: a small panel for each task."""

from math import ceil
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks._shapley_error_tables import LEAST_ERROR, LIMIT
from shapae.plots import _colours
from shapae.plots._figure import new_figure

COLUMNS = 4
# Beginnings of names to markers: one for each library.
MARKERS = {"shapiq": "x", "shap": "s", "captum": "^", "coalitions by": "*", "": "o"}


def draw(records: pd.DataFrame) -> Figure:
    """Draw a panel for each task: a line joins the settings of a method."""
    tasks, names = records["task"].unique(), list(records["method"].unique())
    styles = {name: _style(name, style.color) for name, style in _colours.styles(names).items()}
    rows = ceil(len(tasks) / COLUMNS)
    figure = new_figure(4 * COLUMNS + 2, 3.2 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for ax, task in zip(panels, tasks, strict=False):
        _draw_task(ax, records[records["task"] == task], styles)
        ax.set_title(task, fontsize=11)
    for ax in panels[len(tasks) :]:
        ax.remove()
    handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    handles.append(Line2D([], [], color="0.7", linestyle=":", label=f"time of {LIMIT}"))
    figure.legend(handles=handles, loc="outside right center", fontsize=11)
    figure.supxlabel("seconds per row, one thread")
    figure.supylabel(f"relative error to the Shapley values, or {LEAST_ERROR:g}")
    return figure


def _style(name: str, color: str) -> dict[str, Any]:
    marker = next(marker for start, marker in MARKERS.items() if name.startswith(start))
    wide = {"linewidth": 0.8, "markersize": 4} if marker in "xs^" else {"linewidth": 2, "markersize": 7}
    return {"color": color, "marker": marker, **wide}


def _draw_task(ax: Axes, records: pd.DataFrame, styles: dict[str, dict[str, Any]]) -> None:
    ax.set(xscale="log", yscale="log", ylim=(LEAST_ERROR / 1.5, 3))
    for name, rows in records.sort_values("seconds").groupby("method"):
        ax.plot(rows["seconds"], rows["error"].clip(lower=LEAST_ERROR), **styles[str(name)])
    for seconds in records.loc[records["method"] == LIMIT, "seconds"]:
        ax.axvline(seconds, color="0.7", linestyle=":", zorder=0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.3)
