"""Work cut into chunks that fit the memory: blocks of rows x parts of the background."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from shapae.backends.base import Backend
from shapae.backends.game import Game
from shapae.errors import TooLarge
from shapae.heads.score import Score
from shapae.utils.blocks import device_factor, on_processor
from shapae.utils.memory import BLOCKS_PER_WORKER, CHUNK_BYTES, MIN_BLOCKS, batches, format_bytes
from shapae.utils.parallel import count_workers

# Copies of the tensors of a row that are held besides those that autograd saves: gradients, differences, and what
# hooks keep.
COPIES = 4
# Part of the room that the results of a block of rows may take, with their copies: the rest is for the rows that are
# scored at once.
RESULT_SHARE = 4
# Numbers that are held for each row and output beside the values: score, sum of the values, base value, residual, and
# the standard error of the sum, or a copy while they are compared.
NUMBERS = 5
# Bytes below which a block of rows is not cut further if one process does all the work: the fixed cost of a block
# would be large beside it, and such a block takes so little time that a progress bar needs no more blocks.
MIN_BLOCK_BYTES = 2**30


@dataclass(frozen=True)
class Settings:
    """Settings of an Explainer that say how its work is done.

    Attributes:
        n_jobs: Number of workers, as in joblib.
        memory: Number of bytes that may be held at once.
        seed: Random seed.
        progress: Whether a bar is shown, see ``utils.progress.progress_bar``.
        tolerance: See ``Explainer``.
        first_row: Position of the first row, for rows that are a block of a larger table.
    """

    n_jobs: int | None
    memory: float
    seed: int
    progress: bool | None
    tolerance: float | None
    first_row: int = 0

    @property
    def jobs(self) -> int:
        """Number of workers, of the joblib backend that is in use."""
        return count_workers(self.n_jobs)


@dataclass(frozen=True)
class Plan:
    """A cut of n rows x b background rows into chunks.

    Attributes:
        blocks: Slices of the rows.
        parts: Slices of the background. A chunk is a block of rows against a part of the background.
        batch_size: Number of rows that can be scored at once, also with gradients.
        room: Number of bytes that each worker may hold.
    """

    blocks: list[slice]
    parts: list[slice]
    batch_size: int
    room: float

    def limit(self, game: Game) -> Game:
        """Tell a game how many rows fit the memory at once with gradients, and whether all that is kept fits."""
        kept = game.kept if len(self.parts) == 1 else None
        return replace(game, batch_size=self.batch_size, kept=kept)


def plan_chunks(backend: Backend, game: Game, n: int, settings: Settings, reserved: float) -> Plan:
    """Plan the attribution of ``n`` rows.

    Args:
        backend: It says how many rows it holds at once.
        game: Its score is a ``Score``.
        n: Number of rows.
        settings: Number of workers and memory.
        reserved: Number of bytes of the memory of the processor that are taken already.

    Raises:
        TooLarge: Not even one row against one background row fits.
    """
    jobs, background = settings.jobs, game.background
    row_bytes, room = game.row_bytes(), _room(game, settings, reserved) / jobs
    players = game.n_players if backend.supports_groups else game.n_features
    blocks, parts = cut(
        n,
        len(background),
        bytes_held=lambda count: backend.rows_in_memory(count, players) * row_bytes * COPIES,
        result=COPIES * result_bytes(game) * players // game.n_players,
        share=RESULT_SHARE if on_processor(background) else 1,
        room=room,
        jobs=jobs,
        factor=device_factor(background),
    )
    return Plan(blocks, parts, _batch_size(background, room, row_bytes), room)


def plan_rows(game: Game, n: int, settings: Settings, reserved: float) -> Plan:
    """Plan work that takes one row at a time, against the whole background, and scores mixed rows in batches.

    Args:
        game: See ``plan_chunks``.
        n: Number of rows.
        settings: Number of workers and memory.
        reserved: Number of bytes of the memory of the processor that are taken already.

    Raises:
        TooLarge: Not even one row can be scored.
    """
    jobs = settings.jobs
    row_bytes, room = game.row_bytes(), _room(game, settings, reserved) / jobs
    if row_bytes > room:
        raise TooLarge(
            f"scoring one row takes about {format_bytes(row_bytes)}, but there is room for {format_bytes(room)}. Raise "
            f"memory=, or lower n_jobs=."
        )
    height = -(-n // max(MIN_BLOCKS, BLOCKS_PER_WORKER * jobs))
    return Plan(batches(n, height), [slice(None)], _batch_size(game.background, room, row_bytes), room)


def _batch_size(like: Tensor, room: float, row_bytes: int) -> int:
    return max(1, int(min(room, device_factor(like) * CHUNK_BYTES) // row_bytes) // COPIES)


def _room(game: Game, settings: Settings, reserved: float) -> float:
    """Bytes for all workers: results are held by the processor, so that they take no room on another device."""
    return settings.memory - (reserved if on_processor(game.background) else 0)


def result_bytes(game: Game) -> int:
    """Count the bytes of the values of one row, with all samples of its head."""
    score = score_of(game)
    return game.n_players * score.width * max(1, score.draws) * game.background.element_size()


def sums_bytes(game: Game) -> int:
    """Count the bytes of the scores of one row, and of the sums of its values, until they have been compared."""
    return NUMBERS * score_of(game).width * game.background.element_size() + np.dtype(np.int64).itemsize


def explanation_bytes(backend: Backend, game: Game) -> int:
    """Count the bytes of one row of an explanation: values, standard errors, the row itself, and its scores."""
    arrays = 3 if backend.has_background_errors else 2
    row = score_of(game).original.nbytes
    return arrays * result_bytes(game) + row + sums_bytes(game)


def score_of(game: Game) -> Score:
    """Return the score of a game that an Explainer has bound."""
    assert isinstance(game.score, Score)
    return game.score


def cut(
    n: int,
    b: int,
    bytes_held: Callable[[int], float],
    result: float,
    room: float,
    *,
    jobs: int = 1,
    factor: int = 1,
    share: int = 1,
) -> tuple[list[slice], list[slice]]:
    """Cut ``n`` rows x ``b`` background rows.

    The background is cut only if one row against all of it does not fit.

    Args:
        n: Number of rows.
        b: Number of background rows.
        bytes_held: From a number of background rows to the bytes that are held for one row; it does not fall.
        result: Number of bytes of the result of one row.
        room: Number of bytes that a chunk may take.
        jobs: Number of workers.
        factor: See ``device_factor``.
        share: The results of a block may take this part of the room.

    Returns:
        Blocks of rows, and parts of the background.

    Raises:
        TooLarge: Not even one row against one background row fits.
    """
    width = bisect_right(range(1, b + 1), room, key=bytes_held)
    if width == 0:
        raise TooLarge(
            f"one row against one background row takes about {format_bytes(bytes_held(1))}, but there is room for "
            f"{format_bytes(room)}. Raise memory=, lower n_jobs=, or explain fewer outputs."
        )
    height, room = -(-n // max(MIN_BLOCKS, BLOCKS_PER_WORKER * jobs)), room / share
    if jobs == 1:
        room, height = min(room, factor * CHUNK_BYTES), max(height, int(factor * MIN_BLOCK_BYTES // bytes_held(b)))
    height = max(1, min(height, n, int(room // result)))
    return batches(n, height), batches(b, width)
