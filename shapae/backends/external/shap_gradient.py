"""shap.GradientExplainer: expected gradients, sampled for one row and one output at a time."""

import numpy as np
import shap
import torch
from torch import Tensor, nn

from shapae.backends.base import RowwiseBackend
from shapae.backends.external._shap import patched_copy
from shapae.backends.game import Game
from shapae.backends.gradient import ExpectedGradients
from shapae.utils.moments import Moments

# Number of rows that stand for a weighted background, since shap weights all rows equally.
POOL = 1000


class ShapGradient(ExpectedGradients, RowwiseBackend):
    """Expected gradients of shap."""

    name = "shap_gradient"
    quantity = "expected gradients by shap"

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        n, pool, one = self.n_samples, game.resample(POOL, seed), row[None]
        ends = torch.cat([pool, pool[:, :1] * 0], dim=1), torch.cat([one, one[:, :1] * 0 + 1], dim=1)
        with patched_copy(game.score) as copy:
            explainer = shap.GradientExplainer(_OnTheWay(copy, row), ends[0])
            values, variances = explainer.shap_values(ends[1], nsamples=n, rseed=seed, return_variances=True)
        # shap divides the variance of the samples by the root of their number, and means the variance of their mean.
        squares = np.stack(variances, axis=-1) * n**1.5
        sums = Moments(n, values[:, -1:], squares[:, -1:])
        return Moments(n, values[:, :-1], squares[:, :-1], sums=sums)


class _OnTheWay(nn.Module):
    """A score of points on the way to ``row``, with the fraction of the way that lies behind each as a last column.

    The gradient of the last column is the derivative along the way: its value is the sum of the values of all features.
    Points come in shap's float32, whatever the dtype of the score is.
    """

    def __init__(self, score: nn.Module, row: Tensor) -> None:
        super().__init__()
        self.score, self.row = score, row

    def forward(self, points: Tensor) -> Tensor:
        points = points.to(self.row.dtype)
        rows, fraction = points[:, :-1], points[:, -1:]
        way = (self.row - rows.detach()) / (1 - fraction.detach()).clamp(min=1e-6)
        numbers: Tensor = self.score(rows + (fraction - fraction.detach()) * way)
        return numbers
