"""captum's GradientShap: expected gradients, sampled for one row and one output at a time."""

import numpy as np
from captum.attr import GradientShap
from torch import Tensor

from shapae.backends.base import RowwiseBackend
from shapae.backends.external._captum import patched_copy
from shapae.backends.game import Game
from shapae.backends.gradient import ExpectedGradients
from shapae.utils.moments import Moments, concatenate

# Number of rows that stand for a weighted background, since captum weights all rows equally.
POOL = 2**14


class CaptumGradientShap(ExpectedGradients, RowwiseBackend):
    """Expected gradients of captum."""

    name = "captum_gradient_shap"
    quantity = "expected gradients by captum"

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        background, samples = game.resample(POOL, seed), row.repeat(self.n_samples, 1)
        with patched_copy(game.score) as copy:
            values = []
            for output in range(copy(row[None]).shape[1]):
                np.random.seed(seed)  # noqa: NPY002 (captum draws from it; the same samples for all outputs)
                found = GradientShap(copy).attribute(samples, background, n_samples=1, target=output)
                values.append(Moments.of_samples(found.detach().cpu().numpy()[..., None]))
        return concatenate(values, axis=2)
