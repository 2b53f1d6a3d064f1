"""Shared parts of all plots: figures outside of pyplot; and pyplot with a given Axes, for the plots of shap."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import shap
from matplotlib import rcParams
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from shapae.errors import DataError
from shapae.plots._results import check_explanation, single
from shapae.utils.context import ignored_warnings, preserve_rng
from shapae.utils.described import shorten

# Sizes of text: of names and labels of axes; of numbers beside bars; of remarks. They are points at matplotlib's usual
# setting font.size, 10; see ``points``.
NAME, NUMBER, REMARK = 11, 10, 9
# Height of a line with a name, and margins around axes, in inches.
LINE, MARGIN = 0.3, 0.4
# Width of axes with bars or dots, without the names beside them, in inches.
WIDTH = 5.5
# Dots per inch of new figures, and the largest number of dots of a side: matplotlib draws 65 536 at most.
DPI, MOST_DOTS = 150, 20_000
# Largest number of characters of a name: matplotlib draws a name of 100 000 for minutes.
LONGEST_LABEL = 120
# Names of a list that are measured, the longest by their numbers of characters.
MEASURED = 50
# Colours of values that raise a score, and of those that lower it, which are those of shap.
RAISES, LOWERS = "#ff0051", "#008bfb"


class AxesPicture(Axes):
    """Axes whose whole figure a notebook shows as a picture in the last line of a cell."""

    def _repr_png_(self) -> bytes:
        with BytesIO() as file:
            parent_figure(self).savefig(file, format="png")
            return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure of this size in inches, unknown to pyplot."""
    figure = Figure(figsize=(width, height), dpi=min(DPI, MOST_DOTS / max(width, height)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def parent_figure(ax: Axes) -> Figure:
    """Find the figure of ``ax``, also if ``ax`` is on a subfigure."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # only an Axes that was removed has no figure
    return figure


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Create axes on a new figure of this size in inches, unknown to pyplot, unless ``ax`` is given."""
    return new_figure(width, height).add_subplot(axes_class=AxesPicture) if ax is None else ax


def new_line_axes(ax: Axes | None, names: Sequence[str], *, lines_beside: int = 3, beside: float = 0) -> Axes:
    """Create axes with a line for each name, unless ``ax`` is given.

    Args:
        ax: Axes to draw on; None for a new figure.
        names: Names of the lines, of the size ``NAME``.
        lines_beside: Number of lines of text above and below: labels, titles, legends.
        beside: Width of all else beside the axes, in inches, such as a colour bar.
    """
    width = WIDTH + width_of(names, NAME) + beside + MARGIN
    return new_axes(ax, width, points(LINE) * (len(names) + lines_beside) + MARGIN)


def new_matrix_axes(ax: Axes | None, rows: Sequence[str], columns: Sequence[str], label: str = "") -> Axes:
    """Create axes for a matrix, with room for its names and for the label of its colour bar, unless ``ax`` is given."""
    height = max(0.24 * len(rows), width_of([label])) + width_of(columns) + 0.6
    return new_axes(ax, 0.3 * len(columns) + width_of(rows) + 1.5, height)


def points(size: float) -> float:
    """Scale a size of text with matplotlib's setting font.size, whose usual value is 10: (points) -> points."""
    return size * float(rcParams["font.size"]) / 10


def _unknown_letters_ignored() -> AbstractContextManager[None]:
    """Ignore warnings of letters that the font lacks while texts are measured: they come again when these are drawn."""
    return ignored_warnings(UserWarning, start="Glyph")


def width_of(texts: Sequence[str], size: float | str = "medium") -> float:
    """Measure the width of the widest text, in inches.

    Args:
        texts: Escaped texts, of one line or several each.
        size: Size of the letters, see ``points``; or relative to that of matplotlib's settings.
    """
    font, lines = (
        FontProperties(size=size if isinstance(size, str) else points(size)),
        {line for text in texts for line in text.split("\n")},
    )
    renderer: Any = RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]
    longest = sorted(lines, key=len)[-MEASURED:]
    plain = [line.replace(r"\$", "$") for line in longest]
    with _unknown_letters_ignored():
        pixels = [renderer.get_text_width_height_descent(line, font, False)[0] for line in plain]
    return max(pixels, default=0) / DPI


def wrap(text: str, inches: float, size: float | str = "medium") -> str:
    """Break a text into lines that are at most so wide; a word that is wider is shortened in its middle.

    Args:
        text: Escaped text.
        inches: Largest width of a line.
        size: Size of the letters, see ``width_of``.
    """
    lines: list[str] = []
    for word in text.split():
        word = _narrow(word, inches, size)
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of([longer], size) <= inches:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _narrow(word: str, inches: float, size: float | str) -> str:
    plain = word.replace(r"\$", "$")
    most = len(plain)
    while most > 5 and width_of([plain], size) > inches:
        most -= 1
        plain = shorten(word.replace(r"\$", "$"), most)
    return plain.replace("$", r"\$")


def size_of(ax: Axes) -> tuple[float, float]:
    """Measure the width and the height of ``ax``, in inches, once its names are placed: they take their room first."""
    if engine := parent_figure(ax).get_layout_engine():
        with ignored_warnings(UserWarning):  # of letters that the font lacks, and of too little room: drawing has them
            engine.execute(parent_figure(ax))
    return inches_of(ax)


def inches_of(ax: Axes) -> tuple[float, float]:
    """Measure the width and the height of ``ax``, in inches, as ``size_of`` left it."""
    extent = ax.get_window_extent()
    return extent.width / parent_figure(ax).dpi, extent.height / parent_figure(ax).dpi


def label_x(ax: Axes, text: str, **options: Any) -> None:
    """Write the label of the x axis, in lines that are as wide as the axes."""
    ax.set_xlabel(wrap(text, size_of(ax)[0], NAME), fontsize=points(NAME), **options)


def label_y(ax: Axes, text: str) -> None:
    """Write the label of the y axis, in lines that are as long as the axes are high."""
    ax.set_ylabel(wrap(text, size_of(ax)[1], NAME), fontsize=points(NAME))


def draw_matrix(ax: Axes, numbers: NDArray[Any], names: tuple[Sequence[str], Sequence[str]], **colours: Any) -> None:
    """Draw a cell for each number, with the names of its row and its column.

    Args:
        ax: Axes to draw on.
        numbers: (p, q); masked cells are left empty.
        names: p names of rows and q names of columns, escaped.
        **colours: ``cmap``, ``vmin`` and ``vmax``, as in matplotlib.
    """
    ax.imshow(numbers, aspect="auto", interpolation="nearest", **colours)
    rows, columns = names
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(range(len(columns)), columns, rotation=90)


def add_colorbar(ax: Axes, label: str, *, image: Any = None, **options: Any) -> Colorbar:
    """Draw the colour bar of an image, the last one on ``ax`` if it is None, with options of matplotlib."""
    with pyplot_axes(ax):
        return ax.figure.colorbar(image or ax.images[-1], ax=ax, label=label, **options)


def printable(explanation: shap.Explanation, ndim: int | None = None) -> shap.Explanation:
    """Copy an explanation of one output, with names that matplotlib does not read as mathematics.

    Args:
        explanation: Explanation of one output.
        ndim: Expected number of axes of its values: 1 for a single row, 2 for several rows; None for either.

    Raises:
        DataError: It has several outputs, another number of axes, no axis of features, or no values; or it is another
            result.
    """
    check_explanation(explanation)
    shown = copy.copy(single(explanation, "plot"))
    if isinstance(shown.feature_names, str):
        raise DataError(
            f"the feature {shown.feature_names!r} was chosen by itself, which leaves no axis of features to plot. "
            f"Choose it in a list, as in explanation[:, [{shown.feature_names!r}]]."
        )
    if ndim not in (None, shown.values.ndim):
        rows, example = ("one row", "explanation[0]") if ndim == 1 else ("several rows", "explanation[:50]")
        raise DataError(f"the values have shape {shown.values.shape}. This plot takes {rows}. Pass {example}.")
    if not shown.values.size:
        raise DataError(f"the values have shape {shown.values.shape}. Choose at least one row and one feature to plot.")
    shown.feature_names = [escape(name) for name in shown.feature_names]
    return shown


# Scores of the heads that shapae has a name for, by the name and the output.
SCORES = {
    "reconstruction_error": "{}, mean squared",
    "feature_error": "squared error of {}",
    "reconstruction": "reconstruction of {}",
}


def score_label(result: Any, output: str | None = None) -> str:
    """Say which score a result explains: the output, and its meaning where the head has a name.

    Args:
        result: Explanation of one output, or a result with a record.
        output: The output; None for the only one.
    """
    name, head = (
        escape(output or result.output_names or "the model's output"),
        getattr(result, "made_by", {}).get("head"),
    )
    kind, colon, _ = str(head).partition(":")
    of_options = kind == "reconstruction_error" and colon  # another loss or target, which the name of the output says
    return ("{}" if of_options else SCORES.get(kind, "{}")).replace("{}", name)


def escape(name: str) -> str:
    """Escape a name, so that matplotlib prints it literally; a name that no picture has room for is shortened."""
    return shorten(str(name), LONGEST_LABEL).replace("$", r"\$")


def cluster_order(rows: NDArray[Any]) -> NDArray[Any]:
    """Compute an order of ``rows`` (n, d) in which similar rows are neighbours."""
    if len(rows) < 3:
        return np.arange(len(rows))
    return np.asarray(leaves_list(linkage(pdist(rows), "average", optimal_ordering=True)))


@contextmanager
def pyplot_axes(ax: Axes) -> Iterator[None]:
    """Make ``ax`` pyplot's current axes inside; afterwards, restore pyplot and the global random generators."""
    figure = parent_figure(ax)
    managers, canvas, current, size = dict(Gcf.figs), figure.canvas, figure.gca(), figure.get_size_inches()
    try:
        with preserve_rng():
            manager = canvas.manager if canvas.manager in managers.values() else None
            Gcf.set_active(manager or FigureManagerBase(FigureCanvasAgg(figure), 0))  # pyplot's own numbers start at 1
            figure.sca(ax)
            yield
    finally:
        Gcf.figs.clear()
        Gcf.figs.update(managers)
        figure.set_canvas(canvas)
        figure.set_size_inches(*size)
        figure.sca(current)
