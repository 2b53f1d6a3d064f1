"""Inputs of a score and players of a game: their names, and their numbers in the rows that are explained."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.backends.game import Game
from shapae.heads.score import Score
from shapae.tables.table import TableStream


def input_names(score: Score, features: list[str], count: int) -> list[str]:
    """Name the inputs of a score: the features of the rows, or ``count`` latents."""
    return features if score.source == "input" else [f"latent {unit}" for unit in range(count)]


def player_names(game: Game, features: list[str]) -> list[str]:
    """Name the players of a game: groups and other features, or all inputs of its score."""
    assert isinstance(game.score, Score)
    return game.players.names if game.players else input_names(game.score, features, game.n_features)


def input_data(game: Game, rows: TableStream) -> NDArray[Any]:
    """Compute the inputs of the score for ``rows``: (n, d), or (n, m) latents."""
    score = game.score
    assert isinstance(score, Score)
    if score.source == "input":
        return np.asarray(rows.rows.tensor(score.original, "rows").cpu())
    with torch.no_grad():
        blocks = [score.inputs(rows[block]) for block in rows.rows.blocks()]
    return np.asarray(torch.cat(blocks).cpu())


def player_data(game: Game, rows: TableStream) -> NDArray[Any]:
    """Compute the inputs of the score for ``rows``, see ``input_data``; means over groups, (n, p)."""
    data = input_data(game, rows)
    return game.players.means(data) if game.players else data
