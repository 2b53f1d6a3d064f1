"""Features by methods: which method puts which feature first."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae.plots._figure import escaped, new_axes, pyplot_axes


def draw(
    table: pd.DataFrame,
    *,
    sure: pd.DataFrame | None = None,
    clusters: Mapping[str, Sequence[str]] | None = None,
    max_display: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """Draw the place of each feature in each method, and in colour how large it is there.

    Args:
        table: Importances, features x methods, such as ``ranking.table``.
        sure: Of the same shape: False for what can't be told from nothing, whose place is not printed; None for none.
        clusters: Features that stand side by side, with a bar beside their names; see ``ranking.clusters``.
        max_display: How many features: those with the largest mean importance.
        ax: Where to draw; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.
    """
    cluster_of = {feature: name for name, members in (clusters or {}).items() for feature in members}
    features = _ordered(table.mean(axis=1), cluster_of)[:max_display]
    largest = table.max().where(table.max() > 0, 1)
    shown = (table / largest).loc[features].to_numpy()
    places = table.rank(ascending=False, method="min").loc[features].to_numpy()
    known = np.full(shown.shape, True) if sure is None else sure.loc[features].to_numpy()
    ax = new_axes(ax, 0.5 * table.shape[1] + 3.5, 0.28 * len(features) + 2.5)
    image = ax.imshow(shown, aspect="auto", cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
    ax.set_yticks(range(len(features)), [escaped(feature) for feature in features])
    ax.set_xticks(range(table.shape[1]), [escaped(column) for column in table.columns], rotation=90)
    for (row, column), place in np.ndenumerate(places):
        text = f"{place:.0f}" if known[row, column] else "\N{MIDDLE DOT}"
        colour = "white" if shown[row, column] > 0.5 else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    _bars(ax, [cluster_of.get(feature) for feature in features])
    with pyplot_axes(ax):
        ax.figure.colorbar(image, ax=ax, label="part of the\nmethod's largest")
    return ax


def _ordered(size: "pd.Series[float]", cluster_of: Mapping[str, str]) -> list[str]:
    """Largest first; the features of a cluster follow the largest of them."""
    falling = size.sort_values(ascending=False, kind="stable").index
    first = {cluster_of.get(feature, feature): place for place, feature in reversed([*enumerate(falling)])}
    return sorted(falling, key=lambda feature: first[cluster_of.get(feature, feature)])


def _bars(ax: Axes, clusters: Sequence[str | None]) -> None:
    """A bar at the left of the features of each cluster, of those that are shown."""
    for name in {name for name in clusters if name is not None}:
        rows = [row for row, other in enumerate(clusters) if other == name]
        ax.plot([-0.5, -0.5], [rows[0] - 0.4, rows[-1] + 0.4], color="tab:blue", linewidth=5, clip_on=False)
