"""Permutation importance: the values of a feature are permuted among the rows."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.ranking.methods._perturbation import QUANTITIES, perturbation_effects
from shapae.analysis.ranking.task import Player, RankingTask, map_players, mean_and_error

DEFAULT = QUANTITIES


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Measure the effects of permutations, averaged over ``repeats`` permutations shared by all players.

    The features of a player are permuted jointly, so that their values still fit together. See
    ``_perturbation.perturbation_effects``.

    Reference:
        Breiman, 2001, section 10, https://doi.org/10.1023/A:1010933404324
    """
    importance = partial(_player_importance, quantities=quantities, permutations=_permutations(task))
    return map_players(task, importance, "permutation")


def joint_vs_separate(task: RankingTask) -> NDArray[Any]:
    """Measure each player's permutation importance for the error, of separate and of joint permutations.

    Returns:
        (p, 3, 2): the importances of its features, permuted one at a time, in total; of all of them, permuted jointly;
        and the difference; with standard errors. A positive difference: the features substitute for each other.
    """
    return map_players(task, partial(_joint_vs_separate, permutations=_permutations(task)), "correlated features")


def _permutations(task: RankingTask) -> NDArray[Any]:
    """Draw the permutations of the rows: (repeats, n)."""
    return np.random.default_rng(task.seed).permuted(np.tile(np.arange(len(task.rows)), (task.repeats, 1)), axis=1)


def _player_importance(
    task: RankingTask, player: Player, *, quantities: Sequence[str], permutations: NDArray[Any]
) -> NDArray[Any]:
    return mean_and_error(permutation_effects(task, player, quantities, permutations))


def _joint_vs_separate(task: RankingTask, player: Player, *, permutations: NDArray[Any]) -> NDArray[Any]:
    joint, *separate = (
        permutation_effects(task, each, ["error"], permutations)[:, 0] for each in (player, *((j,) for j in player))
    )
    total = torch.stack(separate).sum(dim=0)
    return mean_and_error(torch.stack([total, joint, joint - total], dim=1))


def permutation_effects(
    task: RankingTask, player: Player, quantities: Sequence[str], permutations: NDArray[Any]
) -> Tensor:
    """Compute per-row contributions to the permutation importance; their mean over rows is the importance.

    A row takes part in two effects of each permutation: as receiver of another row's values, and as donor of its own.
    The standard deviation of both together shows the variation of the mean over other samples of rows; it is slightly
    too large for few permutations. The effects as receiver alone would show only half of the variation.

    Args:
        task: Data and settings, with n rows.
        player: Features that are permuted jointly.
        quantities: q quantities, see ``perturbation_effects``.
        permutations: (repeats, n). Position of the donor of each row.

    Returns:
        (n, q).

    Reference:
        Hoeffding, 1948, section 5, https://doi.org/10.1214/aoms/1177730196: the mean is nearly a U-statistic
    """
    as_receiver, as_donor = (torch.zeros(len(task.rows), len(quantities), dtype=torch.float64) for _ in range(2))
    for donors in torch.from_numpy(permutations):
        values = task.rows[donors.to(task.rows.device)][:, list(player)]
        effects = perturbation_effects(task, player, values, quantities).double().cpu() / len(permutations)
        as_receiver += effects
        as_donor[donors] += effects
    return as_receiver + as_donor - as_donor.mean(dim=0)
