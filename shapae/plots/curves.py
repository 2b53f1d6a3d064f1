"""Curves of the mean score while features are removed or inserted, in descending order of their values."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from shapae.plots._figure import colors, escape, new_axes
from shapae.utils.constraints import check_arguments, check_optional


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
    ax = new_axes(ax, 7, 5)
    low, colour = verb == "removed", colors(curves.columns, controls)
    for rank, name in enumerate(curves.mean().sort_values(ascending=low).index):
        # Later lines are thinner, so that coinciding lines are all visible.
        width, style = (1.5, "--") if name in controls else (1.5 + 3.5 * (1 - rank / curves.shape[1]), "-")
        ax.plot(curves.index, curves[name], style, label=escape(name), color=colour[name], linewidth=width)
    ax.set_xlabel(f"fraction of the features {verb}, the largest values first")
    ax.set_ylabel("mean score")
    ax.set_title(f"features {verb}: a {'low' if low else 'high'} line is better")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
