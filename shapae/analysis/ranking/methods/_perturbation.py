"""Effects of a perturbation: some features of the rows get other values."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.ranking.task import Player, RankingTask, map_players, mean_and_error


def _error_increase(task: RankingTask, reconstruction: Tensor) -> Tensor:
    return (reconstruction - task.target).square().mean(dim=1) - task.errors


def _reconstruction_change(task: RankingTask, reconstruction: Tensor) -> Tensor:
    return (reconstruction - task.reconstruction).square().mean(dim=1)


_MEASURES = {"error": _error_increase, "reconstruction": _reconstruction_change}
QUANTITIES = tuple(_MEASURES)


def perturbation_effects(task: RankingTask, player: Player, values: Tensor, quantities: Sequence[str]) -> Tensor:
    """Measure the effect of a perturbation on each row.

    "error": rise of the mean squared error. The target is the unperturbed row; otherwise a model that copies its input
    would need no feature. "reconstruction": mean squared change of the reconstruction.

    Args:
        task: Data and settings, with n rows.
        player: m features.
        values: (n, m) or (m,). New values of these features.
        quantities: q of ``QUANTITIES``.

    Returns:
        (n, q).
    """
    reconstruction = task.reconstruct(task.replace_features(player, values))
    return torch.stack([_MEASURES[quantity](task, reconstruction) for quantity in quantities], dim=1)


def ablate(task: RankingTask, quantities: Sequence[str], baseline: Tensor, label: str) -> NDArray[Any]:
    """Average the effects of setting a player to the values of ``baseline`` (d,); see ``Method.measure``."""
    return map_players(task, partial(_ablate_player, quantities=quantities, baseline=baseline), label)


def _ablate_player(task: RankingTask, player: Player, *, quantities: Sequence[str], baseline: Tensor) -> NDArray[Any]:
    return mean_and_error(perturbation_effects(task, player, baseline[list(player)], quantities))
