"""One anomaly: its readings beside the expected readings, its errors, and the contributions to its score."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from shapae.plots._figure import escape, new_axes

# Colours of values that raise and lower a score, those of shap; of a reading; and of an expected reading.
RAISES, LOWERS, READING, EXPECTED = "#ff0051", "#008bfb", "#ff0051", "#404040"
# Widths of the panels of errors and contributions, and of the gaps before them, in widths of the panel of readings.
PANEL, GAP = 0.42, 0.06
# Distance from the usual range, in half ranges, from which the axis of readings is logarithmic.
FAR = 8.0


def draw(features: pd.DataFrame, *, title: str = "", units: str = "table", ax: Axes | None = None) -> Axes:
    """Draw the readings of one row, on a line for each feature, and bars of errors and contributions beside them.

    Each line has its own scale, on which -1 and 1 are the ends of the usual range: the quantiles 0.05 and 0.95 of the
    background. The scale is logarithmic far from this range.

    Args:
        features: One row for each feature, in the order in which they are drawn. Columns: ``reading``, ``expected``;
            ``low`` and ``high``, the ends of the usual range; ``reading_text`` and ``expected_text``; ``error`` and
            ``contribution``.
        title: Text above the picture.
        units: "table" for readings in the units of the table; "model" for those in the units of the model.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes of the readings; nothing is shown or saved.
    """
    ax = new_axes(ax, 11, 0.5 * len(features) + 1.9)
    places = np.arange(len(features))
    _draw_readings(ax, features, places)
    texts = zip(features.index, features["reading_text"], features["expected_text"], strict=True)
    ax.set_yticks(places, [escape(f"{name}\n{reading}, expected {expected}") for name, reading, expected in texts])
    ax.set_ylim(len(features) - 0.4, -0.6)
    of_model = ", in the units of the model" if units == "model" else ""
    ax.set_xlabel(f"reading{of_model}\n(grey: usual range, 90 % of the background)")
    for rank, column in enumerate(("error", "contribution")):
        panel = ax.inset_axes((1 + GAP + rank * (PANEL + GAP), 0, PANEL, 1), sharey=ax)
        _draw_bars(panel, features[column].to_numpy(dtype=np.float64), column)
    ax.set_title(escape(title), loc="left")
    return ax


def _draw_readings(ax: Axes, features: pd.DataFrame, places: NDArray[Any]) -> None:
    """Draw the usual range of each feature, and a line from the expected reading to the reading."""
    low, high, reading, expected = (
        features[name].to_numpy(np.float64) for name in ("low", "high", "reading", "expected")
    )
    centre, half = (low + high) / 2, (high - low) / 2
    farthest = np.nanmax(np.abs([reading - centre, expected - centre, np.zeros(len(places))]), axis=0)
    half = np.where(half > 0, half, np.where(farthest > 0, farthest / 2, 1))  # of a feature that is always the same
    reading, expected = (reading - centre) / half, (expected - centre) / half
    ax.barh(places, 2 * np.where(high > low, 1, 0), left=-1, height=0.5, color="0.88", zorder=1)
    ax.hlines(places, expected, reading, color="0.4", linewidth=1.5, zorder=2)
    ax.scatter(expected, places, s=45, color="white", edgecolor=EXPECTED, linewidth=1.5, zorder=3, label="expected")
    ax.scatter(reading, places, s=45, color=READING, zorder=4, label="reading")
    ax.set_xlim(-1.15 * _reach(reading, expected), 1.15 * _reach(reading, expected))
    if _reach(reading, expected) > FAR:
        ax.set_xscale("symlog", linthresh=1)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0, handletextpad=0.2)


def _reach(*positions: NDArray[Any]) -> float:
    """Compute the largest finite size, at least 1.5."""
    sizes = np.abs(np.concatenate(positions))
    return float(max([1.5, *sizes[np.isfinite(sizes)]]))


def _draw_bars(ax: Axes, numbers: NDArray[Any], name: str) -> None:
    """Draw a bar for each number, with the number beside it; contributions in the colours of shap."""
    colours = "0.55" if name == "error" else np.where(numbers >= 0, RAISES, LOWERS).tolist()
    bars = ax.barh(range(len(numbers)), numbers, height=0.6, color=colours)
    ax.bar_label(bars, [f"{number:.2g}" for number in numbers], padding=3, fontsize=8)
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.margins(x=0.3)
    ax.tick_params(left=False, labelleft=False)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_xlabel("error of the feature" if name == "error" else "contribution\nto the score")
