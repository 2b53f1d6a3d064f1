"""Places of bars and dots, in percent of the width of a picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shapae.report.words import places

# Number of colours of the numbers of a feature, and number of columns and heights of a line of dots.
COLORS, COLUMNS, HEIGHTS = 5, 120, 9
# Share of the values at either end that are drawn at the edge: a single row would squeeze all others.
TAIL = 0.005
# Share of the numbers of a feature at either end that have the colour of the end.
MIDDLE = 0.05


@dataclass(frozen=True)
class Bar:
    """A bar, with a line for its standard error.

    Attributes:
        kind: "size", "raises" or "lowers".
        x: Left end.
        width: Width.
        low: Left end of the line; empty without a standard error.
        high: Right end of the line.
    """

    kind: str
    x: str
    width: str
    low: str = ""
    high: str = ""


def size_bars(sizes: NDArray[np.floating], errors: NDArray[np.floating] | None = None) -> list[Bar]:
    """Make bars from 0, the longest of which fills the width together with its error.

    Args:
        sizes: (m,), not negative.
        errors: (m,), standard errors, NaN where not known.
    """
    errors = np.full(len(sizes), np.nan) if errors is None else errors
    scale = 100 / (float(np.max(sizes + np.nan_to_num(errors), initial=0)) or 1)
    low, high = np.maximum(sizes - errors, 0) * scale, (sizes + errors) * scale
    return [
        Bar("size", "0", width, *(("", "") if np.isnan(error) else ends))
        for width, error, ends in zip(
            places(sizes * scale), errors, zip(places(low), places(high), strict=True), strict=True
        )
    ]


def steps(base: float, values: NDArray[np.floating]) -> tuple[list[Bar], str]:
    """Make the bars of a waterfall: each begins where the one before ends.

    Args:
        base: Where the first begins.
        values: (m,).

    Returns:
        The bars, and the place of ``base``.
    """
    ends = base + np.concatenate([[0.0], np.cumsum(values, dtype=float)])
    low, scale = ends.min(), 100 / (np.ptp(ends) or 1)
    left = places((np.minimum(ends[:-1], ends[1:]) - low) * scale)
    width = places(np.maximum(abs(np.diff(ends)) * scale, 0.4))
    kinds = ["lowers" if value < 0 else "raises" for value in values]
    return [Bar(*each) for each in zip(kinds, left, width, strict=True)], places([(base - low) * scale])[0]


@dataclass(frozen=True, eq=False)
class Dots:
    """A line of dots, one for each row.

    Attributes:
        paths: A path for each colour, from low to high numbers of the feature, and the last for unknown numbers.
        zero: Place of the value 0.
        clipped: Number of dots at the edge.
    """

    paths: list[str]
    zero: str
    clipped: int


def value_range(values: NDArray[np.floating]) -> tuple[float, float]:
    """Choose the range of values that is drawn: 0, and all values but for the tails."""
    low, high = np.quantile(values, [TAIL, 1 - TAIL])
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    margin = 0.02 * (high - low) or 1.0
    return low - margin, high + margin


def dots(values: NDArray[np.floating], data: NDArray[np.floating], ends: tuple[float, float]) -> Dots:
    """Place a dot for each row: by its value, its colour by the number of the feature.

    Args:
        values: (n,).
        data: (n,), numbers of the feature; NaN where not known.
        ends: Smallest and largest value that are drawn.
    """
    low, high = ends
    shown = np.clip(values, low, high)
    x = (shown - low) / (high - low) * 100
    columns = (x / 100 * (COLUMNS - 1)).astype(int)
    y = 0.5 + _offsets(columns) / (2 * HEIGHTS)
    bins = _color_bins(data)
    paths = [""] * (COLORS + 1)
    for color, left, top in zip(bins, places(x), places(100 * y), strict=True):
        paths[color] += f"M{left} {top}h0"
    zero = places([-low / (high - low) * 100])[0]
    return Dots(paths, zero, int((shown != values).sum()))


def _offsets(columns: NDArray[np.integer]) -> NDArray[np.floating]:
    """Stack the dots of each column around the middle: 0, 1, -1, 2, -2 ... up to ``HEIGHTS - 1``."""
    order = np.argsort(columns, kind="stable")
    _, starts, sizes = np.unique(columns[order], return_index=True, return_counts=True)
    rank = np.empty(len(columns), int)
    rank[order] = np.arange(len(columns)) - np.repeat(starts, sizes)
    offsets = (rank + 1) // 2 * np.where(rank % 2, 1, -1)
    return np.asarray(np.sign(offsets) * (abs(offsets) % HEIGHTS))


def _color_bins(data: NDArray[np.floating]) -> list[int]:
    """Divide the numbers of a feature into colours, between their 5 % and their 95 % quantile."""
    known = np.isfinite(data)
    bins = np.full(len(data), COLORS)
    if not known.any():
        return [int(color) for color in bins]
    low, high = np.quantile(data[known], [MIDDLE, 1 - MIDDLE])
    if low == high:
        low, high = data[known].min(), data[known].max()
    shares = (data[known] - low) / (high - low) if high > low else np.full(known.sum(), 0.5)
    bins[known] = np.clip(shares * COLORS, 0, COLORS - 1).astype(int)
    return [int(color) for color in bins]


def histogram(scores: NDArray[np.floating]) -> tuple[str, float, float]:
    """Draw how many rows have which score.

    Args:
        scores: (n,).

    Returns:
        A path, 100 wide and 100 high; the smallest and the largest score.
    """
    counts, edges = np.histogram(scores, min(40, max(5, int(len(scores) ** 0.5) * 2)))
    width, tops = 100 / len(counts), 100 - 100 * counts / counts.max()
    bars = zip(places(np.arange(len(counts)) * width), places(tops), strict=True)
    right = places([0.92 * width])[0]
    return "".join(f"M{x} 100V{y}h{right}V100z" for x, y in bars if y != "100"), float(edges[0]), float(edges[-1])
