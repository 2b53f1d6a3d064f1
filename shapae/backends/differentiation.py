"""Gradients of a score with respect to its rows."""

import torch
from torch import Tensor, nn

from shapae.backends.game import Game
from shapae.utils.blocks import block_bytes, block_rows
from shapae.utils.memory import batches

# Largest number of points that a score is run on at once, so that they stay in the cache of a processor; and bytes of
# their gradients.
POINTS, GRADIENT_BYTES = 2**11, 2**24


class Differentiable(nn.Module):
    """A score that depends on its rows, if only by nothing: autograd refuses one that does not depend on them."""

    def __init__(self, score: nn.Module) -> None:
        super().__init__()
        self.score = score

    def forward(self, rows: Tensor, *anchors: Tensor) -> Tensor:
        """(n, d) -> (n, k)."""
        numbers: Tensor = self.score(rows, *anchors) + 0 * rows[:, :1]
        return numbers


class SomeOutputs(nn.Module):
    """Some of the outputs of a score."""

    def __init__(self, score: nn.Module, chosen: slice) -> None:
        super().__init__()
        self.score, self.chosen = score, chosen

    def forward(self, rows: Tensor, *anchors: Tensor) -> Tensor:
        """(n, d) -> (n, outputs)."""
        numbers: Tensor = self.score(rows, *anchors)[:, self.chosen]
        return numbers


def outputs_at_once(game: Game, k: int, points: int) -> list[slice]:
    """Cut k outputs into blocks whose gradients at all ``points`` of one row are held at once."""
    like = game.background
    size = block_bytes(GRADIENT_BYTES, like) // (game.n_features * points * like.element_size())
    return batches(k, max(1, size))


def points_at_once(game: Game, k: int) -> int:
    """Compute the number of points whose gradients, (d, k) each, are computed at once."""
    like = game.background
    room = block_bytes(GRADIENT_BYTES, like) // (game.n_features * k * like.element_size())
    return max(2, min(game.batch_size, block_rows(POINTS, like), room))


def count_outputs(game: Game, *anchors: Tensor) -> int:
    """Count the outputs of the score of a game, k, whose first anchor is given if it is anchored."""
    with torch.no_grad():
        return int(game.score(game.background[:1], *(each[:1] for each in anchors)).shape[1])


def gradients(score: nn.Module, points: Tensor, *anchors: Tensor, batch_size: int) -> Tensor:
    """Compute the gradients of all outputs of a score.

    Args:
        score: From rows (n, d) to scores (n, k); each score depends on its own row only.
        points: (n, d).
        anchors: (n, a), if the score is anchored.
        batch_size: Number of points that the score is run on at once.

    Returns:
        (n, d, k), detached.
    """
    tables = (points, *anchors)
    parts = [_gradients(score, *(table[rows] for table in tables)) for rows in batches(len(points), batch_size)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _gradients(score: nn.Module, points: Tensor, *anchors: Tensor) -> Tensor:
    with torch.enable_grad():
        leaves = points.detach().requires_grad_()
        outputs = Differentiable(score)(leaves, *anchors).sum(dim=0)
        last = len(outputs) - 1
        parts = [torch.autograd.grad(each, leaves, retain_graph=k < last)[0] for k, each in enumerate(outputs)]
        return torch.stack(parts, dim=-1)
