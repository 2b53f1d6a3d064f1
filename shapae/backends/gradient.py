"""Expected gradients, for any score that has a gradient: no rules are needed."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.backends.base import AnchoredAttribution, Attribution, Backend
from shapae.backends.differentiation import gradients
from shapae.backends.game import Game
from shapae.backends.sampling import sample_background
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, concatenate

# Largest number of points that the score is run on at once, so that they stay in a cache.
BATCH_POINTS = 2**10
# Smallest number of background rows that are visited a second time, and their part of all: they give the standard
# errors.
MIN_REPEATS, REPEATS = 8, 1 / 4


class ExpectedGradients(Backend):
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
    unit = "gradients"

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: the samples, from the whole background."""
        return self.n_samples


class _Draws(NamedTuple):
    """Samples of one row.

    Attributes:
        background: (m,), positions of background rows.
        fraction: (m,), t of each, at most 1/2; each is visited at t and at 1 - t.
        share: (main,), part of the whole that each of the first samples stands for. The others are visits of the first
            background rows, or of their neighbours, at another t.
    """

    background: NDArray[Any]
    fraction: NDArray[Any]
    share: NDArray[Any]


class Gradient(ExpectedGradients):
    """Expected gradients of shapae's own sampler.

    Up to 150 background rows are all visited, in proportion to their weights, once at t and once at 1 - t, where t is
    stratified over them; of more rows some are sampled in proportion to their weights. A quarter of them are visited
    again: the difference of two visits, less a quadratic function of t that all rows share (the strata take its error
    away), gives the standard errors.

    Reference:
        Erion et al., 2021, section 3; McKay, Beckman and Conover, 1979 (Latin hypercube sampling)
    """

    name = "gradient"
    quantity = "expected gradients"

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: two points."""
        return 2

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(self._attribute, game)

    def bind_anchored(self, game: Game, anchors: Tensor) -> AnchoredAttribution:
        """See ``Backend.bind_anchored``: the gradients of several rows are computed at once."""
        return partial(self._attribute, game)

    def _attribute(self, game: Game, rows: Tensor, *anchors: Tensor, seeds: Sequence[int]) -> Moments:
        weights = np.asarray(game.background_weights.cpu())
        pairs, size = self.samples(game) // 2, min(game.batch_size, BATCH_POINTS)
        parts = []
        for few in batches(len(rows), max(1, size // (3 * pairs))):
            draws = [_draw(weights, pairs, np.random.default_rng(seed)) for seed in seeds[few]]
            fractions = torch.from_numpy(np.stack([each.fraction for each in draws])).to(rows)
            chosen = torch.from_numpy(np.stack([each.background for each in draws])).to(rows.device)
            tables = (rows[few], *(each[few] for each in anchors))
            changes = _changes(game, game.background[chosen], fractions, *tables, batch_size=size)
            parts.append(_moments(changes, fractions, torch.from_numpy(draws[0].share).to(rows)))
        return concatenate(parts, axis=0)


def _draw(weights: NDArray[Any], pairs: int, generator: np.random.Generator) -> _Draws:
    twos, share = sample_background(weights, pairs, generator)
    order = generator.permutation(len(twos))
    twos, share, main = twos[order], share[order], len(twos)
    repeats = min(main, max(MIN_REPEATS, round(main * REPEATS)))
    strata = (generator.permutation(main) + generator.random(main)) / main
    fraction = np.concatenate([strata, generator.random(repeats)]) / 2
    return _Draws(np.concatenate([twos[:, 0], twos[:repeats, 1]]), fraction, share)


def _changes(
    game: Game, background: Tensor, fractions: Tensor, rows: Tensor, *anchors: Tensor, batch_size: int
) -> Tensor:
    """Compute the mean of (x - b) * gradient at t and at 1 - t, (n, m, d, k).

    Args:
        game: Its score.
        background: (n, m, d), background rows.
        fractions: (n, m), t of each.
        rows: (n, d).
        anchors: (n, a), if the score is anchored.
        batch_size: Number of points that the score is run on at once.
    """
    row, t = rows.unsqueeze(1), fractions.unsqueeze(2)
    points = torch.stack([torch.lerp(background, row, t), torch.lerp(background, row, 1 - t)])  # (2, n, m, d)
    tables = [each[None, :, None].expand(*points.shape[:-1], -1).flatten(0, 2) for each in anchors]
    slopes = gradients(game.score, points.flatten(0, 2), *tables, batch_size=batch_size)
    return slopes.reshape(*points.shape, -1).mean(dim=0) * (row - background).unsqueeze(3)


def _moments(changes: Tensor, fractions: Tensor, share: Tensor) -> Moments:
    """Average the samples of n rows, with the moments of the sums over the features.

    Args:
        changes: (n, m, d, k).
        fractions: (n, m).
        share: (main,).
    """
    n, visits, d, _ = changes.shape
    main, repeats = len(share), visits - len(share)
    mean = torch.einsum("nmdk,m->ndk", changes[:, :main], share)
    differences = changes[:, :repeats] - changes[:, main:]
    curve = (fractions - 0.5).square()[..., None, None]
    curves = curve[:, :repeats] - curve[:, main:]
    common = (differences * curves).sum(dim=1, keepdim=True) / curves.square().sum(dim=1, keepdim=True)
    spread = (differences - common * curves).square().sum(dim=1) / (2 * (repeats - 1))
    count = 2 * visits
    squares = spread * share.square().sum() * count * (repeats - 1)
    sums = None if d == 1 else _moments(changes.sum(dim=2, keepdim=True), fractions, share)
    return Moments(count, mean.cpu().numpy(), squares.cpu().numpy(), repeats, sums)
