"""Matrix of the interactions of pairs of features."""

import numpy as np
from matplotlib.axes import Axes

from shapae.explainer.interactions import Interactions
from shapae.plots._matrix import draw_cells
from shapae.plots._pairs import ShownPairs
from shapae.utils.constraints import check_arguments, check_optional


def draw(interactions: Interactions, *, row: int | None = None, max_display: int = 20, ax: Axes | None = None) -> Axes:
    """Draw the mean |interaction| of each pair of features, or the interactions of one row with their signs.

    An interaction is the whole index, both halves together. Main effects, which are often far larger, are left out. If
    a few interactions are far larger than all others, the colours end at the 98th percentile; the colour bar says so.

    Args:
        interactions: Result of ``Explainer.interactions``.
        row: Position of one row; None for the mean over all rows.
        max_display: Maximum number of features, of those with the largest interactions.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There is no such row.
    """
    check_arguments(max_display=max_display)
    check_optional(row=row, ax=ax)
    shown = ShownPairs.of(interactions, row, max_display)
    m = len(shown.names)
    pairs = np.ma.masked_array(shown.size if row is None else shown.mean, np.eye(m, dtype=bool))
    label = "mean |interaction|" if row is None else f"interaction in row {row}"
    ax = draw_cells(ax, pairs, (shown.names, shown.names), label=label, signed=row is not None)
    ax.set_facecolor("0.85")
    return ax
