"""How much of the latents' activations goes back to a feature."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from shapae.analysis.ranking.task import Player, RankingTask, map_players, mean_and_error

QUANTITIES = DEFAULT = ("",)


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """Mean absolute change of the latents where a feature is set to its mean over the background.

    mean over rows x and units k of |e_k(x) - e_k(x')|, x' = x but for the feature; with e the encoder. An activation by
    itself belongs to no feature; what it loses without one does, whatever lies between the two.

    Raises:
        ModelError: It is not known how the model encodes.
    """
    case.encode(case.rows[:1])
    return map_players(case, _of_player, "activations")


def _of_player(case: RankingTask, player: Player) -> NDArray[Any]:
    without = case.encode(case.replaced(player, case.background_mean[list(player)]))
    return mean_and_error((without - case.latents).abs().mean(dim=1, keepdim=True))
