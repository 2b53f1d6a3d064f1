"""The cooperative game whose Shapley values are computed: a score, a background and players."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from shapae.tables.players import Players
from shapae.utils.blocks import block_rows, on_processor


@dataclass(frozen=True, eq=False)
class Game:
    """The game v(S) = mean over the background of score(x_S, b_rest), for a row x and a coalition S of its features.

    Attributes:
        score: From rows (n, d) to scores (n, k), in eval mode.
        background: (b, d), floating point: rows; or (b, m), latents.
        weights: (b,), weight of each background row, 1 on average. None: all rows count the same.
        players: Groups of features that are replaced together. None: each feature is a player by itself.
        n_samples: Approximate number of samples per row, for backends that sample. None: the backend's own number.
        batch_size: Number of rows that the score may be run on at once with gradients, by the memory.
    """

    score: nn.Module
    background: Tensor
    weights: Tensor | None = None
    players: Players | None = None
    n_samples: int | None = None
    batch_size: int = 2**11

    @property
    def n_features(self) -> int:
        """d."""
        return self.background.shape[1]

    @property
    def n_players(self) -> int:
        """Number of features, or of groups."""
        return len(self.players) if self.players else self.n_features

    @property
    def background_weights(self) -> Tensor:
        """(b,): weight of each background row."""
        return self.background.new_ones(len(self.background)) if self.weights is None else self.weights

    @property
    def player_of_feature(self) -> Tensor:
        """(d,), integers from 0: the player of each feature."""
        features = self.players.player_of_feature() if self.players else torch.arange(self.n_features)
        return features.to(self.background.device)

    def rows_at_once(self, size: int) -> int:
        """Choose the number of rows that are scored at once, from the number ``size`` for a processor."""
        background = self.background
        return size if on_processor(background) else min(block_rows(size, background), self.batch_size)

    def differ(self, rows: Tensor) -> Tensor:
        """Tell which players of ``rows`` (n, d) differ from any background row in a feature: (n, p, 1)."""
        first = self.background[0]
        features = ((rows != first) | (self.background != first).any(dim=0)).to(rows)
        counts = rows.new_zeros(len(rows), self.n_players).index_add_(1, self.player_of_feature, features)
        return counts.unsqueeze(2) > 0

    def slice(self, rows: slice) -> "Game":
        """Select a part of the background."""
        return replace(
            self, background=self.background[rows], weights=None if self.weights is None else self.weights[rows]
        )

    def with_samples(self, n_samples: int) -> "Game":
        """Change the number of samples."""
        return replace(self, n_samples=n_samples)

    def clone(self) -> "Game":
        """Copy the tensors: a view would be pickled with the whole tensor that it is a view of."""
        weights = None if self.weights is None else self.weights.clone()
        return replace(self, background=self.background.clone(), weights=weights)

    def shuffle(self, seed: int) -> "Game":
        """Shuffle the background, which must have no weights, by a random seed."""
        order = np.random.default_rng(seed).permutation(len(self.background))
        return replace(self, background=self.background[torch.as_tensor(order, device=self.background.device)])

    def resample(self, count: int, seed: int) -> Tensor:
        """Draw rows of equal weight that stand for the weighted background.

        Systematic resampling: each row is there as often as its weight says, to the nearest whole number, and exactly
        so on average over the seeds.

        Args:
            count: Number of rows, if the background is weighted.
            seed: Random seed.

        Returns:
            (count, d); the background itself, (b, d), if it has no weights.
        """
        if self.weights is None:
            return self.background
        ends = np.cumsum(self.weights.double().cpu().numpy())
        at = (np.random.default_rng(seed).random() + np.arange(count)) * ends[-1] / count
        chosen = np.searchsorted(ends, at, side="right").clip(max=len(ends) - 1)
        return self.background[torch.as_tensor(chosen, device=self.background.device)]
