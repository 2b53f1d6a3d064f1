"""What all plots share: an Axes of their own, and pyplot borrowed for shap, which draws on its current figure."""

import copy
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import shap
from matplotlib import colormaps
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from shapae.errors import DataError
from shapae.explainer.explanation import single
from shapae.utils.context import preserve_rng


class AxesPicture(Axes):
    """Axes that a notebook shows as a picture when they are the last line of a cell."""

    def _repr_png_(self) -> bytes:
        with BytesIO() as file:
            parent_figure(self).savefig(file, format="png")
            return file.getvalue()


class FigurePicture(Figure):
    """A figure of several axes that a notebook shows as a picture when it is the last line of a cell."""

    def _repr_png_(self) -> bytes:
        with BytesIO() as file:
            self.savefig(file, format="png")
            return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, of which pyplot does not know."""
    figure = FigurePicture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def parent_figure(ax: Axes) -> Figure:
    """The figure that ``ax`` is on, also where it is on a subfigure."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # an Axes that was not removed
    return figure


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """``ax`` itself, or one on a new figure of this size in inches, of which pyplot does not know."""
    if ax is not None:
        return ax
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot(axes_class=AxesPicture)


def readable(explanation: shap.Explanation, rows: int | None = None) -> shap.Explanation:
    """A copy for a plot of one output, with names that matplotlib does not read as mathematics.

    Args:
        explanation: Of one output.
        rows: How many axes its values must have: 1 for a single row, 2 for a table of them; None for either.

    Raises:
        DataError: It has several outputs, or another number of axes.
    """
    shown = copy.copy(single(explanation, "plot"))
    if rows not in (None, shown.values.ndim):
        wanted = "one row, as explanation[0]" if rows == 1 else "several rows, as explanation[:50]"
        raise DataError(f"this plot takes {wanted}; got values of shape {shown.values.shape}.")
    shown.feature_names = [escaped(name) for name in shown.feature_names]
    return shown


def escaped(name: str) -> str:
    """``name`` as matplotlib prints it to the letter."""
    return str(name).replace("$", r"\$")


def cluster_order(rows: NDArray[Any]) -> NDArray[Any]:
    """An order of ``rows`` (n, d) in which similar ones stand side by side."""
    if len(rows) < 3:
        return np.arange(len(rows))
    return np.asarray(leaves_list(linkage(pdist(rows), "average", optimal_ordering=True)))


def colors(names: Iterable[str], controls: Collection[str] = ()) -> dict[str, str]:
    """A colour for each name, the same wherever the names come in the same order; shades of grey for controls."""
    palette = [to_hex(each) for each in (*colormaps["tab10"].colors, *colormaps["Set2"].colors)]  # type: ignore[attr-defined]
    greys = {name: str(0.4 + 0.3 * place / max(1, len(controls) - 1)) for place, name in enumerate(controls)}
    others = [name for name in names if name not in greys]
    return {name: palette[place % len(palette)] for place, name in enumerate(others)} | greys


def relabel_bars(ax: Axes, values: dict[int, float]) -> None:
    """Print the number of each bar with three digits, where shap prints two decimals: "+0" for all small values.

    Args:
        ax: With shap's texts on it.
        values: From the height at which a bar stands to its value.
    """
    for text in ax.texts:
        number = f"{values[round(text.get_position()[1])]:+.3g}".replace("-", "\N{MINUS SIGN}")
        if text.get_horizontalalignment() == "center":  # inside a bar, where shap has seen to room for "+0.00"
            text.set_fontsize(float(text.get_fontsize()) * min(1, 5 / len(number)))
        text.set_text(number)


@contextmanager
def pyplot_axes(ax: Axes) -> Iterator[None]:
    """Pyplot's current axes are ``ax`` inside; outside, pyplot and the global generators are as they were."""
    figure = parent_figure(ax)
    managers, canvas, current, size = dict(Gcf.figs), figure.canvas, figure.gca(), figure.get_size_inches()
    try:
        with preserve_rng():
            known = canvas.manager if canvas.manager in managers.values() else None
            Gcf.set_active(known or FigureManagerBase(FigureCanvasAgg(figure), 0))  # pyplot counts from 1
            figure.sca(ax)
            yield
    finally:
        Gcf.figs.clear()
        Gcf.figs.update(managers)
        figure.set_canvas(canvas)
        figure.set_size_inches(*size)
        figure.sca(current)
