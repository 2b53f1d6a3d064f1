"""SAGE: Shapley values of the expected loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.ranking.task import RankingTask, map_slices, mean_and_error
from shapae.utils.random import generator

QUANTITIES = DEFAULT = ("",)


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Estimate Shapley values of v(S) = - mean over rows x and background rows b of |f(x_S, b_rest) - x|^2 / d.

    They sum to v(all) - v(none): the mean error of the reconstructions of background rows as reconstructions of the
    rows, minus the mean error of the rows' own reconstructions. For each row, ``repeats`` background rows are drawn,
    each with a random permutation of the players and its reverse. Pairs of reverse permutations are exact if features
    interact in pairs, as in a linear autoencoder. The standard errors are over the rows, for this background.

    Covert et al. average the reconstructions over the background before the loss. Here the losses are averaged, so the
    values are the negative mean SHAP values of the reconstruction error with a fixed target.

    Reference:
        Covert, Lundberg and Lee, 2020, section 3, https://arxiv.org/abs/2004.00668; for the reverse permutations
        Mitchell et al., 2022, section 4.2, https://arxiv.org/abs/2104.12199
    """
    return mean_and_error(torch.from_numpy(map_slices(task, _values_of_slice, len(task.rows), "sage")))[:, None]


def _values_of_slice(task: RankingTask, rows: slice) -> NDArray[Any]:
    return np.stack([_row_values(task, position) for position in range(rows.start, rows.stop)])


def _row_values(task: RankingTask, position: int) -> NDArray[Any]:
    """Estimate the Shapley values (p,) of one row, with a random seed of its own."""
    rng = generator(task.seed, position)
    values = np.zeros(len(task.players))
    for _ in range(task.repeats):
        start, order = task.background[rng.integers(len(task.background))], rng.permutation(len(values))
        for permutation in (order, order[::-1].copy()):
            gains = _marginal_gains(task, position, start, torch.from_numpy(permutation))
            values[permutation] += gains / (2 * task.repeats)
    return values


def _marginal_gains(task: RankingTask, position: int, start: Tensor, order: Tensor) -> NDArray[Any]:
    """Compute the fall of the loss (p,) at each step from ``start`` to the row, as the players join in ``order``."""
    order = order.to(start.device)
    steps = torch.arange(len(order) + 1, device=start.device)
    joining_step = torch.empty_like(order).scatter_(0, order, steps[:-1])[task.player_of_feature]
    mixed = torch.where(joining_step < steps.unsqueeze(1), task.rows[position], start)
    losses = (task.reconstruct(mixed) - task.target[position]).square().mean(dim=1)
    return np.asarray((losses[:-1] - losses[1:]).double().cpu())
