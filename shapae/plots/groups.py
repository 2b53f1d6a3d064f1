"""Matrix of features and groups of rows: which features, in which group, in which direction."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae.explainer.grouped_importance import GroupedImportance
from shapae.plots._figure import cluster_order, escape
from shapae.plots._matrix import UNSURE, draw_cells, mark_unsure
from shapae.plots._results import SIGNIFICANCE, check_grouped, choose_output
from shapae.utils.constraints import check_arguments, check_optional


def draw(
    grouped: GroupedImportance, *, output: str | None = None, max_display: int = 30, ax: Axes | None = None
) -> Axes:
    """Draw the mean value of each feature in each group, similar features side by side.

    Red features raise the output in the group, blue features lower it, compared with the background. A dot marks the
    means that are within two standard errors of 0, and so may be chance. If a few means are far larger
    than all others, the colours end at the 98th percentile of all |means|.

    Args:
        grouped: Result of ``Explainer.summarize(X, by=labels)``.
        output: Name of the output; it may be left out if there is only one.
        max_display: Maximum number of features: first the one with the largest |mean value| of each group, then the
            second one of each group, and so on, so that no group is left out because its values are small.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There are several outputs and none is chosen; or this is another result.
        UnknownName: There is no such output.
    """
    check_arguments(max_display=max_display)
    check_optional(output=output, ax=ax)
    check_grouped(grouped)
    at = choose_output(grouped.output_names, output, "shapae.plots.groups(grouped, output={!r})")
    mean, error = grouped.mean[..., at].T, grouped.mean_error[..., at].T  # (d, g)
    chosen = _rank(np.abs(mean))[:max_display]
    features = chosen[cluster_order(mean[chosen])]
    names = [escape(grouped.feature_names[feature]) for feature in features]
    labels = [f"{escape(label)} ({count})" for label, count in zip(grouped.labels, grouped.counts, strict=True)]
    title = f"mean SHAP value (impact on {escape(grouped.output_names[at])})"
    ax = draw_cells(ax, mean[features], (names, labels), label=f"{title}\n{UNSURE}", signed=True)
    mark_unsure(ax, ~(np.abs(mean[features]) > SIGNIFICANCE * error[features]))  # also where the error is not known
    return ax


def _rank(size: NDArray[Any]) -> NDArray[Any]:
    """Sort features by their best rank in any group, those of one rank by their largest size: (d, g) -> (d,)."""
    ranks = np.argsort(np.argsort(-size, axis=0, kind="stable"), axis=0)
    return np.lexsort((-size.max(axis=1), ranks.min(axis=1)))
