"""Summary plot of shap: a dot for each row in a line for each feature."""

import shap
from matplotlib.axes import Axes

from shapae.plots._figure import escape, new_axes, printable, pyplot_axes
from shapae.utils.constraints import check_arguments, check_optional


def draw(explanation: shap.Explanation, *, max_display: int = 20, ax: Axes | None = None) -> Axes:
    """Draw the values of every row, for the features with the largest mean |value|; colours are feature values.

    Args:
        explanation: Explanation of one output and several rows.
        max_display: Maximum number of features.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes, with its figure in ``.figure``; nothing is shown or saved.

    Raises:
        DataError: The explanation has several outputs (choose one: ``explanation.output(name)``), or a single row; or
            ``max_display`` is less than 1.

    Reference:
        Lundberg et al., 2020, https://doi.org/10.1038/s42256-019-0138-9, figure 4
    """
    check_arguments(max_display=max_display)
    check_optional(ax=ax)
    shown = printable(explanation, ndim=2)
    ax = new_axes(ax, 8, 0.35 * min(max_display, shown.shape[1]) + 1.2)
    with pyplot_axes(ax):
        # Without shap's last line, the sum of all other features: with hundreds of features, it dwarfs each of them.
        shap.plots.beeswarm(
            shown, max_display=max_display, group_remaining_features=False, plot_size=None, ax=ax, show=False
        )
    ax.set_xlabel(f"SHAP value (impact on {escape(shown.output_names)})", fontsize=13)
    return ax
