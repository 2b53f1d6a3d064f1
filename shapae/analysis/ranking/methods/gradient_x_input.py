"""The gradient of the reconstruction error, times the feature."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.ranking.task import Case, over_rows
from shapae.heads import ReconstructionError

COLUMNS = USUAL = ("moving", "fixed")


def measure(case: Case, columns: Sequence[str]) -> NDArray[Any]:
    """Mean over the rows of |x_i * d error(x) / d x_i|, for each target; see ``heads.ReconstructionError``.

    Of the features of one player the products are summed first.

    Reference:
        Shrikumar et al., 2016, https://arxiv.org/abs/1605.01713
    """
    return np.stack([over_rows(_products(case, column)) for column in columns], axis=1)


def _products(case: Case, target: str) -> Tensor:
    """(n, p), absolute."""
    head = ReconstructionError(target=target)
    parts = torch.split(case.rows, case.at_once)
    return case.sums(torch.cat([_slopes(head, case, part) for part in parts]) * case.rows).abs()


def _slopes(head: ReconstructionError, case: Case, rows: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = rows.clone().requires_grad_()
        given = [leaf, *([rows] if head.anchored else [])]
        # Connected by nothing, for a model that does not depend on its rows.
        errors = head(case.autoencoder, *given) + 0 * leaf[:, 0]
        return torch.autograd.grad(errors.sum(), leaf)[0]
