"""A bar with the time left, in terminals and notebooks."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
SECONDS = 1.0


def progressing(items: Iterable[T], total: int, progress: bool | None) -> Iterator[T]:
    """The ``items``, with a bar.

    Args:
        items: One after the other.
        total: How many there are.
        progress: True or False; None for a bar that appears after a second, where somebody can see it.

    Yields:
        The items.
    """
    silent = None if progress is None else not progress
    delay = SECONDS if progress is None else 0
    with tqdm(items, total=total, desc="explaining", unit="chunk", disable=silent, delay=delay, leave=False) as bar:
        yield from bar
