"""What becomes of the rows when a feature is shuffled among them."""

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


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """Measure the perturbation effects of shuffles, averaged over ``repeats`` shuffles that all players share.

    See ``_perturbation.perturbation_effects``.

    The features of a player are shuffled with one permutation, so that they still fit together.

    Reference:
        Breiman, 2001, section 10, https://doi.org/10.1023/A:1010933404324
    """
    return map_players(case, partial(_of_player, columns=columns, donors=_permutations(case)), "permutation")


def joint_vs_separate(case: RankingTask) -> NDArray[Any]:
    """The error's importance of each player with its features shuffled one by one, in sum; as one; and the difference.

    Returns:
        (p, 3, 2): with their standard errors. A positive difference: the features stand in for each other.
    """
    return map_players(case, partial(_joint_vs_separate, donors=_permutations(case)), "correlated features")


def _permutations(case: RankingTask) -> NDArray[Any]:
    """(repeats, n)."""
    return np.random.default_rng(case.seed).permuted(np.tile(np.arange(len(case.rows)), (case.repeats, 1)), axis=1)


def _of_player(case: RankingTask, player: Player, *, columns: Sequence[str], donors: NDArray[Any]) -> NDArray[Any]:
    return mean_and_error(permutation_effects(case, player, columns, donors))


def _joint_vs_separate(case: RankingTask, player: Player, *, donors: NDArray[Any]) -> NDArray[Any]:
    one, *alone = (
        permutation_effects(case, each, ["error"], donors)[:, 0] for each in (player, *((j,) for j in player))
    )
    summed = torch.stack(alone).sum(dim=0)
    return mean_and_error(torch.stack([summed, one, one - summed], dim=1))


def permutation_effects(case: RankingTask, player: Player, columns: Sequence[str], donors: NDArray[Any]) -> Tensor:
    """What each row is part of, whose mean is the importance.

    A row is part of two moves in each shuffle: its own, and that of the row to which it gives its values. The spread of
    both together says how much the mean would change with other rows, and a bit more where there are few shuffles. That
    of its own move alone would say half of it.

    Args:
        case: With n rows.
        player: The features that are shuffled together.
        columns: See ``perturbation_effects``.
        donors: (repeats, n), for each row the one whose values it gets.

    Returns:
        (n, q).

    Reference:
        Hoeffding, 1948, section 5, https://doi.org/10.1214/aoms/1177730196: the mean is nearly a U-statistic
    """
    received, given = (torch.zeros(len(case.rows), len(columns), dtype=torch.float64) for _ in range(2))
    for donor in torch.from_numpy(donors):
        values = case.rows[donor.to(case.rows.device)][:, list(player)]
        moved = perturbation_effects(case, player, values, columns).double().cpu() / len(donors)
        received += moved
        given[donor] += moved
    return received + given - given.mean(dim=0)
