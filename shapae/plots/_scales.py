"""Numbers beside bars and on axes: of any magnitude, without a power of ten that lies on other texts."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from shapae.plots._figure import NAME, points, wrap

MINUS = "\N{MINUS SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Powers of ten of numbers that are printed as they are.
PLAIN = range(-2, 4)
# Numbers in each decade of a logarithmic axis, by the largest number of decades.
SUBDIVIDED = {1.5: (1.0, 2.0, 5.0), 3.0: (1.0, 3.0)}


def written(number: float, digits: str = ".3g") -> str:
    """Write a number with a true minus sign, and zero without one.

    >>> written(-0.001, ".2f")
    '0.00'
    """
    return f"{number:z{digits}}".replace("-", MINUS)


def label_scaled(axis: Axis, text: str, largest: float, *, inches: float) -> None:
    """Label an axis, with the power of ten of its numbers in the label.

    Args:
        axis: Axis of numbers.
        text: Label, escaped.
        largest: Largest size on the axis.
        inches: Largest width of a line of the label.
    """
    power = int(np.floor(np.log10(largest))) if np.isfinite(largest) and largest > 0 else 0
    power = 0 if power in PLAIN else power
    unit = f" (\N{MULTIPLICATION SIGN}10{str(power).translate(SUPERSCRIPTS)})" if power else ""
    axis.set_major_formatter(FuncFormatter(lambda number, _: written(number / 10.0**power, "g")))
    axis.set_label_text(wrap(text + unit, inches, NAME), fontsize=points(NAME))


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Place the numbers of a logarithmic axis, such that there is room between them."""
    decades = np.log10(high / low)
    subs = next((subs for most, subs in SUBDIVIDED.items() if decades <= most), (1.0,))
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda number, _: _short(number)))
    axis.set_minor_formatter(NullFormatter())


def _short(number: float) -> str:
    """Write a round number of any magnitude in a few characters: 0.03, 300 or 3e5."""
    if 1e-3 <= number < 1e4:
        return written(number, "g")
    digits, power = f"{number:.0e}".split("e")
    return f"{digits}e{int(power)}".replace("-", MINUS)


def legend_beside(ax: Axes, *handles: Any, **options: Any) -> None:
    """Draw the legend at the right of the axes, where it hides nothing."""
    drawn = {"handles": [*handles]} if handles else {}
    style = {
        "loc": "upper left",
        "bbox_to_anchor": (1.01, 1),
        "frameon": False,
        "fontsize": points(9),
        "borderaxespad": 0,
    }
    ax.legend(**drawn, **style | options)
