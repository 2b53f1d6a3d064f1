"""Shared parts of matrices: room for their names, colours that an outlier does not use up, and dots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae.plots._colours import Ends
from shapae.plots._figure import NUMBER, REMARK, add_colorbar, draw_matrix, new_axes, points, size_of, width_of, wrap
from shapae.plots._results import SIGNIFICANCE
from shapae.plots._scales import written

# Smallest width and height of a cell, and of all cells, in inches.
CELL, CELLS = (0.3, 0.26), (2.0, 2.4)
# Width of a colour bar with its numbers, height of a line of its label, and margins, in inches.
BAR, LABEL, MARGIN = 1.1, 0.18, 0.5
UNSURE = f"\N{BULLET} within {SIGNIFICANCE} standard errors of 0"
# Part of the end of the colours from which a cell is dark, and marks on it are white.
DARK = 0.6


def draw_cells(
    ax: Axes | None,
    numbers: NDArray[Any],
    names: tuple[Sequence[str], Sequence[str]],
    *,
    label: str,
    signed: bool,
    ends: Ends | None = None,
    cell: tuple[float, float] = CELL,
    cmap: str | None = None,
) -> Axes:
    """Draw a matrix with its names and its colour bar; an arrow of the bar says that some numbers are beyond its end.

    Args:
        ax: Axes to draw on; None for a new figure, large enough for all names.
        numbers: (p, q); masked cells are left empty.
        names: p names of rows and q names of columns, escaped.
        label: Label of the colour bar, escaped. Lines stay apart.
        signed: Whether colours go from red for positive to blue for negative numbers.
        ends: End of the colours; None to choose it by the numbers.
        cell: Smallest width and height of a cell, in inches.
        cmap: Map of colours; None for the usual one.
    """
    ends = ends or Ends.of(np.ma.compressed(np.ma.masked_invalid(numbers)))
    across, down = (max(each * count, least) for each, count, least in zip(cell, numbers.T.shape, CELLS, strict=True))
    lines = [*label.split("\n"), *filter(None, [ends.note])]
    text = "\n".join(wrap(line, down) for line in lines)
    width = across + width_of(names[0]) + BAR + LABEL * text.count("\n") + MARGIN
    new = ax is None
    ax = new_axes(ax, width, down + width_of(names[1]) + MARGIN)
    colours: dict[str, Any] = {"vmin": -ends.end if signed else 0.0, "vmax": ends.end}
    draw_matrix(ax, numbers, names, cmap=cmap or ("RdBu_r" if signed else "magma_r"), **colours)
    if not new:
        text = "\n".join(wrap(line, size_of(ax)[1]) for line in lines)
    beyond = ("both" if signed else "max") if ends.is_exceeded else "neither"
    add_colorbar(ax, text, extend=beyond)
    return ax


def mark_unsure(ax: Axes, unsure: NDArray[Any]) -> None:
    """Draw a dot on each cell of a signed matrix whose number may be chance: (p, q) truth values."""
    image = ax.images[0]
    numbers, end = np.ma.filled(np.abs(np.ma.asarray(image.get_array())), 0), image.get_clim()[1]
    rows, columns = np.nonzero(unsure)
    dark = numbers[rows, columns] > DARK * end
    ax.scatter(columns, rows, s=10, c=np.where(dark, "white", "black"), linewidths=0)


def print_cells(ax: Axes, texts: NDArray[Any], dark: NDArray[Any]) -> None:
    """Print a text into each cell: (p, q), in white where the cell is dark, as large as the cells allow.

    Args:
        ax: Axes with a matrix.
        texts: (p, q), strings.
        dark: (p, q), truth values.
    """
    across, down = (size / count for size, count in zip(size_of(ax), texts.T.shape, strict=True))
    widest = width_of([*texts.ravel()], REMARK) or 1.0
    size = max(1.0, points(REMARK) * min(1.0, 0.9 * across / widest, 0.8 * down * 72 / points(NUMBER)))
    for (row, column), text in np.ndenumerate(texts):
        colour = "white" if dark[row, column] else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def as_texts(numbers: NDArray[Any], digits: str) -> NDArray[Any]:
    """Write numbers (p, q); unknown ones are empty."""
    texts = np.full(numbers.shape, "", dtype=object)
    for place, number in np.ndenumerate(numbers):
        texts[place] = "" if np.isnan(number) else written(float(number), digits)
    return texts
