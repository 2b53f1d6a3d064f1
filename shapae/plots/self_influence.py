"""Self influence of the training rows against their losses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from shapae.errors import DataError
from shapae.plots._figure import colors, escape, new_axes, shorten

# Number of labels in the legend.
MOST_LABELS = 12


def draw(influence: Any, *, labels: Sequence[Any] | None = None, named: int = 5, ax: Axes | None = None) -> Axes:
    """Draw a dot for each training row, on logarithmic axes, with the names of the largest self influences.

    Args:
        influence: An ``Influence``.
        labels: m labels of the training rows, by which the dots are coloured.
        named: Number of names.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There are not m labels.
    """
    x, y = influence.losses, influence.self_influence
    if labels is not None and len(labels) != len(x):
        raise DataError(f"there must be one label for each of the {len(x)} training rows, got {len(labels)}.")
    ax = new_axes(ax, 7, 5)
    kinds = np.full(len(x), "") if labels is None else np.array([str(each) for each in labels])
    counts = {kind: int((kinds == kind).sum()) for kind in dict.fromkeys(kinds.tolist())}
    palette = colors(sorted(counts))
    for kind in sorted(counts, key=lambda kind: -counts[kind]):  # rare ones on top
        some = kinds == kind
        ax.scatter(x[some], y[some], s=14, color=palette[kind], alpha=0.7, linewidths=0, label=escape(shorten(kind)))
    ax.set(xscale=_scale(x), yscale=_scale(y), xlabel="loss", ylabel="self influence")
    for place in np.argsort(-y, kind="stable")[:named]:
        name = escape(shorten(str(influence.train_index[place])))
        ax.annotate(name, (x[place], y[place]), (-4, 4), textcoords="offset points", ha="right", fontsize=7)
    if labels is not None:
        ax.legend(*(part[:MOST_LABELS] for part in ax.get_legend_handles_labels()), fontsize=8, frameon=False)
    return ax


def _scale(numbers: Any) -> str:
    return "log" if numbers.min() > 0 and numbers.max() > 10 * numbers.min() else "linear"
