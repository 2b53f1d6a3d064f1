"""Expected gradients, for any score that has a gradient: it needs no rules."""

import numpy as np
import torch
from torch import Tensor

from shapae.backends import Game, by_row
from shapae.heads.score import Differentiable
from shapae.utils.moments import Moments

ADDITIVE = False
REMEDY = "The score may jump, or have no gradient somewhere; use backend='deep' to see whether it agrees."
DRAWS = 200


def held(background: int, features: int) -> int:
    """See ``Backend.held``: as many rows as are drawn, out of the whole background."""
    return DRAWS


def attribute(game: Game, row: Tensor, seed: int) -> Moments:
    """E[(x - b) * grad score(b + t (x - b))] from 200 draws of b and t in [0, 1]; see ``by_row``.

    Reference:
        Erion et al., 2021, section 3, https://arxiv.org/abs/1906.10670
    """
    generator, background = np.random.default_rng(seed), game.background
    if game.weights is None:
        chosen = generator.integers(len(background), size=DRAWS)
    else:
        weights = game.weights.double().cpu().numpy()
        chosen = generator.choice(len(background), size=DRAWS, p=weights / weights.sum())
    drawn = background[torch.as_tensor(chosen, device=row.device)]
    way = torch.as_tensor(generator.random((DRAWS, 1))).to(row)
    points = (drawn + way * (row - drawn)).requires_grad_()
    outputs = Differentiable(game.score)(points).sum(dim=0)
    slopes = torch.stack([torch.autograd.grad(output, points, retain_graph=True)[0] for output in outputs], dim=-1)
    values = slopes * (row - drawn).unsqueeze(-1)  # (draws, d, k)
    mean = values.mean(dim=0, keepdim=True)
    return Moments(DRAWS, mean.cpu().numpy(), (values - mean).square().sum(dim=0, keepdim=True).cpu().numpy())


against = by_row(attribute)
