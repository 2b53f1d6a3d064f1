"""The interaction values of all rows, on all workers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.backends.base import Backend
from shapae.backends.exact import MAX_PLAYERS
from shapae.backends.game import Game
from shapae.backends.interactions import N_COALITIONS, interact
from shapae.errors import DataError, TooLarge, UnknownName
from shapae.explainer.chunks import Settings, plan_rows
from shapae.explainer.inputs import player_data
from shapae.explainer.nonfinite import FiniteResults
from shapae.explainer.record import OF_SAMPLES
from shapae.explainer.run import average_rows, score_all
from shapae.explainer.scores import base_values
from shapae.heads.functions import how_to_choose
from shapae.heads.score import Score
from shapae.tables.table import TableStream
from shapae.utils.memory import format_bytes
from shapae.utils.parallel import parallel_map
from shapae.utils.random import row_seeds
from shapae.utils.text import enumerate_names


def check_pairs(game: Game, head: str) -> None:
    """Check that there is one output, and that there are pairs of players.

    Args:
        game: Its score is a ``Score``.
        head: Name of the head, for messages.

    Raises:
        DataError: There are several outputs, or fewer than two players.
    """
    score = game.score
    assert isinstance(score, Score)
    if score.width > 1:
        raise DataError(
            f"interactions are those of one output, but {head} has {score.width}: "
            f"{enumerate_names(score.outputs(), 'output')}. {how_to_choose(score.head, score.outputs())}"
        )
    if game.n_players < 2:
        raise DataError("interactions need two features, or two groups, but there is one. Explain its values alone.")


def describe_pairs(game: Game) -> dict[str, Any]:
    """Describe how interactions are computed, see ``describe_backend``."""
    exact = game.n_players <= MAX_PLAYERS
    return {
        "backend": "interactions",
        "quantity": "Shapley interaction values",
        "samples": f"all {2**game.n_players} coalitions" if exact else f"{N_COALITIONS} coalitions a row",
        "standard errors": OF_SAMPLES,
    }


def find_players(features: Sequence[str], names: list[str]) -> list[int]:
    """Find the positions of ``features`` among the ``names`` of all players.

    Raises:
        DataError: They are not a list of two or more names, each there once.
        UnknownName: One of them is not there.
    """
    wanted = [] if isinstance(features, str) else list(features)
    if len(wanted) < 2 or len({*wanted}) < len(wanted):
        raise DataError(f"features must be a list of two names or more, each there once, got {features!r}.")
    for name in wanted:
        if name not in names:
            raise UnknownName("feature", name, names)
    return [names.index(name) for name in wanted]


def most_important(backend: Backend, game: Game, rows: TableStream, settings: Settings, top: int) -> list[int]:
    """Find the ``top`` players with the largest mean |value|, in descending order; see ``average_rows``."""
    averages, _ = average_rows(backend, game, rows, settings)
    order = np.argsort(-averages[0].sizes.mean[:, 0], kind="stable")
    return [int(player) for player in order[:top]]


def interact_rows(game: Game, rows: TableStream, settings: Settings, chosen: list[int]) -> dict[str, Any]:
    """Compute the interaction values of all rows.

    Args:
        game: Its score is a ``Score`` of one output.
        rows: (n, d).
        settings: Workers, memory, random seed and progress.
        chosen: Positions of m players.

    Returns:
        The parts of ``Interactions`` that have an axis of rows.

    Raises:
        TooLarge: The result takes more than half of the memory, or not even one row can be scored.
        ModelError: Some values are NaN or infinite.
    """
    n, m, size = len(rows), len(chosen), 2 * len(rows) * len(chosen) ** 2 * game.background.element_size()
    if size > settings.memory / 2:
        raise TooLarge(
            f"the interactions of {m} features in {n} rows and their standard errors need {format_bytes(size)}, but "
            f"only half of memory='{format_bytes(settings.memory)}' may be used for them. Take fewer features or rows, "
            f"or set memory='{format_bytes(3 * size)}'."
        )
    plan = plan_rows(game, n, settings, reserved=size)
    scores, background_scores = score_all(game, rows, plan)
    used = np.full(n, len(game.background))
    base = base_values(game, rows, background_scores=background_scores, used=used, batch_size=plan.batch_size)
    seeds, work = row_seeds(settings.seed, n), partial(_interact_block, game.clone(), chosen, plan.batch_size)

    def arguments(number: int) -> tuple[Any, ...]:
        return rows[plan.blocks[number]], seeds[plan.blocks[number]]

    results = parallel_map(work, arguments, len(plan.blocks), n_jobs=settings.n_jobs, progress=settings.progress)
    values, errors = np.empty((2, n, m, m), scores.dtype)
    finite = FiniteResults(game, rows, chosen)
    for block, result in zip(plan.blocks, results, strict=True):
        values[block], errors[block] = result
        finite.check_arrays(block.start, {"values": values[block], "standard errors": errors[block]})
    parts = {"values": values, "standard_errors": errors, "scores": scores[:, 0], "base_values": base[:, 0]}
    return parts | {"data": player_data(game, rows)[:, chosen], "row_names": rows.rows.row_names}


def _interact_block(
    game: Game, chosen: list[int], batch_rows: int, rows: Tensor, seeds: list[int]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the interaction values of some rows, each of which is its own anchor, and their standard errors."""
    score = game.score
    assert isinstance(score, Score)
    with torch.no_grad():
        triples = zip(rows, score.inputs(rows), seeds, strict=True)
    players = torch.tensor(chosen, device=rows.device)
    pairs = [
        interact(replace(game, score=score.anchored_at(anchor)), row, players, seed=seed, batch_rows=batch_rows)
        for anchor, row, seed in triples
    ]
    return np.stack([each.values for each in pairs]), np.stack([each.standard_errors for each in pairs])
