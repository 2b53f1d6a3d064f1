"""Expected gradients, for any score that has a gradient: no rules are needed."""

import numpy as np
import torch
from torch import Tensor, nn

from shapae.backends.base import RowwiseBackend
from shapae.backends.game import Game
from shapae.utils.moments import Moments


class Differentiable(nn.Module):
    """A score that depends on its rows, if only by nothing: autograd refuses one that does not depend on them."""

    def __init__(self, score: nn.Module) -> None:
        super().__init__()
        self.score = score

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, k)."""
        numbers: Tensor = self.score(rows) + 0 * rows[:, :1]
        return numbers


class ExpectedGradients(RowwiseBackend):
    """Base class: E[(x - b) * grad score(b + t (x - b))] over background rows b and t in [0, 1].

    Reference:
        Erion et al., 2021, section 3, https://arxiv.org/abs/1906.10670
    """

    additive = False
    needs_gradients = True
    hint = (
        "The score may jump, be steep, or have no gradient somewhere. backend='sampling' needs no gradients, nor does "
        "backend='exact' for at most 12 features or groups."
    )
    n_samples = 200

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: the samples, from the whole background."""
        return self.n_samples


class Gradient(ExpectedGradients):
    """Expected gradients of shapae's own sampler."""

    name = "gradient"

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        n, generator, background = self.n_samples, np.random.default_rng(seed), game.background
        if game.weights is None:
            chosen = generator.integers(len(background), size=n)
        else:
            weights = game.weights.double().cpu().numpy()
            chosen = generator.choice(len(background), size=n, p=weights / weights.sum())
        sampled = background[torch.as_tensor(chosen, device=row.device)]
        fraction = torch.as_tensor(generator.random((n, 1))).to(row)
        points = (sampled + fraction * (row - sampled)).requires_grad_()
        outputs = Differentiable(game.score)(points).sum(dim=0)
        slopes = torch.stack([torch.autograd.grad(output, points, retain_graph=True)[0] for output in outputs], dim=-1)
        return Moments.of_samples((slopes * (row - sampled).unsqueeze(-1)).cpu().numpy())
