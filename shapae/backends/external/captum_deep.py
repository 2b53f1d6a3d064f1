"""captum's DeepLiftShap: DeepLIFT's rescale rule through hooks on modules, one row and one output at a time."""

import torch
from captum.attr import DeepLiftShap
from torch import Tensor

from shapae.backends import Game, by_row
from shapae.backends.external._captum import lent
from shapae.utils.moments import Moments

ADDITIVE = True
DRAWS = 0
PLAYERS = False
REMEDY = (
    "captum sees torch's own elementwise modules only: functional calls, softmax, layer norm, attention and products, "
    "in the model or in a head, get plain gradients. Use backend='deep'."
)


def held(background: int, features: int) -> int:
    """See ``Backend.held``: the background, and the row as many times."""
    return 2 * background


def attribute(game: Game, row: Tensor, seed: int) -> Moments:
    """DeepSHAP values; see ``by_row``. Nothing is drawn.

    Reference:
        Lundberg and Lee, 2017, section 4.2, https://arxiv.org/abs/1705.07874
    """
    share = (game.counts / game.counts.mean()).unsqueeze(1)
    # captum refuses a background of one row.
    background, share = (torch.cat([each, each]) if len(each) == 1 else each for each in (game.background, share))

    def weighted(multipliers: tuple[Tensor], x: tuple[Tensor], b: tuple[Tensor]) -> tuple[Tensor]:
        """captum's own products, which it averages over the background, weighted."""
        return ((x[0] - b[0]) * multipliers[0] * share,)

    with lent(game.score) as copy:
        explain, one = DeepLiftShap(copy).attribute, row[None]
        outputs = range(copy(one).shape[1])
        values = [explain(one, background, output, custom_attribution_func=weighted) for output in outputs]
    return Moments(float(game.counts.sum()), torch.stack(values, dim=-1).detach().cpu().numpy())


against = by_row(attribute)
