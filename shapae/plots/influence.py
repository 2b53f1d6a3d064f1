"""Proponents and opponents of one row: the training rows that lowered its score most, and that raised it most."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from shapae.plots._colours import styles
from shapae.plots._figure import LOWERS, RAISES, escape, new_axes, points, size_of, width_of, wrap
from shapae.plots._results import check_has, check_row_labels
from shapae.plots._scales import label_scaled, legend_beside, written
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import shorten

# Space around the number beside a bar, in inches.
ROOM = 0.15


def draw(
    influence: Any, row: Any = 0, *, k: int = 8, labels: Sequence[Any] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the influences of the best proponents and opponents of one row.

    The row itself, usually by far the best, is left out, and its influence is written into the title.

    Args:
        influence: An ``Influence``.
        row: Name of the row, or its position.
        k: Number of proponents, and of opponents.
        labels: m labels of the training rows, by which the bars are coloured; None to colour them by their signs.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.

    Raises:
        DataError: There are not m labels, or ``k`` is less than 1.
        UnknownName: There is no such row.
    """
    check_arguments(row=row, k=k)
    check_optional(labels=labels, ax=ax)
    check_has(influence, "proponents", "an Influence", "shapae.influence(model, train, rows)")
    place = influence.position(row)
    values, names = influence.values[place], [str(name) for name in influence.train_index]
    check_row_labels(labels, len(values))
    own = int(influence.places[place])
    order = [each for each in np.argsort(-values, kind="stable").tolist() if each != own]
    shown = [*order[:k], *(each for each in order[-k:] if each not in order[:k])]
    kinds = ["opponent" if values[each] < 0 else "proponent" for each in shown]
    palette = {"proponent": LOWERS, "opponent": RAISES}
    if labels is not None:
        labels = [*labels]  # a Series would be indexed by names
        kinds = [str(labels[each]) for each in shown]
        palette = {name: style.color for name, style in styles(sorted({*map(str, labels)})).items()}
    shown_names = [escape(shorten(names[each])) for each in shown]
    handles = [Patch(color=palette[kind], label=escape(shorten(kind))) for kind in dict.fromkeys(kinds)]
    beside = width_of(shown_names) + width_of([str(handle.get_label()) for handle in handles], 9)
    ax = new_axes(ax, 5.5 + beside, 0.3 * len(shown) + 1.8)
    ax.set_yticks(range(len(shown)), shown_names)
    legend_beside(ax, *handles)
    _draw_bars(ax, values[shown], [palette[kind] for kind in kinds])
    across = size_of(ax)[0]
    label = "influence of training on the row, positive where it improved the score"
    label_scaled(ax.xaxis, label, float(np.abs(values[shown]).max(initial=0)), inches=across)
    lines = [f"training rows behind {escape(shorten(str(influence.row_index[place])))}"]
    lines += [f"without itself: {written(float(values[own]))}"] if own >= 0 else []
    ax.set_title("\n".join(wrap(line, across, 11) for line in lines), fontsize=points(11))
    return ax


def _draw_bars(ax: Axes, values: NDArray[Any], colours: list[str]) -> None:
    """Draw bars with their numbers beside them: an outlier leaves the other bars without length."""
    ax.barh(range(len(values)), values, color=colours)
    texts = [written(float(value)) for value in values]
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        side = -1 if value < 0 else 1
        options: dict[str, Any] = {"va": "center", "ha": "left" if side > 0 else "right", "fontsize": points(8)}
        ax.annotate(text, (value, place), (3 * side, 0), textcoords="offset points", **options)
    low, high = min(0.0, values.min(initial=0)), max(0.0, values.max(initial=0))
    inches, across = width_of(texts, 8) + ROOM, size_of(ax)[0]
    room = ((high - low) or 1.0) * inches / max(across - 2 * inches, inches)
    ax.set(xlim=(low - room * (low < 0), high + room * (high > 0 or low == 0)), ylim=(len(values) - 0.4, -0.6))
    ax.locator_params("x", nbins=6)
    ax.axvline(0, color="grey", linewidth=0.8)
