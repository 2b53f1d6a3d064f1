"""Matrix of the agreement between methods."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae.errors import DataError
from shapae.plots._colours import Ends
from shapae.plots._figure import cluster_order, escape
from shapae.plots._matrix import DARK, as_texts, draw_cells, print_cells
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
    colours: dict[str, Any] = {"signed": True, "ends": Ends(1.0, 1.0), "cell": (0.5, 0.36), "cmap": "PuOr"}
    ax = draw_cells(ax, shown, (names, names), label=label or "agreement", **colours)
    print_cells(ax, as_texts(shown, ".2f"), np.abs(shown) > DARK)
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
