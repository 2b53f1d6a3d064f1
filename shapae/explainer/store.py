"""Results that an Explainer keeps from one call to the next, until the score changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from shapae.backends._kept import Kept
from shapae.backends.game import Game
from shapae.errors import ModelError
from shapae.heads.score import Score
from shapae.utils.snapshot import Snapshot, take_snapshot

T = TypeVar("T")
# Part of the memory that the kept results may take, with the snapshot of the score.
SHARE = 1 / 8


class Store:
    """The results that are kept while no call uses them. Copies, and workers, begin without any."""

    def __init__(self) -> None:
        self._held: list[tuple[Kept, Snapshot, int]] = []

    def __reduce__(self) -> Any:
        return Store, ()

    @contextmanager
    def lend(self, score: Score, n: int, memory: float) -> Iterator[Kept]:
        """Lend the results to one call, if nothing has changed since; a call beside it begins without any.

        Afterwards they are kept, if they add up, do not take more than their share of the memory, and if it can be told
        whether the score changes.

        Args:
            score: The score that is explained.
            n: Number of rows.
            memory: Number of bytes that may be held at once.
        """
        kept, snapshot, most = self._take()
        yield kept
        kept.end_call()
        if kept.is_doubtful:
            return
        snapshot = snapshot or take_snapshot(score, memory * SHARE)
        if snapshot and (n <= most or snapshot.nbytes + kept.nbytes(score) <= memory * SHARE):
            self._held[:] = [(kept, snapshot, max(n, most))]

    def _take(self) -> tuple[Kept, Snapshot | None, int]:
        try:
            kept, snapshot, most = self._held.pop()
        except IndexError:
            return Kept(), None, 0
        if not snapshot.is_current():
            return Kept(), None, 0
        kept.from_earlier_call = True
        return kept, snapshot, most


def recompute_if_stale(run: Callable[[], T], game: Game, describe: Callable[[T], str | None]) -> tuple[T, str | None]:
    """Run; and once more without the results of earlier calls, if these may be the cause of a failure.

    Args:
        run: Attributes rows in the game.
        game: It has the results of earlier calls.
        describe: Describes the values that do not add up; None if they do.

    Returns:
        The result, and its description.

    Raises:
        ModelError: The second run raises it, or the first one without results of earlier calls.
    """
    kept = game.kept or Kept()
    try:
        result = run()
        message = describe(result)
        may_be_stale = message is not None and kept.from_earlier_call
    except ModelError:
        if not kept.from_earlier_call:
            raise
        may_be_stale = True
    if may_be_stale:
        kept.clear()
        result = run()
        message = describe(result)
    kept.is_doubtful = message is not None
    return result, message
