"""shap.DeepExplainer: DeepLIFT's rescale rule through hooks on modules, one row and one output at a time."""

from collections.abc import Sequence
from functools import partial

import shap
from torch import Tensor

from shapae.backends import Attribution
from shapae.backends._shap import lent
from shapae.moments import Moments
from shapae.score import Score

ADDITIVE = True
DRAWS = 0
REMEDY = (
    "shap sees torch's own elementwise modules only, each once: functional calls, a module used twice, softmax, layer "
    "norm, attention and products, in the model or in a head, get plain gradients. Use backend='deep'."
)


def held(background: int, features: int) -> int:
    """See ``Backend.held``: the background, and the row as many times."""
    return 2 * background


def against(score: Score, background: Tensor) -> Attribution:
    """See ``Backend.against``."""
    return partial(attribute, score, background)


def attribute(score: Score, background: Tensor, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    """DeepSHAP values; see ``Attribution``. Nothing is drawn.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """
    with lent(score) as copy:
        values = shap.DeepExplainer(copy, background).shap_values(rows, check_additivity=False)
    return Moments(len(background), values)
