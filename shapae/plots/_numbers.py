"""Numbers in pictures: with the digits that tell them apart, and limits of axes that leave room for them."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, MaxNLocator

from shapae.plots._figure import NUMBER, inches_of, points

# Place of a text in units of the data, and the inches that it takes to the left and to the right of the place.
Taken: TypeAlias = tuple[float, float, float]
# Numbers from here to there are written without an exponent.
PLAIN = (1e-4, 1e6)
# Digits of a number at most, as float64 has them.
MOST_DIGITS = 15
# Width of a label of a tick with the space beside it, in inches.
TICK = 0.95
# Space between what is drawn and the ends of the axes, in inches.
SPACE = 0.06
# Parts of the width of axes that are left for bars, whatever the width of the numbers beside them.
LEFT_FOR_BARS = 0.2


def number(value: float, digits: int = 3, *, sign: bool = False, beside: float | None = None) -> str:
    """Write a number.

    Args:
        value: Any number.
        digits: Maximum number of significant digits.
        sign: Whether a number above 0 has a sign, too.
        beside: Number whose size decides whether there is an exponent, for numbers that look alike.

    >>> number(0.012345), number(-98765.4), number(1.01e-7, 2, sign=True), number(2.0), number(0.0)
    ('0.0123', '−98800', '+1e−7', '2', '0')
    """
    size = abs(value if beside is None else beside)
    if value == 0 or not np.isfinite(value):
        text = f"{value:g}"
    elif PLAIN[0] <= size < PLAIN[1]:
        text = np.format_float_positional(value, digits, unique=False, fractional=False, trim="-")
    else:
        exact, exponent = f"{value:.{max(0, digits - 1)}e}".split("e")
        text = f"{exact.rstrip('0').rstrip('.') if '.' in exact else exact}e{int(exponent)}"
    return ("+" if sign and value >= 0 else "") + text.replace("-", "−")


def digits_apart(values: Any, step: float) -> int:
    """Count the significant digits with which numbers that differ by ``step`` are told apart."""
    largest = float(np.abs(values).max(initial=0))
    if not 0 < step < np.inf or not 0 < largest < np.inf:
        return 1
    return int(np.clip(np.floor(np.log10(largest)) - np.floor(np.log10(step)) + 1, 1, MOST_DIGITS))


class Numbers(Formatter):
    """Labels of ticks that are complete by themselves: without an offset or a power of ten at the end of the axis."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Write a single number, as under the pointer."""
        return number(x)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Write the numbers of all ticks, with the digits that tell them apart."""
        ticks = np.asarray(values, dtype=np.float64)
        step, size = float(np.diff(ticks).min(initial=np.inf)), float(np.abs(ticks).max(initial=0))
        rounded = np.where(np.abs(ticks) < step / 1e6, 0, ticks) if np.isfinite(step) else ticks
        return [number(tick, digits_apart(tick, step) + 1, beside=size) for tick in rounded.tolist()]


def number_ticks(ax: Axes, axis: Literal["x", "y"] = "x") -> None:
    """Place as many ticks on an axis as their labels have room for."""
    ticks = int(np.clip(inches_of(ax)[0] / TICK, 1, 7)) if axis == "x" else 6
    side = ax.xaxis if axis == "x" else ax.yaxis
    side.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    side.set_major_formatter(Numbers())
    ax.tick_params(axis=axis, labelsize=points(NUMBER))


def limits(low: float, high: float, taken: Sequence[Taken], width: float) -> tuple[float, float]:
    """Compute limits from ``low`` to ``high`` or wider, so that texts stay inside of axes.

    Args:
        low: Smallest number that is drawn.
        high: Largest number that is drawn.
        taken: Places of texts, and the inches that they take on both sides.
        width: Width of the axes in inches.
    """
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    place, left, right = np.array([*taken, (low, SPACE, 0), (high, 0, SPACE)], dtype=float).T
    most = width * (1 - LEFT_FOR_BARS) / 2
    left, right = np.minimum(left, most), np.minimum(right, most)
    start, end = low, high
    for _ in range(50):  # each step comes closer by the part of the width that texts take
        unit = (end - start) / width
        start = float((place - left * unit).min())
        end = float((place + right * unit).max())
    return start, end
