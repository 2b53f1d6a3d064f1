"""captum's GradientShap: expected gradients, sampled for one row and one output at a time."""

import numpy as np
import torch
from captum.attr import GradientShap
from torch import Tensor

from shapae.backends.base import RowwiseBackend
from shapae.backends.external._captum import patched_copy
from shapae.backends.game import Game
from shapae.utils.moments import Moments

# Number of rows that stand for a weighted background, since captum weights all rows equally.
POOL = 2**14


class CaptumGradientShap(RowwiseBackend):
    """Expected gradients of captum: E[(x - b) * grad score(b + t (x - b))] over background rows b and t in [0, 1].

    Reference:
        Erion et al., 2021, section 3, https://arxiv.org/abs/1906.10670
    """

    additive = False
    hint = "The gradient may jump or be missing somewhere. Use backend='deep' to see whether it agrees."
    n_samples = 200

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: the samples, from the whole background."""
        return self.n_samples

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        background, samples = game.resample(POOL, seed), row.repeat(self.n_samples, 1)
        with patched_copy(game.score) as copy:
            values = []
            for output in range(copy(row[None]).shape[1]):
                np.random.seed(seed)  # noqa: NPY002 (captum draws from it; the same samples for all outputs)
                values.append(GradientShap(copy).attribute(samples, background, n_samples=1, target=output))
        stacked = torch.stack(values, dim=-1).detach()  # (samples, d, k)
        mean = stacked.mean(dim=0, keepdim=True)
        squares = (stacked - mean).square().sum(dim=0, keepdim=True)
        return Moments(self.n_samples, mean.cpu().numpy(), squares.cpu().numpy())
