"""captum's DeepLiftShap: DeepLIFT's rescale rule through hooks on modules, one row and one output at a time."""

import torch
from captum.attr import DeepLiftShap
from torch import Tensor

from shapae.backends.base import RowwiseBackend
from shapae.backends.external._captum import patched_copy
from shapae.backends.game import Game
from shapae.utils.moments import Moments


class CaptumDeep(RowwiseBackend):
    """DeepSHAP values of captum. Nothing is sampled.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """

    name = "captum_deep"
    quantity = "DeepLIFT approximation of Shapley values by captum"
    hint = (
        "captum sees torch's own elementwise modules only: functional calls, softmax, layer norm, attention and "
        "products, in the model or in a head, get plain gradients. Use backend='deep'."
    )

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        weights = game.background_weights
        share = (weights / weights.mean()).unsqueeze(1)
        # captum refuses a background of one row.
        background, share = (torch.cat([each, each]) if len(each) == 1 else each for each in (game.background, share))

        def weighted(multipliers: tuple[Tensor], x: tuple[Tensor], b: tuple[Tensor]) -> tuple[Tensor]:
            """Weight captum's own products, which it averages over the background."""
            return ((x[0] - b[0]) * multipliers[0] * share,)

        with patched_copy(game.score) as copy:
            explain, one = DeepLiftShap(copy).attribute, row[None]
            outputs = range(copy(one).shape[1])
            values = [explain(one, background, output, custom_attribution_func=weighted) for output in outputs]
        return Moments(float(weights.sum()), torch.stack(values, dim=-1).detach().cpu().numpy())
