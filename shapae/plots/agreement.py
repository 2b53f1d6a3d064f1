"""Each with each: how far two attributions put the features into the same order."""

import pandas as pd
from matplotlib.axes import Axes

from shapae.plots._canvas import axes, drawing, escaped

# More names than this, and the numbers in the cells can't be read.
MOST = 16


def draw(agreement: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a table of correlations as colours, with the numbers in its cells.

    Args:
        agreement: Square, from -1 to 1, such as ``Comparison.agreement``.
        ax: Where to draw; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.
    """
    size, names = len(agreement), [escaped(str(name)) for name in agreement]
    ax = axes(ax, 0.5 * size + 3, 0.5 * size + 2)
    numbers = agreement.to_numpy()
    image = ax.imshow(numbers, cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    ax.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(size), names)
    for row, column in ((row, column) for row in range(size) for column in range(size) if size <= MOST):
        number = numbers[row, column]
        colour = "white" if abs(number) > 0.6 else "black"
        ax.text(column, row, f"{number + 0.0:.2f}", ha="center", va="center", color=colour, fontsize=min(8, 90 / size))
    with drawing(ax):
        ax.figure.colorbar(image, ax=ax, label="rank correlation of the features, mean over rows")
    ax.set_title("who agrees with whom")
    return ax
