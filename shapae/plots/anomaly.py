"""One anomaly: its readings beside the expected readings, its errors, and the contributions to its score."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae.plots._figure import LOWERS, RAISES, escape, new_axes, points, width_of
from shapae.plots._results import READINGS as COLUMNS
from shapae.plots._results import Frame
from shapae.plots._scales import written
from shapae.utils.constraints import check_argument, check_arguments, check_optional
from shapae.utils.kinds import OneOf

# Left and right ends of the three columns of the picture, and the room for a number beside a bar.
READINGS, ERRORS, CONTRIBUTIONS, NUMBER = (0.0, 1.0), (1.08, 1.58), (1.64, 2.34), 0.2
# Distance from the usual range, in half ranges, from which readings are on a logarithmic scale.
FAR = 8.0


def draw(features: pd.DataFrame, *, title: str = "", units: str = "table", ax: Axes | None = None) -> Axes:
    """Draw the readings of one row, on a line for each feature, and bars of errors and contributions beside them.

    Each line has its own scale, and the usual ranges are as wide on all lines: from the quantile 0.05 to the quantile
    0.95 of the background. If a reading is far from its usual range, distances from the ranges are logarithmic.

    Args:
        features: One row for each feature, in the order in which they are drawn, with their names as index. Columns:
            ``reading``, ``expected``; ``low`` and ``high``, the ends of the usual range; ``reading_text`` and
            ``expected_text``; ``error`` and ``contribution``.
        title: Text above the picture.
        units: "table" for readings in the units of the table; "model" for those in the units of the model.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The Axes; nothing is shown or saved.
    """
    check_arguments(title=title)
    check_optional(ax=ax)
    check_argument("features", features, Frame(f"a DataFrame with the columns {', '.join(COLUMNS)}", COLUMNS))
    check_argument("units", units, OneOf("table", "model"))
    texts = zip(features.index, features["reading_text"], features["expected_text"], strict=True)
    names = [escape(f"{name}\n{reading}, expected {expected}") for name, reading, expected in texts]
    ax = new_axes(ax, 8 + width_of(names), 0.5 * len(features) + 1.5)
    places = np.arange(len(features))
    _draw_readings(ax, features, places)
    _draw_bars(ax, features["error"].to_numpy(np.float64), ERRORS, ["0.55"] * len(features))
    contributions = features["contribution"].to_numpy(np.float64)
    _draw_bars(ax, contributions, CONTRIBUTIONS, np.where(contributions >= 0, RAISES, LOWERS).tolist())
    ax.set_yticks(places, names)
    of_model = ", in the units of the model" if units == "model" else ""
    headings = {f"reading{of_model}": READINGS, "error": ERRORS, "contribution to the score": CONTRIBUTIONS}
    for text, ends in headings.items():
        ax.text(sum(ends) / 2, -0.75, text, ha="center", va="bottom", fontsize=points(10))
    ax.set(xticks=[], xlim=(READINGS[0] - 0.02, CONTRIBUTIONS[1] + 0.02), ylim=(len(features) - 0.4, -1.35))
    ax.tick_params(left=False)
    ax.spines[:].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=3, frameon=False, borderaxespad=0.2, handletextpad=0.4)
    ax.set_title(escape(title), loc="left")
    return ax


def _draw_readings(ax: Axes, features: pd.DataFrame, places: NDArray[Any]) -> None:
    """Draw the usual range of each feature, and a line from the expected reading to the reading."""
    low, high, *both = (features[name].to_numpy(np.float64) for name in ("low", "high", "reading", "expected"))
    centre, half = (low + high) / 2, (high - low) / 2
    distances = np.abs(np.nan_to_num(np.array(both) - centre, posinf=0, neginf=0)).max(axis=0)
    half = np.where(half > 0, half, np.where(distances > 0, distances / 2, 1))  # of a feature that is always the same
    scaled = (np.array(both) - centre) / half
    reach = max(1.5, float(np.abs(scaled[np.isfinite(scaled)]).max(initial=0)))
    usual = "usual range: 90 % of the background"
    if reach > FAR:
        usual += ", logarithmic outside"
        far = np.abs(scaled) > 1
        scaled[far] = np.sign(scaled[far]) * (1 + np.log10(np.abs(scaled[far])))
        reach = 1 + np.log10(reach)
    middle, width = sum(READINGS) / 2, 0.94 * (READINGS[1] - READINGS[0]) / 2 / reach
    reading, expected = middle + width * scaled
    varies = high > low
    ax.hlines(places, *READINGS, color="0.9", linewidth=0.8, zorder=0)
    ax.barh(places[varies], 2 * width, left=middle - width, height=0.5, color="0.85", zorder=1, label=usual)
    ax.hlines(places, expected, reading, color="0.35", linewidth=1.5, zorder=2)
    ax.scatter(expected, places, s=48, color="white", edgecolor="0.25", linewidth=1.5, zorder=3, label="expected")
    ax.scatter(reading, places, s=48, color="black", zorder=4, label="reading")


def _draw_bars(ax: Axes, numbers: NDArray[Any], ends: tuple[float, float], colours: list[str]) -> None:
    """Draw a bar for each number between two ends, and the number beside it."""
    finite = np.nan_to_num(numbers, posinf=0, neginf=0)
    low, high = min(0.0, finite.min(initial=0)), max(0.0, finite.max(initial=0))
    left = ends[0] + NUMBER * (low < 0)
    scale = (ends[1] - NUMBER - left) / ((high - low) or 1)
    zero = left - scale * low
    ax.barh(range(len(numbers)), scale * finite, left=zero, height=0.5, color=colours, zorder=2)
    ax.vlines(zero, -0.5, len(numbers) - 0.5, color="0.6", linewidth=0.8, zorder=1)
    for place, number in enumerate(numbers):
        side = -1 if number < 0 else 1
        digits = ",.0f" if 100 <= abs(number) < 1e7 else ".2g"
        text = written(float(number), digits)
        align = "left" if side > 0 else "right"
        ax.text(zero + scale * finite[place] + 0.015 * side, place, text, ha=align, va="center", fontsize=points(9))
