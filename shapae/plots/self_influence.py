"""Self influence of the training rows against their losses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae.plots._colours import styles
from shapae.plots._figure import NAME, escape, new_axes, points, size_of, width_of
from shapae.plots._results import check_has, check_row_labels
from shapae.plots._scales import label_scaled, legend_beside, log_axis
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import shorten

# Number of labels in the legend.
MOST_LABELS = 12
# Room for a name, as fractions of the axes.
NAME_WIDTH, NAME_HEIGHT = 0.3, 0.035


def draw(influence: Any, *, labels: Sequence[Any] | None = None, named: int = 5, ax: Axes | None = None) -> Axes:
    """Draw a dot for each training row, on logarithmic axes, with the names of the largest self influences.

    Args:
        influence: An ``Influence``.
        labels: m labels of the training rows, by which the dots are coloured.
        named: Largest number of names.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There are not m labels.
    """
    check_arguments(named=named)
    check_optional(labels=labels, ax=ax)
    check_has(influence, "proponents", "an Influence", "shapae.influence(model, train, rows)")
    x, y = influence.losses, influence.self_influence
    check_row_labels(labels, len(x))
    kinds = np.full(len(x), "") if labels is None else np.array([str(each) for each in labels])
    counts = {kind: int((kinds == kind).sum()) for kind in dict.fromkeys(kinds.tolist())}
    style, names = styles(sorted(counts)), {kind: escape(shorten(kind)) for kind in counts}
    ax = new_axes(ax, 6 + (width_of([*names.values()], 9) if labels is not None else 0), 4.8)
    for kind in sorted(counts, key=lambda kind: -counts[kind]):  # rare ones on top
        some, mark = kinds == kind, style[kind]
        marks: dict[str, Any] = {"color": mark.color, "marker": mark.marker, "s": 16, "alpha": 0.7, "linewidths": 0}
        ax.scatter(x[some], y[some], **marks, label=names[kind])
    if labels is not None:
        legend_beside(ax, *ax.get_legend_handles_labels()[0][:MOST_LABELS])
    across, down = size_of(ax)
    for axis, set_scale, numbers, label, inches in (
        (ax.xaxis, ax.set_xscale, x, "loss", across),
        (ax.yaxis, ax.set_yscale, y, "self influence", down),
    ):
        if _is_logarithmic(numbers):
            set_scale("log")
            log_axis(axis, numbers.min(), numbers.max())
            axis.set_label_text(label, fontsize=points(NAME))
        else:
            label_scaled(axis, label, float(np.abs(numbers).max()), inches=inches)
    _name_largest(ax, influence, named)
    return ax


def _name_largest(ax: Axes, influence: Any, named: int) -> None:
    """Write the names of the largest self influences at the left of their dots, but none over another name."""
    x, y = influence.losses, influence.self_influence
    places = np.argsort(-y, kind="stable")[:named]
    dots = ax.transAxes.inverted().transform(ax.transData.transform(np.stack([x, y], axis=1)[places]))
    written: list[tuple[float, float]] = []
    for place, (right, height) in zip(places, dots, strict=True):
        if all(abs(right - other) > NAME_WIDTH or abs(height - above) > NAME_HEIGHT for other, above in written):
            name = escape(shorten(str(influence.train_index[place])))
            side = "right" if right > NAME_WIDTH else "left"
            ax.annotate(name, (x[place], y[place]), (0, 4), textcoords="offset points", ha=side, fontsize=points(7))
            written.append((right, height))


def _is_logarithmic(numbers: NDArray[Any]) -> bool:
    return bool(numbers.min() > 0 and numbers.max() > 10 * numbers.min())
