"""captum's GradientShap: expected gradients, drawn for one row and one output at a time."""

import numpy as np
import torch
from captum.attr import GradientShap
from torch import Tensor

from shapae.backends import Game, by_row
from shapae.backends.external._captum import lent
from shapae.utils.moments import Moments

ADDITIVE = False
DRAWS = 200
PLAYERS = False
REMEDY = "The gradient may jump or be missing somewhere; use backend='deep' to see whether it agrees."
# captum draws from rows of equal weight: so many, each as often as its weight says, to one.
COPIES = 2**14


def held(background: int, features: int) -> int:
    """See ``Backend.held``: as many rows as are drawn, out of the whole background."""
    return DRAWS


def attribute(game: Game, row: Tensor, seed: int) -> Moments:
    """E[(x - b) * grad score(b + t (x - b))] from 200 draws of b and t in [0, 1]; see ``by_row``.

    Reference:
        Erion et al., 2021, section 3, https://arxiv.org/abs/1906.10670
    """
    background, draws = _equal(game, seed), row.repeat(DRAWS, 1)
    with lent(game.score) as copy:
        values = []
        for output in range(copy(row[None]).shape[1]):
            np.random.seed(seed)  # noqa: NPY002 (captum draws from it; the same for all outputs)
            values.append(GradientShap(copy).attribute(draws, background, n_samples=1, target=output))
    found = torch.stack(values, dim=-1).detach()  # (draws, d, k)
    mean = found.mean(dim=0, keepdim=True)
    return Moments(DRAWS, mean.cpu().numpy(), (found - mean).square().sum(dim=0, keepdim=True).cpu().numpy())


def _equal(game: Game, seed: int) -> Tensor:
    """The background; where it is weighted, many of its rows, which stand for it without weights."""
    if game.weights is None:
        return game.background
    ends, generator = game.weights.double().cumsum(0), np.random.default_rng(seed)
    at = (torch.arange(COPIES) + generator.random()) / COPIES
    chosen = torch.searchsorted(ends / ends[-1], at.to(ends), right=True).clamp(max=len(ends) - 1)
    return game.background[chosen]


against = by_row(attribute)
