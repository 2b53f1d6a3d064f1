"""A bar with the time left, in terminals and notebooks."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
SECONDS = 1.0


def progress_bar(items: Iterable[T], total: int, progress: bool | None, what: str = "explaining") -> Iterator[T]:
    """The ``items``, with a bar.

    Args:
        items: One after the other.
        total: How many there are.
        progress: True or False; None for a bar that appears after a second, where somebody can see it.
        what: What is being done.

    Yields:
        The items.
    """
    # Not tqdm's own rule, which takes a notebook for a file that nobody looks at.
    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    delay, shown = (SECONDS, seen) if progress is None else (0.0, progress)
    with tqdm(items, total=total, desc=what, disable=not shown, delay=delay, leave=False) as bar:
        yield from bar
