"""Short text forms of results, and their form in a notebook: one mechanism for all of them."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Largest number of lines of a text form, and of characters of a line.
MOST_LINES, MOST_CHARACTERS = 10, 98
# Characters of a line that are read, before it is cut.
MOST_READ = 10_000
# Largest number of characters of a name in a line, of a name or a cell in a table, and of a head.
NAME, CELL, HEAD = 28, 60, 48
# Numbers of lines and columns of a table in a notebook.
TABLE_LINES, TABLE_COLUMNS = 10, 8
# Largest number of numbers that a text form reads, so that it takes milliseconds.
MOST_NUMBERS = 1_000_000
STYLE = "text-align:left;line-height:1.3;white-space:pre-wrap"


class Described:
    """A result that says in a few lines what it is; ``_description`` and ``_preview`` are its own."""

    def _description(self) -> Sequence[str]:
        """Say what this is and its shape, in the first line; then how it was made, what is in it, and what follows."""
        raise NotImplementedError

    def _preview(self) -> Any:
        """Tabulate the most important part, in a small DataFrame; None where there is none."""
        return None

    def __repr__(self) -> str:
        return as_text(self._description())

    def _repr_html_(self) -> str:
        return as_html(repr(self), self._preview())


def as_text(lines: Iterable[str]) -> str:
    """Join lines, the second one and all others indented; those that are too many or too long are cut.

    >>> print(as_text(["Importance of 3 features", "largest: a 2"]))
    Importance of 3 features
      largest: a 2
    """
    known = [line for line in lines if line]
    if len(known) > MOST_LINES:
        known = [*known[: MOST_LINES - 1], f"and {len(known) - MOST_LINES + 1} more lines"]
    pieces = [_wrap(line, 2) for line in known]
    if sum(map(len, pieces)) > MOST_LINES:
        pieces = [_wrap(line, 1) for line in known]
    return "\n  ".join(line for each in pieces for line in each)


def _wrap(line: str, most: int) -> list[str]:
    """Break a line into a few lines, the second of which is indented."""
    options: dict[str, Any] = {"subsequent_indent": "  ", "placeholder": " \N{HORIZONTAL ELLIPSIS}"}
    return wrap(line[:MOST_READ], MOST_CHARACTERS - 2, max_lines=most, **options)


def as_html(text: str, table: Any = None) -> str:
    """Write a text form and a table as HTML, in which all names are plain text."""
    parts = [f'<pre style="{STYLE}">{escape(text)}</pre>']
    if table is not None and len(table) and len(table.columns):
        shown = table.iloc[:TABLE_LINES, :TABLE_COLUMNS]
        cells = {place: [_cell(each) for each in shown.iloc[:, place]] for place in range(shown.shape[1])}
        plain = type(shown)(cells, index=[_name(each) for each in shown.index])
        plain.columns = [_name(each) for each in shown.columns]
        parts.append(plain.to_html(escape=True, border=0))
    return f"<div>{''.join(parts)}</div>"


def shorten(name: str, most: int = NAME) -> str:
    """Shorten a long name in its middle, so that names which differ at their ends stay different.

    >>> shorten("a name that is longer than a label can be", 20)
    'a name th…el can be'
    """
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - half :]}"


def count(number: int, noun: str) -> str:
    """Write a number and its noun.

    >>> count(1, "feature"), count(1234, "row")
    ('1 feature', '1234 rows')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def largest(names: Any, sizes: Any, most: int = 4) -> str:
    """Name the largest sizes, with three digits; those that are not known are left out.

    >>> largest(["a", "b", "c"], [0.1, 2, float("nan")])
    'b 2, a 0.1'
    """
    known = np.nan_to_num(np.asarray(sizes, dtype=np.float64), nan=-np.inf)
    order = [at for at in np.argsort(-known, kind="stable")[:most] if np.isfinite(known[at])]
    return ", ".join(f"{shorten(str(names[at]))} {known[at]:.3g}" for at in order)


def some_rows(*arrays: Any) -> list[Any]:
    """Select evenly spaced rows of arrays of equal length, few enough to be read in milliseconds; None stays None.

    Args:
        *arrays: Arrays of (n, ...), the first of which is the largest.
    """
    step = max(1, -(-int(np.size(arrays[0])) // MOST_NUMBERS))
    return [None if array is None else array[::step] for array in arrays]


def made(record: Any) -> str:
    """Say by which head and backend a result was made, as far as its record knows."""
    get: Callable[[str], Any] = record.get
    head = shorten(" ".join(str(get("head")).split()), HEAD)
    parts = [f"head {head!r}" if get("head") else "", f"backend {get('backend')!r}" if get("backend") else ""]
    parts.append(count(get("b"), "background row") if isinstance(get("b"), int) else "")
    return ", ".join(part for part in parts if part)


def size_of_residual(residual: NDArray[Any] | None) -> str:
    """Say how large a residual is at most; empty where it is not known."""
    known = np.abs(np.asarray([] if residual is None else residual, dtype=np.float64))
    known = known[~np.isnan(known)]
    return f"residual: at most {known.max():.2g}" if known.size else ""


def _name(name: Any) -> str:
    return ", ".join(shorten(str(part), CELL) for part in name) if isinstance(name, tuple) else shorten(str(name), CELL)


def _cell(cell: Any) -> str:
    if isinstance(cell, bool | np.bool_ | int | np.integer):
        return str(cell)
    return f"{cell:.4g}" if isinstance(cell, float | np.floating) else shorten(str(cell), CELL)
