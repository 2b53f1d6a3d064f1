"""Matrix of the importance of features for outputs, such as latents."""

from typing import Any

import numpy as np
import shap
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae.errors import DataError
from shapae.explainer.importance import Importance
from shapae.plots._figure import cluster_order, escape
from shapae.plots._matrix import draw_cells
from shapae.plots._results import check_explanation
from shapae.utils.constraints import check_arguments, check_optional


def draw(
    explanation: shap.Explanation | Importance, *, max_display: int = 30, max_outputs: int = 30, ax: Axes | None = None
) -> Axes:
    """Draw the mean |value| of each feature for each output, similar features and similar outputs side by side.

    If a few numbers are far larger than all others, the colours end at the 98th percentile; the colour bar says so.

    Args:
        explanation: Explanation or Importance of several outputs: latents, or reconstructed features.
        max_display: Maximum number of features, ranked by their largest mean |value| for any of the outputs.
        max_outputs: Maximum number of outputs, ranked by their sums over all features.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: The explanation has a single output, or a single row; or this is another result; or
            ``max_display`` or ``max_outputs`` is less than 1.
    """
    check_arguments(max_display=max_display, max_outputs=max_outputs)
    check_optional(ax=ax)
    size = _mean_abs(explanation)
    outputs = np.argsort(-size.sum(axis=0))[:max_outputs]
    features = np.argsort(-size[:, outputs].max(axis=1))[:max_display]
    size = size[np.ix_(features, outputs)]
    rows, columns = cluster_order(size), cluster_order(size.T)
    names = [escape(explanation.feature_names[j]) for j in features[rows]]
    labels = [escape(explanation.output_names[k]) for k in outputs[columns]]
    return draw_cells(ax, size[rows][:, columns], (names, labels), label="mean |SHAP value|", signed=False)


def _mean_abs(explanation: shap.Explanation | Importance) -> NDArray[Any]:
    """(d, k): mean |value| of an explanation, or of an importance, of several outputs.

    Raises:
        DataError: It has a single output, or a single row; or it is another result.
    """
    if isinstance(explanation, Importance):
        if len(explanation.output_names) == 1:
            raise DataError(
                f"this Importance has one output, {explanation.output_names[0]!r}. This plot takes several outputs, as "
                f"from head='latent'. Use shapae.plots.bar(importance)."
            )
        return explanation.mean_abs
    check_explanation(explanation, "an Explanation or an Importance")
    if np.ndim(explanation.values) != 3 or not np.size(explanation.values):
        raise DataError(
            f"the values have shape {np.shape(explanation.values)}. This plot takes several rows and outputs, as from "
            f"head='latent'. For one output, use shapae.plots.summary(explanation)."
        )
    return np.asarray(np.abs(explanation.values).mean(axis=0))
