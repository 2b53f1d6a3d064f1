"""Names and numbers as the report shows them: short, and inert whatever a table holds."""

import math
from unicodedata import category

import numpy as np

from shapae.utils.described import shorten

# Largest number of characters of a name, and of a longer text such as the understanding of the model.
LONGEST, LONGEST_TEXT = 60, 400
# Invisible characters that writing systems need: joiners of letters.
JOINERS = "\u200c\u200d"
SPACES = ("Zl", "Zp")
# Significant digits of the numbers that are drawn, and those of the numbers in tables.
DRAWN, SHOWN = 6, 3


def clean(text: object, most: int = LONGEST) -> str:
    r"""Shorten a text, and replace all characters that are invisible or none: controls, marks of direction, surrogates.

    >>> clean("CD79A\x00\u202e"), clean("two\nlines"), len(clean("x" * 5_000_000)) <= 60
    ('CD79A��', 'two lines', True)
    """
    return hide(shorten(str(text), most))


def hide(text: str) -> str:
    """Replace all characters of a text that are invisible or none, and breaks of lines by spaces."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\t\n\r" or category(character) in SPACES:
        return " "
    is_hidden = category(character).startswith("C") and character not in JOINERS
    return "\N{REPLACEMENT CHARACTER}" if is_hidden else character


def show(number: float) -> str:
    """Write a number in three significant digits; thousands and integers are whole.

    >>> show(0.012345), show(-1234567.8), show(1e-7), show(12345.6), show(0.3), show(7.0), show(float("nan"))
    ('0.0123', '−1.23e6', '1.00e−7', '12,346', '0.300', '7', 'unknown')
    """
    number = float(number)
    if not math.isfinite(number):
        return "unknown" if math.isnan(number) else "−∞" if number < 0 else "∞"
    digits, _, exponent = f"{number:.{SHOWN - 1}e}".partition("e")
    if number and not 1e-4 <= abs(number) < 1e6:
        text = f"{digits}e{int(exponent)}"
    else:
        text = f"{number:,.{_decimals(number)}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def show_error(error: float, number: float) -> str:
    """Write the standard error of a number, in the decimals of the number; nothing if it is not known.

    >>> show_error(0.00009731, 0.001159), show_error(float("nan"), 1)
    ('0.00010', '')
    """
    if math.isnan(error):
        return ""
    decimals = _decimals(number)
    is_shown = 1e-4 <= abs(number) < 1e6 and error >= 0.5 * 10**-decimals
    return f"{error:,.{decimals}f}" if is_shown else show(error)


def _decimals(number: float) -> int:
    """Count the decimals of three significant digits; none for an integer."""
    if number == int(number):
        return 0
    return max(0, SHOWN - 1 - int(f"{number:.{SHOWN - 1}e}".partition("e")[2]))


def percent(share: float) -> str:
    """Write a share between 0 and 1 in percent.

    >>> percent(0.1234), percent(0.00004), percent(0)
    ('12 %', 'less than 0.01 %', '0 %')
    """
    if not share:
        return "0 %"
    if share < 1e-4:
        return "less than 0.01 %"
    return f"{100 * share:.{0 if share >= 0.1 else 2 if share < 0.01 else 1}f} %"


def drawn(number: float) -> float | None:
    """Round a number that is drawn or written as data; JSON has no NaN and no infinity."""
    number = float(number)
    return float(f"{number:.{DRAWN}g}") if math.isfinite(number) else None


def places(numbers: np.typing.ArrayLike) -> list[str]:
    """Write places in a picture, in at most one decimal.

    >>> places([0, 12.34, 99.96])
    ['0', '12.3', '100']
    """
    return [f"{number:.1f}".removesuffix(".0").replace("-0", "0") for number in np.asarray(numbers, float).tolist()]


def count(number: int, noun: str) -> str:
    """Write a number of things.

    >>> count(1, "row"), count(1234, "row")
    ('1 row', '1,234 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def join(parts: list[str]) -> str:
    """List parts in words.

    >>> join(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
