"""Gradient of the reconstruction error, times the feature."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.ranking.task import RankingTask, mean_and_error
from shapae.heads import ReconstructionError
from shapae.utils.memory import batched

QUANTITIES = DEFAULT = ("moving", "fixed")


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Average |x_i * d error(x) / d x_i| over the rows, for each target; see ``heads.ReconstructionError``.

    The products of all features of a player are summed before the absolute value.

    Reference:
        Shrikumar et al., 2016, https://arxiv.org/abs/1605.01713
    """
    return np.stack([mean_and_error(_absolute_products(task, target)) for target in quantities], axis=1)


def _absolute_products(task: RankingTask, target: str) -> Tensor:
    """Compute |gradient x input| of each player: (n, p)."""
    gradient = partial(_gradient, ReconstructionError(target=target), task)
    return task.sum_by_player(batched(gradient, task.rows, task.batch_size) * task.rows).abs()


def _gradient(head: ReconstructionError, task: RankingTask, rows: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = rows.clone().requires_grad_()
        arguments = [leaf, *([rows] if head.anchored else [])]
        # Plus 0, so that a graph leads to the rows even if the model does not depend on them.
        errors = head(task.autoencoder, *arguments) + 0 * leaf[:, 0]
        return torch.autograd.grad(errors.sum(), leaf)[0]
