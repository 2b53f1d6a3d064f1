"""The work of an Explainer: what fits into the memory, cut into chunks, spread over workers, merged."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial, reduce
from itertools import groupby
from operator import add
from typing import Any, NamedTuple, TypeVar

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray

from shapae.backends import Attribution, in_parts
from shapae.backends.compared import Compared
from shapae.errors import TooLarge
from shapae.explainer.chunks import COPIES, Chunk, plan
from shapae.explainer.found import Found
from shapae.explainer.importance import RowAverages
from shapae.explainer.scores import base_values, scored
from shapae.explainer.worker import (
    BATCH,
    FIRST,
    ROUNDS,
    Part,
    attributed,
    attributed_until,
    averaged_over_rows,
    averaged_until,
)
from shapae.heads.score import Score
from shapae.tables.table import TableStream
from shapae.utils.memory import CHUNK_BYTES, batches, bytes_per_row, format_bytes
from shapae.utils.parallel import progress_bar

T = TypeVar("T")


class Turn(NamedTuple):
    """What rows are compared with at once, and ``Game.draws``."""

    background: slice
    draws: int | None = None


Against = Callable[[Turn], Attribution]
Averaged = tuple[RowAverages, list[NDArray[Any]]]
# Averages over rows are held as means and spreads of values and of their sizes, in float64, with room for one more.
AVERAGES = 16


@dataclass(frozen=True, eq=False)
class Job:
    """Attributes scores.

    Attributes:
        score: What is attributed.
        compared: With what rows are compared, in which order, and by which backend.
        n_jobs: As in joblib.
        memory: Bytes that may be held at once.
        seed: Of all that is drawn.
        progress: See ``progress_bar``.
        tolerance: See ``Explainer``.
    """

    score: Score
    compared: Compared
    n_jobs: int | None
    memory: float
    seed: int
    progress: bool | None
    tolerance: float | None

    def found(self, rows: TableStream) -> Found:
        """What is found for each of ``rows``."""
        n = len(rows)
        self._refuse_result(n)
        chunks, batch = self._plan(n, 2 * n * self.row_result)
        scores, base = self._scored(rows, batch)
        found, start = Found(scores, len(base), self.compared.width), 0
        for part in self._parts(rows, chunks):
            start = found.put(start, part)
        found.base_values = self._base_values(rows, base, found.used, batch)
        return found

    def over_rows(self, rows: TableStream) -> tuple[RowAverages, NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Averages over ``rows``, (n, k) scores of these, (k,) their mean base value and (n,) ``Found.used``.

        Raises:
            TooLarge: They take more than half of the memory.
        """
        taken = AVERAGES * self.row_result
        if taken > self.memory / 2:
            raise TooLarge(
                f"the averages over the rows take {format_bytes(taken)}, and may take half of "
                f"memory='{format_bytes(self.memory)}'; "
                f"explain fewer outputs, or allow memory='{format_bytes(3 * taken)}'."
            )
        chunks, batch = self._plan(len(rows), taken)
        scores, base = self._scored(rows, batch)
        if self.tolerance is None:
            turns = [Turn(chunk.background) for chunk in chunks if chunk.rows == chunks[0].rows]
            work: Callable[..., Averaged] = partial(averaged_over_rows, draws=self.score.draws)
        else:
            turns, work = self._turns, partial(averaged_until, tolerance=self.tolerance)
        jobs = [(turns, block) for block in _blocks(chunks)]
        found = self._run(work, self._sharing(chunks), rows, jobs)
        over, ended = reduce(lambda one, other: (one[0] + other[0], one[1] + other[1]), found)
        used = np.concatenate(ended) if ended else np.full(len(rows), len(base))
        return over, scores, self._base_values(rows, base, used, batch).mean(axis=0), used

    def _scored(self, rows: TableStream, batch: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The scores of ``rows`` and of the background."""
        return (
            scored(self.score.self_scores, rows, batch, "rows"),
            scored(self.score, self.compared.background, batch, "background rows"),
        )

    def _base_values(self, rows: TableStream, base: NDArray[Any], used: NDArray[Any], batch: int) -> NDArray[Any]:
        used = used if self._in_batches else np.full(len(rows), len(base))
        return base_values(self.score, rows, self.compared, base=base, used=used, batch=batch)

    def scores(self, rows: TableStream) -> NDArray[Any]:
        """(n, k): the scores of ``rows``."""
        return scored(self.score.self_scores, rows, self._plan(len(rows), 0)[1], "rows")

    def trial(self, rows: TableStream) -> Callable[[int], None]:
        """A function that explains so many rows, some of ``rows`` again and again.

        Raises:
            TooLarge: Not even one row fits into the memory.
        """
        chunks, _ = self._plan(1, 0)
        against = self._sharing(chunks)
        given, some = [against(Turn(chunk.background)) for chunk in chunks], rows[slice(None)]

        def run(count: int) -> None:
            averaged_over_rows(given, some[np.arange(count) % len(some)], range(count), os.getpid())

        return run

    def _parts(self, rows: TableStream, chunks: list[Chunk]) -> Iterator[Part]:
        """The values of each block of rows."""
        against = self._sharing(chunks)
        if self.tolerance is not None:
            work = partial(attributed_until, tolerance=self.tolerance)
            yield from self._run(work, against, rows, [(self._turns, block) for block in _blocks(chunks)])
            return
        moments = self._run(attributed, against, rows, [([Turn(chunk.background)], chunk.rows) for chunk in chunks])
        for _, block in groupby(zip(chunks, moments, strict=True), key=lambda pair: pair[0].rows):
            merged = reduce(add, (part for _, part in block))
            merged = merged.average_outputs() if self.score.draws else merged
            yield Part(merged.mean, merged.standard_error)

    @property
    def _in_batches(self) -> bool:
        """Whether rows are compared with some of the background only, and then more of it."""
        return self.tolerance is not None and in_parts(self.compared.backend)

    @property
    def _turns(self) -> list[Turn]:
        """Of a row, one after the other, until its values are sure enough."""
        b, most = len(self.compared.background), self.compared.backend.DRAWS
        if self._in_batches:
            return [Turn(part) for part in batches(b, BATCH)]
        return [Turn(slice(0, b), min(most, FIRST * 2**turn)) for turn in range(ROUNDS)]

    def _run(
        self, work: Callable[..., T], against: Against, rows: TableStream, jobs: Sequence[tuple[list[Turn], slice]]
    ) -> Iterator[T]:
        """What ``work`` finds for each job, turns and a block of rows; in their order."""
        seeds = self._seeds(len(rows)) if self.compared.backend.DRAWS else range(len(rows))
        task, parent = delayed(work), os.getpid()
        done: Iterator[T] = Parallel(self.n_jobs, return_as="generator")(
            task([against(turn) for turn in turns], rows[block], seeds[block], parent) for turns, block in jobs
        )
        return progress_bar(done, len(jobs), self.progress)

    def _seeds(self, n: int) -> list[int]:
        """One for each row, by its position."""
        return [int(row.generate_state(1)[0]) for row in np.random.SeedSequence(self.seed).spawn(n)]

    def _sharing(self, chunks: Sequence[Chunk]) -> Against:
        """From a turn to what attributes in it: each time the same, if all of the background fits."""
        against = partial(self.compared.against, self.score)
        fits = chunks[0].background == slice(0, len(self.compared.background))
        made = cache(against) if fits else against
        return lambda turn: made(turn.background.start, turn.background.stop, turn.draws)

    @property
    def row_result(self) -> int:
        """Bytes of the values of one row, with all draws of them."""
        numbers = self.compared.width * self.score.width * max(1, self.score.draws)
        return numbers * self.compared.background.element_size()

    def _refuse_result(self, n: int) -> None:
        result, most = 2 * n * self.row_result, int(self.memory / 4 // self.row_result)
        if result > self.memory / 2:
            raise TooLarge(
                f"the values of {n} rows and their standard errors take {format_bytes(result)}, and may take half of "
                f"memory='{format_bytes(self.memory)}'; explain at most {max(1, most)} rows at a time, or fewer "
                f"outputs, or "
                f"allow memory='{format_bytes(3 * result)}'. For averages over all rows, summarize(X) holds no "
                f"row's values."
            )

    def _plan(self, n: int, taken: float) -> tuple[list[Chunk], int]:
        """Chunks of ``n`` rows, and how many rows can be scored at once, beside so many bytes that are taken."""
        jobs, background, width = int(effective_n_jobs(self.n_jobs)), self.compared.background, self.compared.attributed
        row_bytes, room = bytes_per_row(self.score, background[[0, -1]]), (self.memory - taken) / jobs
        chunks = plan(
            n,
            len(background),
            held=lambda count: self.compared.backend.held(count, width) * row_bytes * COPIES,
            result=COPIES * self.row_result * width // self.compared.width,
            room=room,
            jobs=jobs,
        )
        return chunks, max(1, int(min(room, CHUNK_BYTES) // row_bytes))


def _blocks(chunks: Iterable[Chunk]) -> list[slice]:
    return [rows for rows, _ in groupby(chunks, key=lambda chunk: chunk.rows)]
