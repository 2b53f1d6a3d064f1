"""What becomes of a row when some of its features get other values."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.ranking.task import Player, RankingTask, map_players, mean_and_error


def _error_increase(case: RankingTask, rebuilt: Tensor) -> Tensor:
    return (rebuilt - case.target).square().mean(dim=1) - case.errors


def _reconstruction_change(case: RankingTask, rebuilt: Tensor) -> Tensor:
    return (rebuilt - case.reconstruction).square().mean(dim=1)


_MEASURES = {"error": _error_increase, "reconstruction": _reconstruction_change}
QUANTITIES = tuple(_MEASURES)


def perturbation_effects(case: RankingTask, player: Player, values: Tensor, columns: Sequence[str]) -> Tensor:
    """How far each row moves.

    "error": the rise of its mean squared error, still compared with the row as it was; otherwise a model that copies
    its input would need nothing. "reconstruction": the mean squared change of its reconstruction.

    Args:
        case: With n rows.
        player: m features.
        values: (n, m) or (m,), what they get.
        columns: q of ``QUANTITIES``.

    Returns:
        (n, q).
    """
    rebuilt = case.reconstruct(case.replaced(player, values))
    return torch.stack([_MEASURES[column](case, rebuilt) for column in columns], dim=1)


def ablated(case: RankingTask, columns: Sequence[str], point: Tensor, what: str) -> NDArray[Any]:
    """How far the rows move on average where a player has the values of ``point`` (d,); see ``Method.measure``."""
    return map_players(case, partial(_of_player, columns=columns, point=point), what)


def _of_player(case: RankingTask, player: Player, *, columns: Sequence[str], point: Tensor) -> NDArray[Any]:
    return mean_and_error(perturbation_effects(case, player, point[list(player)], columns))
