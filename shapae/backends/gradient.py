"""Expected gradients, for any score that has a gradient: no rules are needed."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.backends._intervals import widen
from shapae.backends.base import AnchoredAttribution, Attribution, Backend
from shapae.backends.differentiation import SomeOutputs, count_outputs, gradients, outputs_at_once, points_at_once
from shapae.backends.game import Game
from shapae.backends.sampling import sample_background
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, concatenate, gather


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


class Gradient(ExpectedGradients):
    """Expected gradients of shapae's own sampler.

    A background row is visited twice, each time at t and at 1 - t, where t is stratified over all background rows. Up
    to 150 background rows are all visited, as often as their weights say; up to 200 are visited once, if they have no
    weights; of more rows, neighbours are sampled in proportion to their weights. The difference of two visits, less a
    quadratic function of t that all background rows share (its error vanishes in the strata), gives the standard
    errors. Two visits of different background rows differ by more than t, so that these standard errors are too large.

    Reference:
        Erion et al., 2021, section 3, https://arxiv.org/abs/1906.10670; McKay, Beckman and Conover, 1979, section 2
        (stratified in several variables)
    """

    name = "gradient"
    quantity = "expected gradients"
    n_samples = 400

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: two points."""
        return 2

    def samples(self, game: Game) -> int:
        """See ``Backend.samples``."""
        return 4 * len(self._sample_visits(game, 0)[0][0])

    def _sample_visits(self, game: Game, *seeds: int) -> list[tuple[NDArray[Any], ...]]:
        weights, n_twos = np.asarray(game.background_weights.cpu()), max(2, (game.n_samples or self.n_samples) // 4)
        return [_sample_visits(weights, n_twos, np.random.default_rng(seed)) for seed in seeds]

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(self._attribute, game)

    def bind_anchored(self, game: Game, anchors: Tensor) -> AnchoredAttribution:
        """See ``Backend.bind_anchored``: the gradients of several rows are computed at once."""
        return partial(self._attribute, game)

    def _attribute(self, game: Game, rows: Tensor, *anchors: Tensor, seeds: Sequence[int]) -> Moments:
        k, samples = count_outputs(game, *anchors), self.samples(game)
        size, outputs = points_at_once(game, k), outputs_at_once(game, k, samples)
        games = [replace(game, score=SomeOutputs(game.score, few)) for few in outputs] if len(outputs) > 1 else [game]

        def attribute(few: slice) -> Moments:
            draws = self._sample_visits(game, *seeds[few])
            tables = [each[few] for each in (rows, *anchors)]
            return concatenate([_average_visits(each, draws, *tables, batch_size=size) for each in games], axis=2)

        return gather(map(attribute, batches(len(rows), max(1, size // samples))), len(rows))


def _average_visits(game: Game, visits: list[tuple[NDArray[Any], ...]], *tables: Tensor, batch_size: int) -> Moments:
    """Average the changes of the score over the visits of some rows; see ``_sample_visits`` and ``_changes``."""
    rows = tables[0]
    chosen, t, share = (torch.from_numpy(np.stack(each)).to(rows.device) for each in zip(*visits, strict=True))
    changes = _changes(game, game.background[chosen], t.to(rows), *tables, batch_size=batch_size)
    return _moments(changes, t.to(rows), share[0].to(rows))


def _sample_visits(weights: NDArray[Any], n_twos: int, generator: np.random.Generator) -> tuple[NDArray[Any], ...]:
    """Sample pairs of visits: background rows (m, 2), t of each (m, 2), and the share of each pair (m,)."""
    b = len(weights)
    if 1.5 * n_twos < b <= 2 * n_twos and np.ptp(weights) == 0:  # one visit of each background row
        order = generator.permutation(b)
        twos = np.append(order, order[b - b % 2 :]).reshape(-1, 2)
        share = np.full(len(twos), 2 / b)
        share[b // 2 :] = 1 / b
    else:
        twos, share = sample_background(weights, n_twos, generator)
    strata = generator.permuted(np.tile(np.arange(len(twos))[:, None], 2), axis=0)
    return twos, (strata + generator.random(twos.shape)) / (2 * len(twos)), share


def _changes(game: Game, background: Tensor, t: Tensor, rows: Tensor, *anchors: Tensor, batch_size: int) -> Tensor:
    """Compute the mean of (x - b) * gradient at t and at 1 - t, (n, m, 2, d, k).

    Args:
        game: Its score.
        background: (n, m, 2, d), background rows.
        t: (n, m, 2).
        rows: (n, d).
        anchors: (n, a), if the score is anchored.
        batch_size: Number of points that the score is run on at once.
    """
    row, t = rows[:, None, None], t.unsqueeze(3)
    points = torch.stack([torch.lerp(background, row, t), torch.lerp(background, row, 1 - t)])  # (2, n, m, 2, d)
    tables = [each[None, :, None, None].expand(*points.shape[:-1], -1).flatten(0, 3) for each in anchors]
    slopes = gradients(game.score, points.flatten(0, 3), *tables, batch_size=batch_size)
    return slopes.reshape(*points.shape, -1).mean(dim=0) * (row - background).unsqueeze(4)


def _moments(changes: Tensor, t: Tensor, share: Tensor) -> Moments:
    """Average the visits of n rows, with the moments of the sums over the features.

    Args:
        changes: (n, m, 2, d, k).
        t: (n, m, 2).
        share: (m,).
    """
    m, d = changes.shape[1], changes.shape[3]
    mean = torch.einsum("nmvdk,m->ndk", changes, share / 2)
    differences = changes[:, :, 0] - changes[:, :, 1]
    curves = (t - 0.5).square().diff(dim=2).unsqueeze(3)  # (n, m, 1, 1)
    common = (differences * curves).sum(dim=1, keepdim=True) / curves.square().sum(dim=1, keepdim=True)
    squares = ((differences - common * curves) * share[:, None, None] / 2).square()
    variance = widen(squares.sum(dim=1), squares.square().sum(dim=1), 1) * (m / (m - 1))
    sums = None if d == 1 else _moments(changes.sum(dim=3, keepdim=True), t, share)
    return Moments(4 * m, mean, variance * 4 * m * (m - 1), m, sums)
