"""Tasks whose truth is known: autoencoders, tables, and the features that matter."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

import shapae
from shapae import datasets
from shapae.datasets import Faults
from shapae.datasets.synthetic import EncoderDecoder
from shapae.utils.context import preserve_rng

RANKED = 100  # rows for rankings


@dataclass(frozen=True, eq=False)
class Task:
    """A score to explain, and the features that matter to it.

    Attributes:
        model: Autoencoder in eval mode.
        background: (b, d).
        X: (n, d).
        head: Head with one output.
        truth: (n, d), bool. Whether a feature matters to the score of a row.
        exact: (n, d), the Shapley values; None where they are unknown.
        faults: Whether the features that matter are planted faults, which differ from row to row.
        ranked: More rows, for rankings; None where ``truth`` depends on the head, because rankings use no head.
    """

    model: nn.Module
    background: pd.DataFrame
    X: pd.DataFrame
    head: str
    truth: NDArray[Any]
    exact: NDArray[Any] | None = None
    faults: bool = False
    ranked: pd.DataFrame | None = None


def linear(seed: int, n: int, b: int) -> Task:
    """Create a linear autoencoder that reconstructs some features badly and passes through the others."""
    known = datasets.linear_autoencoder(n + b, seed=seed)
    X, background = known.X[:n], known.X[n:]
    exact = known.error_values(X.to_numpy(), background.to_numpy())
    return Task(known.model, background, X, "reconstruction_error", np.tile(known.matters, (n, 1)), exact)


def block_latent(seed: int, n: int, b: int) -> Task:
    """Create a latent that depends on some features, where each feature correlates with all others."""
    known = datasets.block_autoencoder(n + b, seed=seed)
    truth = np.tile(known.latents.iloc[0], (n, 1))
    return _with_exact_values(Task(known.model, known.X[n:], known.X[:n], "latent:0", truth))


def block_output(seed: int, n: int, b: int) -> Task:
    """Create a reconstructed feature that depends on some features."""
    known = datasets.block_autoencoder(n + b, seed=seed)
    truth = np.tile(known.outputs.iloc[0], (n, 1))
    return _with_exact_values(Task(known.model, known.X[n:], known.X[:n], "reconstruction:feature 0", truth))


def block_use(seed: int, n: int, b: int) -> Task:
    """Create latents that depend on some features; the other features are reconstructed as a constant."""
    known = datasets.block_autoencoder(n + b + RANKED, seed=seed)
    truth = np.tile(known.latents.any(), (n, 1))
    X, background, ranked = known.X[:n], known.X[n : n + b], known.X[n + b :]
    return _with_exact_values(Task(known.model, background, X, "latent_norm", truth, ranked=ranked))


def genes(seed: int, n: int, b: int) -> Task:
    """Train on genes that follow a module, five of them duplicated, and on genes that follow none."""
    known = datasets.gene_modules(400 + n + RANKED, 40, modules=5, duplicates=5, seed=seed)
    train, X, ranked = known.X[:400], known.X[400 : 400 + n], known.X[400 + n :]
    truth = np.tile(known.drives.any(), (n, 1))
    return Task(train_autoencoder(train, 5, seed), train[:b], X, "latent_norm", truth, ranked=ranked)


def sensors(seed: int, n: int, b: int) -> Task:
    """Plant one to three shifted sensors of ten in each row."""
    return _fault_task(datasets.sensors(500, 10, faulty=n, seed=seed), seed, b)


def transactions(seed: int, n: int, b: int) -> Task:
    """Plant one to three wrong fields of five, numbers and categories, in each row."""
    return _fault_task(datasets.transactions(500, faulty=n, seed=seed), seed, b)


# Names to functions from the random seed and the numbers of rows and of background rows.
TASKS: dict[str, Callable[[int, int, int], Task]] = {
    "linear autoencoder, error": linear,
    "block decoder, a latent": block_latent,
    "block decoder, an output": block_output,
    "block decoder, latent norm": block_use,
    "gene modules, latent norm": genes,
    "sensors, planted faults": sensors,
    "transactions, planted faults": transactions,
}


def _fault_task(faults: Faults, seed: int, b: int) -> Task:
    model, truth = train_autoencoder(faults.normal, 3, seed), faults.faulty.to_numpy()
    return _with_exact_values(Task(model, faults.normal[:b], faults.X, "reconstruction_error", truth, faults=True))


def _with_exact_values(task: Task) -> Task:
    """Compute the exact values by enumeration of all coalitions."""
    return replace(task, exact=attribute(task, "exact", 0))


def train_autoencoder(X: pd.DataFrame, latents: int, seed: int, *, steps: int = 400) -> EncoderDecoder:
    """Train an autoencoder with one hidden layer on each side, for ``steps`` steps on all rows."""
    rows, d = torch.tensor(X.to_numpy()), X.shape[1]
    with preserve_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, latents))
        model = EncoderDecoder(encoder, nn.Sequential(nn.Linear(latents, 2 * d), nn.ReLU(), nn.Linear(2 * d, d)))
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(model(rows), rows))
            optimizer.step()
    return model.eval()


def attribute(task: Task, backend: str, seed: int) -> NDArray[Any]:
    """Compute the attributions (n, d) of a backend."""
    explainer = shapae.Explainer(
        task.model, task.background, head=task.head, backend=backend, n_jobs=1, seed=seed, progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(explainer(task.X).values)
