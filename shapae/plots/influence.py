"""Proponents and opponents of one row: the training rows that lowered its score most, and that raised it most."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from shapae.plots._figure import LOWERS, RAISES, colors, escape, new_axes, shorten
from shapae.plots._results import check_has, check_row_labels
from shapae.utils.constraints import check_arguments, check_optional


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
    ax = new_axes(ax, 8, 0.3 * len(shown) + 1.5)
    kinds = ["opponent" if values[each] < 0 else "proponent" for each in shown]
    palette = {"proponent": LOWERS, "opponent": RAISES}
    if labels is not None:
        labels = [*labels]  # a Series would be indexed by names
        kinds = [str(labels[each]) for each in shown]
        palette = colors(sorted({*map(str, labels)}))
    ax.barh(range(len(shown)), values[shown], color=[palette[kind] for kind in kinds])
    ax.set_yticks(range(len(shown)), [escape(shorten(names[each])) for each in shown])
    ax.invert_yaxis()
    ax.axvline(0, color="grey", linewidth=0.8)
    ax.set_xlabel("influence of training on the row, positive where it improved the score")
    itself = f"\nwithout itself: {values[own]:.3g}" if own >= 0 else ""
    ax.set_title(f"training rows behind {escape(shorten(str(influence.row_index[place])))}{itself}", fontsize=11)
    present = list(dict.fromkeys(kinds))
    handles = [Patch(color=palette[kind], label=escape(shorten(kind))) for kind in present]
    ax.legend(handles=handles, fontsize=8, frameon=False)
    return ax
