"""Shapley values of the expected loss: how much of what the model explains goes back to a feature."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.ranking.task import RankingTask, mean_and_error, shared_out

QUANTITIES = DEFAULT = ("",)


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """Shapley values of v(S) = - mean over rows x and background rows b of |f(x_S, b_rest) - x|^2 / d.

    They sum to the mean error of the reconstructions of background rows, compared with the rows, less that of the rows'
    own: to v(all) - v(none). Each row is led to from ``repeats`` background rows, in a random order of the players and
    in its reverse, which is exact where features act in pairs, as in a linear autoencoder. The standard errors are
    those over the rows, for this background.

    Covert et al. average the reconstructions over the background, and then take the loss; here the losses are averaged,
    so that these are also the mean SHAP values of the reconstruction error with a fixed target, but for their sign.

    Reference:
        Covert, Lundberg and Lee, 2020, section 3, https://arxiv.org/abs/2004.00668; for the reverse orders Mitchell et
        al., 2022, section 4.2, https://arxiv.org/abs/2104.12199
    """
    return mean_and_error(torch.from_numpy(shared_out(case, _of_rows, len(case.rows), "sage")))[:, None]


def _of_rows(case: RankingTask, part: slice) -> NDArray[Any]:
    return np.stack([_of_row(case, place) for place in range(part.start, part.stop)])


def _of_row(case: RankingTask, place: int) -> NDArray[Any]:
    """(p,), drawn by the seed and the place of the row."""
    rng = np.random.default_rng(np.random.SeedSequence(case.seed, spawn_key=(place,)))
    gains = np.zeros(len(case.players))
    for _ in range(case.repeats):
        start, order = case.background[rng.integers(len(case.background))], rng.permutation(len(gains))
        for way in (order, order[::-1].copy()):
            gains[way] += _walked(case, place, start, torch.from_numpy(way)) / (2 * case.repeats)
    return gains


def _walked(case: RankingTask, place: int, start: Tensor, order: Tensor) -> NDArray[Any]:
    """(p,): by how much the loss falls at each step from ``start`` to the row, when the players join in this order."""
    order = order.to(start.device)
    steps = torch.arange(len(order) + 1, device=start.device)
    joins = torch.empty_like(order).scatter_(0, order, steps[:-1])[case.player_of]
    mixed = torch.where(joins < steps.unsqueeze(1), case.rows[place], start)
    losses = (case.reconstruct(mixed) - case.target[place]).square().mean(dim=1)
    return np.asarray((losses[:-1] - losses[1:]).double().cpu())
