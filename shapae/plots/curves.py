"""Curves of the mean score while features are removed or inserted, in descending order of their values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae.plots._colours import styles
from shapae.plots._figure import escape, label_x, new_axes, size_of, width_of, wrap
from shapae.plots._scales import label_scaled, legend_beside
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import shorten


def draw(curves: pd.DataFrame, verb: str = "removed", *, controls: Sequence[str] = (), ax: Axes | None = None) -> Axes:
    """Draw a curve for each backend; the legend lists them by their areas, the best first.

    Args:
        curves: One column per backend, over fractions of the features: ``Comparison.deletion`` or ``.insertion``.
        verb: Change of the features: "removed", for which low curves are good; or another, for which high ones are.
        controls: Names of columns that are controls.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.
    """
    check_arguments(curves=curves, verb=verb, controls=controls)
    check_optional(ax=ax)
    controls = [controls] if isinstance(controls, str) else [*controls]
    names = {name: escape(shorten(str(name))) for name in curves}
    ax = new_axes(ax, 5.5 + width_of([*names.values()], 9), 4.5)
    low, style = verb == "removed", styles(curves.columns, controls)
    every = max(1, len(curves) // 6)
    for rank, name in enumerate(curves.mean().sort_values(ascending=low).index):
        # Later lines are thinner, and marks stand at other places, so that coinciding lines are all visible.
        width = 1.5 if name in controls else 1.5 + 2.5 * (1 - rank / curves.shape[1])
        mark: dict[str, Any] = {
            "marker": style[name].marker,
            "markersize": 4 + width,
            "markevery": (rank % every, every),
        }
        line: dict[str, Any] = {"color": style[name].color, "linestyle": style[name].linestyle, "linewidth": width}
        ax.plot(curves.index, curves[name], **line, **mark, markeredgecolor="white", label=names[name])
    across, down = size_of(ax)
    label_x(ax, f"fraction of the features {verb}, the largest values first")
    label_scaled(ax.yaxis, "mean score", float(np.nanmax(np.abs(curves.to_numpy(np.float64)))), inches=down)
    ax.set_title(wrap(f"features {verb}: a {'low' if low else 'high'} line is better", across))
    legend_beside(ax, handlelength=3)
    return ax
