"""The mean score while features are removed, or put in place, those of the largest values first."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from shapae.plots._figure import colors, escaped, new_axes


def draw(curves: pd.DataFrame, verb: str = "removed", *, controls: Sequence[str] = (), ax: Axes | None = None) -> Axes:
    """Draw a line for each attribution; the legend has them in the order of their areas, the best first.

    Args:
        curves: One column for each, over fractions of the features: ``Comparison.deletion`` or ``.insertion``.
        verb: What is done with the features: "removed", where a low line is good; otherwise a high one is.
        controls: Names of columns that are not backends.
        ax: Where to draw; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.
    """
    ax = new_axes(ax, 7, 5)
    low, colour = verb == "removed", colors(curves.columns, controls)
    for place, name in enumerate(curves.mean().sort_values(ascending=low).index):
        # Lines drawn later are thinner, so that all are seen where they coincide.
        width, style = (1.5, "--") if name in controls else (1.5 + 3.5 * (1 - place / curves.shape[1]), "-")
        ax.plot(curves.index, curves[name], style, label=escaped(name), color=colour[name], linewidth=width)
    ax.set_xlabel(f"fraction of the features {verb}, the largest values first")
    ax.set_ylabel("mean score")
    ax.set_title(f"features {verb}: a {'low' if low else 'high'} line is better")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
