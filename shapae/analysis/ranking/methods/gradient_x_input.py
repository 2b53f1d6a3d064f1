"""The gradient of the reconstruction error, times the feature."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.ranking.task import RankingTask, mean_and_error
from shapae.heads import ReconstructionError

QUANTITIES = DEFAULT = ("moving", "fixed")


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """Mean over the rows of |x_i * d error(x) / d x_i|, for each target; see ``heads.ReconstructionError``.

    Of the features of one player the products are summed first.

    Reference:
        Shrikumar et al., 2016, https://arxiv.org/abs/1605.01713
    """
    return np.stack([mean_and_error(_products(case, column)) for column in columns], axis=1)


def _products(case: RankingTask, target: str) -> Tensor:
    """(n, p), absolute."""
    head = ReconstructionError(target=target)
    parts = torch.split(case.rows, case.batch_size)
    return case.sums(torch.cat([_slopes(head, case, part) for part in parts]) * case.rows).abs()


def _slopes(head: ReconstructionError, case: RankingTask, rows: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = rows.clone().requires_grad_()
        given = [leaf, *([rows] if head.anchored else [])]
        # Connected by nothing, for a model that does not depend on its rows.
        errors = head(case.autoencoder, *given) + 0 * leaf[:, 0]
        return torch.autograd.grad(errors.sum(), leaf)[0]
