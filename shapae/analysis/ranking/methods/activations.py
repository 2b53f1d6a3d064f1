"""Share of a feature in the activations of the latents."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from shapae.analysis.ranking.task import Player, RankingTask, map_players, mean_and_error

QUANTITIES = DEFAULT = ("",)


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Measure the mean absolute change of the latents if a feature is set to its mean over the background.

    mean over rows x and units k of |e_k(x) - e_k(x')|, with e the encoder, and x' equal to x except for the feature.
    An activation itself belongs to no feature; its change after the ablation of a feature does, whatever the layers.

    Raises:
        ModelError: The model has no known encoder.
    """
    task.encode(task.rows[:1])
    return map_players(task, _latent_change, "activations")


def _latent_change(task: RankingTask, player: Player) -> NDArray[Any]:
    ablated = task.encode(task.replace_features(player, task.background_mean[list(player)]))
    return mean_and_error((ablated - task.latents).abs().mean(dim=1, keepdim=True))
