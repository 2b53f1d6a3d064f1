"""All chunks on all workers: the attributions of many rows, or their averages."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial, reduce
from itertools import islice
from operator import add
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shapae.backends.base import Attribution, Backend, bind
from shapae.backends.game import Game
from shapae.errors import TooLarge
from shapae.explainer.additivity import Additivity, Sums
from shapae.explainer.attributions import Attributions
from shapae.explainer.chunks import Plan, Settings, explanation_bytes, plan_chunks, result_bytes, score_of, sums_bytes
from shapae.explainer.importance import RowAverages, merge_groups
from shapae.explainer.nonfinite import FiniteResults
from shapae.explainer.scores import base_values, score_rows
from shapae.explainer.worker import (
    attempt,
    attribute_block,
    attribute_until_converged,
    average_block,
    average_until_converged,
)
from shapae.tables.labels import RowGroups
from shapae.tables.table import TableStream
from shapae.utils.blocks import Room, current_room
from shapae.utils.memory import batches, format_bytes
from shapae.utils.moments import Moments
from shapae.utils.parallel import parallel_map
from shapae.utils.random import row_seeds

T = TypeVar("T")
# Background rows per round until convergence.
BACKGROUND_BATCH = 16
# Largest number of rounds of samples.
MAX_ROUNDS = 64
# Size of the averages over a group of rows beside that of the values of one row: means and spreads of values and of
# their sizes, in float64. They are held once merged, and once for each worker.
AVERAGES = 8


def attribute_rows(backend: Backend, game: Game, rows: TableStream, settings: Settings) -> Attributions:
    """Attribute the scores of all rows.

    Args:
        backend: Any backend.
        game: Its score is a ``Score``.
        rows: (n, d).
        settings: Workers, memory, random seed, progress and tolerance.

    Raises:
        TooLarge: The result takes more than half of the memory, or the smallest chunk does not fit.
    """
    n = len(rows)
    check_result_fits(backend, game, n, settings.memory)
    plan = plan_chunks(backend, game, n, settings, reserved=n * explanation_bytes(backend, game))
    game, (scores, background_scores) = plan.limit(game), score_all(game, rows, plan)
    result, finite = Attributions(scores, game.n_players), FiniteResults(game, rows)
    for block, moments in zip(plan.blocks, _attribute_blocks(backend, game, rows, plan, settings), strict=True):
        finite.check(block.start, moments)
        result.put_values(block, moments)
    used = _background_used(backend, game, result, settings)
    result.base_values = base_values(
        game, rows, background_scores=background_scores, used=used, batch_size=plan.batch_size
    )
    return result


def average_rows(
    backend: Backend, game: Game, rows: TableStream, settings: Settings, *, groups: RowGroups | None = None
) -> tuple[dict[int, RowAverages], Additivity]:
    """Average the attributions over the rows of each group. The values of all rows are never held at once.

    Args:
        backend: See ``attribute_rows``.
        game: See ``attribute_rows``.
        rows: (n, d).
        settings: See ``attribute_rows``.
        groups: Groups of the rows; None for one group of all rows.

    Returns:
        The averages, by the numbers of the groups; and the sums of the values of each row, beside its score and its
        base value.

    Raises:
        TooLarge: The averages take more than half of the memory, or the smallest chunk does not fit.
    """
    numbers = np.broadcast_to(np.int64(0), len(rows)) if groups is None else groups.numbers
    reserved = _averages_bytes(game, groups, settings)
    reserved += _all_sums_bytes(game, len(rows), settings.memory, reserved)
    plan = plan_chunks(backend, game, len(rows), settings, reserved)
    game, (scores, background_scores) = plan.limit(game), score_all(game, rows, plan)
    if settings.tolerance is None:
        games, draws = [game.slice(part) for part in plan.parts], score_of(game).draws
        work: Callable[..., tuple[dict[int, RowAverages], Sums]] = partial(average_block, draws=draws)
    else:
        games, work = rounds(backend, game), partial(average_until_converged, tolerance=settings.tolerance)
    tasks = [(games, block) for block in plan.blocks]
    sums, parts = Additivity(scores), _run(work, backend, rows, tasks, plan, settings, numbers)
    put = partial(_put_sums, sums, FiniteResults(game, rows))
    averages = merge_groups(put(block, part) for block, part in zip(plan.blocks, parts, strict=True))
    used = _background_used(backend, game, sums, settings)
    sums.base_values = base_values(
        game, rows, background_scores=background_scores, used=used, batch_size=plan.batch_size
    )
    return averages, sums


def _averages_bytes(game: Game, groups: RowGroups | None, settings: Settings) -> int:
    """Count the bytes of the averages over the rows of each group, and over all rows.

    Raises:
        TooLarge: They take more than half of the memory.
    """
    g, jobs, memory = 1 if groups is None else len(groups.labels), settings.jobs, settings.memory
    needed = AVERAGES * (1 + jobs) * result_bytes(game) * (g + (g > 1))
    which, fewer = (f" of each of {g} groups", "outputs or groups") if g > 1 else ("", "outputs")
    lower = "Lower n_jobs=, s" if jobs > 1 else "S"
    if needed > memory / 2:
        raise TooLarge(
            f"the averages over the rows{which} need {format_bytes(needed)}, but only half of "
            f"memory='{format_bytes(memory)}' may be used for them. {lower}elect fewer {fewer}, or set "
            f"memory='{format_bytes(3 * needed)}'."
        )
    return needed


def _all_sums_bytes(game: Game, n: int, memory: float, averages: int) -> int:
    """Count the bytes of the scores of n rows and of the sums of their values: all that grows with n in averages.

    Raises:
        TooLarge: With the ``averages``, they take more than three quarters of the memory.
    """
    needed, left = n * sums_bytes(game), 0.75 * memory - averages
    if needed > left:
        raise TooLarge(
            f"the scores of {n} rows and the sums of their values need {format_bytes(needed)}, but only "
            f"{format_bytes(left)} of memory='{format_bytes(memory)}' may be used for them. Summarize at most "
            f"{max(1, int(left // sums_bytes(game)))} rows at a time, select fewer outputs, or set "
            f"memory='{format_bytes(2 * (needed + averages))}'."
        )
    return needed


def _put_sums(
    sums: Additivity, finite: FiniteResults, block: slice, part: tuple[dict[int, RowAverages], Sums]
) -> dict[int, RowAverages]:
    finite.check_averages(block.start, *part)
    sums.put(block, part[1])
    return part[0]


def self_scores(backend: Backend, game: Game, rows: TableStream, settings: Settings) -> NDArray[Any]:
    """Score all rows, each of which is its own anchor: (n, k)."""
    plan = plan_chunks(backend, game, len(rows), settings, reserved=0)
    return score_rows(score_of(game).self_scores, rows, plan.batch_size)


def trial(backend: Backend, game: Game, rows: TableStream, settings: Settings) -> Callable[[int], None]:
    """Prepare a function that explains a given number of rows in this process: some rows, again and again.

    Raises:
        TooLarge: Not even one row fits into the memory.
    """
    plan = plan_chunks(backend, game, 1, settings, reserved=0)
    game, some = plan.limit(game), rows[slice(None)]
    bound = [bind(backend, game.slice(part)) for part in plan.parts]

    def run(count: int) -> None:
        average_block(bound, some[np.arange(count) % len(some)], range(count), np.zeros(count, np.int64))

    return run


def check_result_fits(backend: Backend, game: Game, n: int, memory: float) -> None:
    """Check that the explanation of n rows takes at most half of the memory; see ``explanation_bytes``.

    Raises:
        TooLarge: It takes more.
    """
    each = explanation_bytes(backend, game)
    result, most = n * each, int(memory / 2 // each)
    if result > memory / 2:
        raise TooLarge(
            f"the values of {n} rows and their standard errors need {format_bytes(result)}, with the rows and their "
            f"scores, but only half of memory='{format_bytes(memory)}' may be used for them. Explain at most "
            f"{max(1, most)} rows at a time, select fewer outputs, or set memory='{format_bytes(3 * result)}'. If "
            f"averages over rows are enough, summarize(X) needs no such array."
        )


def rounds(backend: Backend, game: Game) -> list[Game]:
    """List the games of all rounds until convergence: batches of the background, or ever more samples."""
    if backend.splits_background:
        return [game.slice(part) for part in batches(len(game.background), BACKGROUND_BATCH)]
    counts = [backend.samples_in_round(number) for number in range(MAX_ROUNDS)]
    games = {count: game.with_samples(count) for count in counts}  # rounds of the same size share what is bound
    return [games[count] for count in counts]


def score_all(game: Game, rows: TableStream, plan: Plan) -> tuple[NDArray[Any], NDArray[Any]]:
    """Score the rows and the background: (n, k) and (b, k)."""
    scores = score_rows(score_of(game).self_scores, rows, plan.batch_size)
    background_scores = score_rows(game.score, game.background, plan.batch_size, "background rows")
    if game.kept is not None:
        game.kept.check_scores(background_scores)
    return scores, background_scores


def _background_used(backend: Backend, game: Game, sums: Additivity, settings: Settings) -> NDArray[Any]:
    """Count the background rows that each row was compared with: (n,). Samples come from all background rows."""
    if settings.tolerance is not None and backend.splits_background and sums.used is not None:
        return sums.used
    return np.broadcast_to(np.int64(len(game.background)), len(sums.scores))


def _attribute_blocks(
    backend: Backend, game: Game, rows: TableStream, plan: Plan, settings: Settings
) -> Iterator[Moments]:
    """Attribute each block of rows, in their order."""
    if settings.tolerance is not None:
        games, work = rounds(backend, game), partial(attribute_until_converged, tolerance=settings.tolerance)
        yield from _run(work, backend, rows, [(games, block) for block in plan.blocks], plan, settings)
        return
    games = [game.slice(part) for part in plan.parts]
    tasks = [([each], block) for block in plan.blocks for each in games]
    chunks = _run(attribute_block, backend, rows, tasks, plan, settings)
    for _ in plan.blocks:
        merged = reduce(add, islice(chunks, len(games)))
        yield merged.average_outputs() if score_of(game).draws else merged


def _run(
    work: Callable[..., T],
    backend: Backend,
    rows: TableStream,
    tasks: Sequence[tuple[list[Game], slice]],
    plan: Plan,
    settings: Settings,
    *per_row: NDArray[Any],
) -> Iterator[T]:
    """Do ``work`` for each task, games and a block of rows with its part of ``per_row``, on all workers."""
    seeds = row_seeds(settings.seed, len(rows), settings.first_row) if backend.n_samples else range(len(rows))
    attribution: Callable[[Game], Attribution] = partial(bind, backend)
    if len(plan.parts) == 1:  # then all blocks share what is bound; otherwise one part is held at a time
        attribution = cache(attribution)
    work = partial(attempt, Room(plan.room, current_room().said), work, tasks[0][0][0].score)
    parts = (rows, seeds, *per_row)

    def arguments(number: int) -> tuple[Any, ...]:
        games, block = tasks[number]
        return [*map(attribution, games)], block.start, *(part[block] for part in parts)

    return parallel_map(work, arguments, len(tasks), n_jobs=settings.n_jobs, progress=settings.progress)
