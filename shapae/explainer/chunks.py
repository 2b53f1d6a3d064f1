"""Work cut into chunks that fit the memory: blocks of rows x parts of the background."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Plan:
    """A cut of n rows x b background rows into chunks.

    Attributes:
        blocks: Slices of the rows.
        parts: Slices of the background. A chunk is a block of rows against a part of the background.
        batch_size: Number of rows that can be scored at once.
        room: Number of bytes that each worker may hold.
    """

    blocks: list[slice]
    parts: list[slice]
    batch_size: int
    room: float

    def limit(self, game: Game) -> Game:
        """Tell a game how many rows fit the memory at once with gradients, and whether all that is kept fits."""
        kept = game.kept if len(self.parts) == 1 else None
        return replace(game, batch_size=max(1, self.batch_size // COPIES), kept=kept)


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
    jobs, background = count_workers(settings.n_jobs), game.background
    row_bytes, room = game.row_bytes(), _room(game, settings, reserved) / jobs
    players = game.n_players if backend.supports_groups else game.n_features
    blocks, parts = cut(
        n,
        len(background),
        bytes_held=lambda count: backend.rows_in_memory(count, players) * row_bytes * COPIES,
        result=COPIES * result_bytes(game) * players // game.n_players,
        room=room,
        jobs=jobs,
        factor=device_factor(background),
    )
    return Plan(blocks, parts, max(1, int(min(room, device_factor(background) * CHUNK_BYTES) // row_bytes)), room)


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
    jobs = count_workers(settings.n_jobs)
    row_bytes, room = game.row_bytes(), _room(game, settings, reserved) / jobs
    if row_bytes > room:
        raise TooLarge(
            f"scoring one row takes about {format_bytes(row_bytes)}, but there is room for {format_bytes(room)}. Raise "
            f"memory=, or lower n_jobs=."
        )
    height = -(-n // max(MIN_BLOCKS, BLOCKS_PER_WORKER * jobs))
    batch_size = int(min(room, device_factor(game.background) * CHUNK_BYTES) // row_bytes)
    return Plan(batches(n, height), [slice(None)], batch_size, room)


def _room(game: Game, settings: Settings, reserved: float) -> float:
    """Bytes for all workers: results are held by the processor, so that they take no room on another device."""
    return settings.memory - (reserved if on_processor(game.background) else 0)


def result_bytes(game: Game) -> int:
    """Count the bytes of the values of one row, with all samples of its head."""
    score = game.score
    assert isinstance(score, Score)
    return game.n_players * score.width * max(1, score.draws) * game.background.element_size()


def cut(
    n: int,
    b: int,
    bytes_held: Callable[[int], float],
    result: float,
    room: float,
    *,
    jobs: int = 1,
    factor: int = 1,
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
    height = -(-n // max(MIN_BLOCKS, BLOCKS_PER_WORKER * jobs))
    if jobs == 1:
        room, height = min(room, factor * CHUNK_BYTES), max(height, int(factor * MIN_BLOCK_BYTES // bytes_held(b)))
    height = max(1, min(height, n, int(room // result)))
    return batches(n, height), batches(b, width)
