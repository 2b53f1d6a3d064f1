"""A bar for long work, which never stands in its way."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
# Seconds before a bar appears: shorter work needs none.
DELAY = 1.0


def progress_bar(items: Iterable[T], total: int, progress: bool | None, label: str = "explaining") -> Iterator[T]:
    """Show a bar with an estimate of the time left while the items are consumed.

    Args:
        items: Items that take time.
        total: Number of items.
        progress: Whether the bar is shown. None: a terminal or a notebook shows it after a second.
        label: Text of the bar.

    Yields:
        The items, also where the bar can't be written.
    """
    delay, shown = (DELAY, _is_seen()) if progress is None else (0.0, bool(progress))
    if not shown or sys.stderr is None:
        yield from items
        return
    bar = _Bar(total, label, delay)
    try:
        for item in items:
            yield item
            bar.update()
    finally:
        bar.close()


def _is_seen() -> bool:
    try:  # tqdm itself takes a notebook for a file that nobody looks at
        return "ipykernel" in sys.modules or sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is no stream, or it is closed
        return False


class _Released(tqdm):  # type: ignore[type-arg]  # not generic when it runs
    """A bar that releases the lock of all bars also where its stream fails, so that no other thread waits for ever."""

    def refresh(self, nolock: bool = False, lock_args: Any = None) -> None:
        """Write the bar. Both arguments are tqdm's, and are not used."""
        with self.get_lock():  # type: ignore[no-untyped-call]
            super().refresh(nolock=True)


class _Bar:
    """A bar of tqdm, which disappears once its stream fails."""

    def __init__(self, total: int, label: str, delay: float) -> None:
        self.bar: Any = None
        # With a delay of 0, tqdm itself would write in its constructor, and once more at its end.
        self._try(lambda: self._make(total, label, max(delay, 1e-9)))
        if not delay:
            self._try(lambda: self.bar.refresh())

    def _make(self, total: int, label: str, delay: float) -> None:
        self.bar = _Released(total=total, desc=label, delay=delay, leave=False)

    def update(self) -> None:
        """Count one item."""
        self._try(lambda: self.bar.update())

    def close(self) -> None:
        """Remove the bar."""
        self._try(lambda: self.bar.close())

    def _try(self, write: Callable[[], Any]) -> None:
        try:
            if self.bar is None or not self.bar.disable:
                write()
        except Exception:  # a stream may be closed, full, or write ASCII only
            if self.bar is not None:
                self.bar.disable = True
