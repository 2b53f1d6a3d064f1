"""Matrix of the ranks of features in several methods."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from shapae.errors import DataError
from shapae.plots._colours import PALETTE, Ends
from shapae.plots._figure import escape, points, size_of, wrap
from shapae.plots._matrix import as_texts, draw_cells, print_cells
from shapae.plots._results import SIGNIFICANCE, Frame
from shapae.utils.constraints import MEMBERS, check_argument, check_arguments, check_optional

# Colour of the bars beside the features of a cluster.
CLUSTER = PALETTE[0]


class Ranking(Protocol):
    """The parts of a ``GlobalRanking`` that are drawn."""

    @property
    def table(self) -> pd.DataFrame:
        """Importances, features x methods."""

    @property
    def significant(self) -> pd.DataFrame:
        """Whether each importance is significant."""

    @property
    def clusters(self) -> Mapping[str, list[str]]:
        """Clusters of features."""


def draw(
    table: "pd.DataFrame | Ranking",
    *,
    sure: pd.DataFrame | None = None,
    clusters: Mapping[str, Sequence[str]] | None = None,
    max_display: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """Draw the rank of each feature in each method; colours show the importance.

    Args:
        table: A ``GlobalRanking``; or importances, features x methods, such as ``ranking.table``.
        sure: Whether each importance is significant, in the shape of ``table``; other ranks are not printed. None for
            that of a ``GlobalRanking``; in a table of importances, all are significant.
        clusters: Features to be placed side by side, with a bar beside their names. None for ``ranking.clusters`` of a
            ``GlobalRanking``, and for none in a table.
        max_display: Maximum number of features, ranked by their mean importance.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: This is another result.
    """
    check_arguments(max_display=max_display)
    check_optional(sure=sure, clusters=clusters, ax=ax)
    if not isinstance(table, pd.DataFrame):
        if not hasattr(table, "significant"):
            raise DataError(
                f"this plot takes a GlobalRanking or its table, got {type(table).__name__}. Rank the features: "
                f"shapae.rank_features(model, X)."
            )
        sure, clusters = table.significant if sure is None else sure, table.clusters if clusters is None else clusters
        table = table.table
    check_argument("table", table, Frame("a DataFrame of numbers, features x methods"))
    if sure is not None and not (sure.index.equals(table.index) and sure.columns.equals(table.columns)):
        raise DataError("sure must be a table with the rows and the columns of the importances.")
    for name, members in (clusters or {}).items():
        check_argument(f"the cluster {name!r}", members, MEMBERS)
    cluster_of = {feature: name for name, members in (clusters or {}).items() for feature in members}
    features = _order(table.mean(axis=1), cluster_of)[:max_display]
    largest = table.max().where(table.max() > 0, 1)
    shown = (table / largest).loc[features].to_numpy()
    ranks = table.rank(ascending=False, method="min").loc[features].to_numpy()
    significant = np.full(shown.shape, True) if sure is None else sure.loc[features].to_numpy()
    names = [escape(feature) for feature in features], [escape(column) for column in table.columns]
    options: dict[str, Any] = {"signed": False, "ends": Ends(1.0, 1.0), "cell": (0.42, 0.28)}
    ax = draw_cells(ax, shown, names, label="part of the method's largest", **options)
    texts = np.where(significant, as_texts(ranks, ".0f"), "\N{MIDDLE DOT}")
    print_cells(ax, texts, shown > 0.5)
    _mark_clusters(ax, [cluster_of.get(feature) for feature in features])
    _add_legend(ax, dots=not significant.all())
    return ax


def _order(importance: "pd.Series[float]", cluster_of: Mapping[str, str]) -> list[str]:
    """Sort features by descending importance; the features of a cluster follow its most important feature."""
    descending = importance.sort_values(ascending=False, kind="stable").index
    first_rank = {cluster_of.get(feature, feature): rank for rank, feature in reversed([*enumerate(descending)])}
    return sorted(descending, key=lambda feature: first_rank[cluster_of.get(feature, feature)])


def _mark_clusters(ax: Axes, clusters: Sequence[str | None]) -> None:
    """Draw a bar at the left of the displayed features of each cluster."""
    for name in {name for name in clusters if name is not None}:
        rows = [row for row, other in enumerate(clusters) if other == name]
        ax.plot([-0.5, -0.5], [rows[0] - 0.4, rows[-1] + 0.4], color=CLUSTER, linewidth=5, clip_on=False)


def _add_legend(ax: Axes, *, dots: bool) -> None:
    """Explain the bars of clusters and the dots above the matrix, if there are any."""
    inches = size_of(ax)[0] - 0.5
    of_dots = f"not significant: within {SIGNIFICANCE} standard errors of 0, or below"
    cluster = Line2D([], [], color=CLUSTER, linewidth=5, label=wrap("cluster of features", inches))
    handles = [cluster] if ax.lines else []
    if dots:
        dot: dict[str, Any] = {"marker": ".", "markersize": 4, "color": "black", "linestyle": ""}
        handles.append(Line2D([], [], **dot, label=wrap(of_dots, inches)))
    if handles:
        style: dict[str, Any] = {"frameon": False, "fontsize": points(9), "borderaxespad": 0.2, "handlelength": 1.2}
        ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), **style)
