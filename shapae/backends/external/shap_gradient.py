"""shap.GradientExplainer: expected gradients, sampled for one row and one output at a time."""

import numpy as np
import shap
import torch
from torch import Tensor, nn

from shapae.backends.external._shap import patched_copy
from shapae.backends.game import Game
from shapae.backends.gradient import ExpectedGradients
from shapae.utils.moments import Moments

# Number of rows that stand for a weighted background, since shap weights all rows equally.
POOL = 1000


class ShapGradient(ExpectedGradients):
    """Expected gradients of shap."""

    name = "shap_gradient"

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        n = self.n_samples
        with patched_copy(game.score) as copy:
            explainer = shap.GradientExplainer(_Cast(copy, row.dtype), game.resample(POOL, seed))
            values, variances = explainer.shap_values(row[None], nsamples=n, rseed=seed, return_variances=True)
        # shap divides the variance of the samples by the root of their number, and means the variance of their mean.
        return Moments(n, values, np.stack(variances, axis=-1) * n**1.5)


class _Cast(nn.Module):
    """A score that takes rows in shap's float32, whatever its own dtype is."""

    def __init__(self, score: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.score, self.dtype = score, dtype

    def forward(self, rows: Tensor) -> Tensor:
        numbers: Tensor = self.score(rows.to(self.dtype))
        return numbers
