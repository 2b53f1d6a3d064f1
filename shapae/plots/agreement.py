"""Matrix of the agreement between methods."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae.errors import DataError
from shapae.plots._figure import add_colorbar, cluster_order, draw_matrix, escape, new_axes
from shapae.plots._results import Frame
from shapae.utils.constraints import check_argument, check_optional


def draw(agreement: Any, *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the agreement of all pairs of methods, similar methods side by side.

    Args:
        agreement: A ``GlobalRanking`` or a ``Comparison``, for Spearman's correlations; or a square table of numbers
            from -1 to 1, such as ``ranking.agreement.loc["kendall"]``; NaN if unknown.
        label: Meaning of the numbers; None for "Spearman's rank correlation" or, of a table, "agreement".
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: This is another result.
    """
    check_optional(label=label, ax=ax)
    if not isinstance(agreement, pd.DataFrame):
        agreement, label = _correlations(agreement), label or "Spearman's rank correlation"
    check_argument("agreement", agreement, Frame("a square table of numbers", width=len(agreement)))
    order = cluster_order(agreement.fillna(0).to_numpy())
    shown, names = agreement.to_numpy()[np.ix_(order, order)], [escape(name) for name in agreement.index[order]]
    ax = new_axes(ax, 0.55 * len(order) + 3.5, 0.45 * len(order) + 2.5)
    draw_matrix(ax, shown, (names, names), cmap="RdBu", vmin=-1, vmax=1)
    for (row, column), number in np.ndenumerate(shown):
        text = "" if np.isnan(number) else f"{number:.2f}".replace("-", "\N{MINUS SIGN}")
        ax.text(
            column, row, text, ha="center", va="center", fontsize=8, color="white" if abs(number) > 0.6 else "black"
        )
    add_colorbar(ax, label or "agreement")
    return ax


def _correlations(result: Any) -> pd.DataFrame:
    """Take Spearman's correlations of all pairs of methods from a result.

    Raises:
        DataError: It has none.
    """
    table = getattr(result, "agreement", None)
    if not isinstance(table, pd.DataFrame):
        raise DataError(
            f"this plot takes a GlobalRanking, a Comparison or a square table, got {type(result).__name__}. Rank the "
            f"features: shapae.rank_features(model, X)."
        )
    return table.loc[["spearman"]].droplevel(0) if table.index.nlevels > 1 else table
