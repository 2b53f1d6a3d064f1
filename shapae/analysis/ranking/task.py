"""The ranking task: model, rows, players and settings; and maps over players on worker processes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.models.autoencoder import Autoencoder
from shapae.utils.memory import BLOCKS_PER_WORKER, CHUNK_BYTES, batched, batches, bytes_per_row
from shapae.utils.parallel import count_workers, parallel_map

Fit = Callable[[nn.Module, Tensor], nn.Module]


Player = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RankingTask:
    """Data and settings that all ranking methods share.

    Attributes:
        autoencoder: Model in eval mode; no method changes it.
        rows: (n, d), n >= 2, floating point.
        background: (b, d), in the dtype of ``rows``.
        players: p players. Each is the positions of the features that are replaced together; they share no feature.
        repeats: Number of repetitions of each random step.
        seed: Random seed.
        n_jobs: Number of workers, as in joblib.
        fit: Function from a model and rows to the trained model; None if there is none.
        folder: Folder in which slow results are cached; None for no cache.
        progress: See ``progress_bar``.
    """

    autoencoder: Autoencoder
    rows: Tensor
    background: Tensor
    players: tuple[Player, ...]
    repeats: int = 5
    seed: int = 0
    n_jobs: int | None = None
    fit: Fit | None = None
    folder: Path | None = None
    progress: bool | None = None

    @cached_property
    def target(self) -> Tensor:
        """(n, d): targets of the reconstructions."""
        return batched(self.autoencoder.target, self.rows, self.batch_size)

    @cached_property
    def reconstruction(self) -> Tensor:
        """(n, d): reconstructions of the rows."""
        return self.reconstruct(self.rows)

    @cached_property
    def errors(self) -> Tensor:
        """(n,): mean squared reconstruction errors."""
        return (self.reconstruction - self.target).square().mean(dim=1)

    @cached_property
    def latents(self) -> Tensor:
        """(n, m): latents of the rows."""
        return self.encode(self.rows)

    @cached_property
    def background_mean(self) -> Tensor:
        """(d,): mean of the background."""
        return self.background.mean(dim=0)

    @cached_property
    def player_of_feature(self) -> Tensor:
        """(d,): position of the player of each feature."""
        positions = torch.empty(self.rows.shape[1], dtype=torch.long, device=self.rows.device)
        for position, player in enumerate(self.players):
            positions[list(player)] = position
        return positions

    @cached_property
    def batch_size(self) -> int:
        """Number of rows per call of the model."""
        row_bytes = bytes_per_row(self.autoencoder.reconstruct, self.rows[[0, -1]])
        return max(1, int(CHUNK_BYTES // row_bytes))

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Reconstruct rows (n, d) -> (n, d)."""
        return batched(self.autoencoder.reconstruct, rows, self.batch_size)

    def encode(self, rows: Tensor) -> Tensor:
        """Encode rows (n, d) -> (n, m)."""
        return batched(self.autoencoder.encode, rows, self.batch_size)

    def replace_features(self, player: Player, values: Tensor) -> Tensor:
        """Copy the rows (n, d), with ``values`` (n, m) or (m,) for the m features of ``player``."""
        perturbed = self.rows.clone()
        perturbed[:, list(player)] = values
        return perturbed

    def sum_by_player(self, values: Tensor) -> Tensor:
        """Sum values (n, d) over the features of each player -> (n, p)."""
        return values.new_zeros(len(values), len(self.players)).index_add_(1, self.player_of_feature, values)


def mean_and_error(values: Tensor) -> NDArray[Any]:
    """Average values (n, ...) over the rows -> (..., 2): mean and standard error, which is NaN for a single row."""
    numbers = values.double().cpu().numpy()
    deviation = numbers.std(axis=0, ddof=1) if len(numbers) > 1 else np.full(numbers.shape[1:], np.nan)
    return np.stack([numbers.mean(axis=0), deviation / np.sqrt(len(numbers))], axis=-1)


def map_players(task: RankingTask, function: Callable[[RankingTask, Player], NDArray[Any]], label: str) -> NDArray[Any]:
    """Call ``function`` for each player, on workers -> (p, ...)."""
    return map_slices(task, partial(_map_slice, function), len(task.players), label)


def _map_slice(
    function: Callable[[RankingTask, Player], NDArray[Any]], task: RankingTask, chosen: slice
) -> NDArray[Any]:
    return np.stack([function(task, player) for player in task.players[chosen]])


def map_slices(
    task: RankingTask, function: Callable[[RankingTask, slice], NDArray[Any]], total: int, label: str
) -> NDArray[Any]:
    """Call ``function`` for slices of ``total`` items, on workers, without gradients.

    Args:
        task: First argument of ``function``.
        function: From the task and a slice to an array with one entry per item of the slice.
        total: Number of items, such as rows or players.
        label: Text of the progress bar.

    Returns:
        (total, ...), the results of all items.
    """
    workers = count_workers(task.n_jobs)
    slices = batches(total, 1 if workers == 1 else -(-total // (BLOCKS_PER_WORKER * workers)))
    call = partial(_without_gradients, function, task)
    results = parallel_map(
        call, lambda number: (slices[number],), len(slices), n_jobs=task.n_jobs, progress=task.progress, label=label
    )
    return np.concatenate(list(results))


def _without_gradients(
    function: Callable[[RankingTask, slice], NDArray[Any]], task: RankingTask, chosen: slice
) -> NDArray[Any]:
    with torch.no_grad():  # the state of the calling process does not reach its workers
        return function(task, chosen)
