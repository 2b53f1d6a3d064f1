"""shap.GradientExplainer: expected gradients, drawn for one row and one output at a time."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import shap
import torch
from torch import Tensor, nn

from shapae.backends import Attribution, Game
from shapae.backends.external._shap import lent
from shapae.utils.moments import Moments

ADDITIVE = False
REMEDY = "The gradient may jump or be missing somewhere; use backend='deep' to see whether it agrees."
DRAWS = 200
# Rows that stand for a weighted background.
POOL = 5 * DRAWS


def held(background: int, features: int) -> int:
    """See ``Backend.held``: as many rows as are drawn, out of the whole background."""
    return DRAWS


def against(game: Game) -> Attribution:
    """See ``Backend.against``."""
    return partial(attribute, game)


def attribute(game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    """E[(x - b) * grad score(b + t (x - b))] from 200 draws of b and t in [0, 1]; see ``Attribution``.

    Reference:
        Erion et al., 2021, section 3, https://arxiv.org/abs/1906.10670
    """
    parts = [_of_one_row(game, row, seed) for row, seed in zip(rows, seeds, strict=True)]
    mean, spread = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Moments(DRAWS, mean, spread)


def _of_one_row(game: Game, row: Tensor, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sum of squared deviations: (1, d, k) each."""
    with lent(game.score) as copy:
        explainer = shap.GradientExplainer(_Cast(copy, row.dtype), _drawn(game, seed))
        values, variances = explainer.shap_values(row[None], nsamples=DRAWS, rseed=seed, return_variances=True)
    # shap divides the variance of the draws by the root of their number, and means the variance of their mean.
    return values, np.stack(variances, axis=-1) * DRAWS**1.5


def _drawn(game: Game, seed: int) -> Tensor:
    """(m, d): rows of the background, each as often as its weight says: shap counts all the same.

    Of systematic samples: each is there to the nearest whole number of times, and as often as its weight on average.
    """
    if game.weights is None:
        return game.background
    upto = np.cumsum(game.weights.double().cpu().numpy())
    at = (np.random.default_rng(seed).random() + np.arange(POOL)) * upto[-1] / POOL
    return game.background[torch.as_tensor(np.searchsorted(upto, at, side="right"), device=game.background.device)]


class _Cast(nn.Module):
    """A score that takes rows in shap's float32 whatever its own dtype is."""

    def __init__(self, score: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.score, self.dtype = score, dtype

    def forward(self, rows: Tensor) -> Tensor:
        numbers: Tensor = self.score(rows.to(self.dtype))
        return numbers
