"""What is to be ranked, and by what; shared out among workers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.models.autoencoder import Autoencoder
from shapae.utils.context import torch_threads
from shapae.utils.memory import BLOCKS_PER_WORKER, CHUNK_BYTES, batches, bytes_per_row
from shapae.utils.parallel import progress_bar

Fit = Callable[[nn.Module, Tensor], nn.Module]


Player = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RankingTask:
    """What is to be ranked, and by what.

    Attributes:
        autoencoder: In eval mode, and the same afterwards.
        rows: (n, d), 2 or more, floating point.
        background: (b, d), in the same dtype.
        players: p of them, each the positions of the features that are replaced together; each feature is in one.
        repeats: How often what is random is done.
        seed: Of all that is drawn.
        n_jobs: Number of workers, as in joblib.
        fit: From a model and rows to the trained model; None where there is none.
        folder: Where results are kept that take long; None for nowhere.
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
        """(n, d): what the reconstructions of the rows are compared with."""
        return self._by_parts(self.autoencoder.target, self.rows)

    @cached_property
    def reconstruction(self) -> Tensor:
        """(n, d): the reconstructions of the rows."""
        return self.reconstruct(self.rows)

    @cached_property
    def errors(self) -> Tensor:
        """(n,): their mean squared errors."""
        return (self.reconstruction - self.target).square().mean(dim=1)

    @cached_property
    def latents(self) -> Tensor:
        """(n, m): the latents of the rows."""
        return self.encode(self.rows)

    @cached_property
    def background_mean(self) -> Tensor:
        """(d,): the mean of the background."""
        return self.background.mean(dim=0)

    @cached_property
    def player_of(self) -> Tensor:
        """(d,): the player of each feature."""
        found = torch.empty(self.rows.shape[1], dtype=torch.long, device=self.rows.device)
        for place, player in enumerate(self.players):
            found[list(player)] = place
        return found

    @cached_property
    def batch_size(self) -> int:
        """So many rows are given to the model."""
        taken = bytes_per_row(self.autoencoder.reconstruct, self.rows[[0, -1]])
        return max(1, int(CHUNK_BYTES // taken))

    def reconstruct(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        return self._by_parts(self.autoencoder.reconstruct, rows)

    def encode(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        return self._by_parts(self.autoencoder.encode, rows)

    def replaced(self, player: Player, values: Tensor) -> Tensor:
        """(n, d): the rows, with ``values`` (n, m) or (m,) for the m features of ``player``."""
        mixed = self.rows.clone()
        mixed[:, list(player)] = values
        return mixed

    def sums(self, values: Tensor) -> Tensor:
        """(n, d) -> (n, p): sums over the features of each player."""
        return values.new_zeros(len(values), len(self.players)).index_add_(1, self.player_of, values)

    def _by_parts(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        return torch.cat([function(part) for part in torch.split(rows, self.batch_size)])


def mean_and_error(values: Tensor) -> NDArray[Any]:
    """(n, ...) -> (..., 2): means over the rows, and their standard errors, NaN for a single row."""
    numbers = values.double().cpu().numpy()
    spread = numbers.std(axis=0, ddof=1) if len(numbers) > 1 else np.full(numbers.shape[1:], np.nan)
    return np.stack([numbers.mean(axis=0), spread / np.sqrt(len(numbers))], axis=-1)


def map_players(case: RankingTask, work: Callable[[RankingTask, Player], NDArray[Any]], what: str) -> NDArray[Any]:
    """What ``work`` finds for each player, shared out among workers: (p, ...)."""
    return shared_out(case, partial(_map_part, work), len(case.players), what)


def _map_part(work: Callable[[RankingTask, Player], NDArray[Any]], case: RankingTask, part: slice) -> NDArray[Any]:
    return np.stack([work(case, player) for player in case.players[part]])


def shared_out(
    case: RankingTask, work: Callable[[RankingTask, slice], NDArray[Any]], total: int, what: str
) -> NDArray[Any]:
    """What ``work`` finds for all parts of ``total`` things, shared out among workers.

    Args:
        case: Handed to ``work``, with a part.
        work: Gives an array with one entry for each thing of a part. No gradients are kept.
        total: How many things.
        what: What is being done, for the bar.

    Returns:
        (total, ...).
    """
    jobs = effective_n_jobs(case.n_jobs)
    parts = batches(total, 1 if jobs == 1 else -(-total // (BLOCKS_PER_WORKER * jobs)))
    task, parent = delayed(_with_few_threads), os.getpid()
    done: Any = Parallel(case.n_jobs, return_as="generator")(task(work, case, part, parent) for part in parts)
    return np.concatenate(list(progress_bar(done, len(parts), case.progress, what)))


def _with_few_threads(
    work: Callable[[RankingTask, slice], NDArray[Any]], case: RankingTask, part: slice, parent: int
) -> NDArray[Any]:
    """In other processes than ``parent`` one thread, as their siblings do."""
    with torch_threads(torch.get_num_threads() if os.getpid() == parent else 1), torch.no_grad():
        return work(case, part)
