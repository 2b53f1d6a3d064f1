"""Seventeen tasks of estimating Shapley values: each is a table, a trained autoencoder and a head."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn import datasets as sklearn_datasets
from torch import Tensor, nn

import shapae
from benchmarks import _shapley_error_models as models
from shapae import heads
from shapae.backends.game import Game
from shapae.models.autoencoder import Autoencoder

FIXED = heads.ReconstructionError(target="fixed")
MOVING = "reconstruction_error"


@dataclass(frozen=True)
class Task:
    """A game to estimate the Shapley values of.

    Attributes:
        data: Name of the table, one of ``TABLES``.
        architecture: Words for the model.
        head: Words for the head.
        make_head: The head.
        create: Function from the number of features to an untrained model; None for the autoencoder of the demo.
        rows: Number of explained rows at most.
        samples: Number of samples of ``sampling`` in each of both references.
    """

    data: str
    architecture: str
    head: str
    make_head: str | nn.Module
    create: Callable[[int], nn.Module] | None
    rows: int = 10
    samples: int = 2000

    @property
    def name(self) -> str:
        """Name in tables and files."""
        return f"{self.data}, {self.architecture}, {self.head}"

    def game(self, n_background: int, n_rows: int) -> tuple[Game, Tensor]:
        """Train the model; return the game, with a background (b, d), and the rows (n, d)."""
        X = table(self.data)
        model = _demo() if self.create is None else _trained(self.data, self.architecture, self.create)
        background, n = X[:n_background], min(self.rows, n_rows)
        score = shapae.score(model, background, self.make_head)
        game = Game(score, torch.tensor(background.to_numpy()))
        return game, torch.tensor(X[n_background : n_background + n].to_numpy())


@cache
def table(name: str) -> pd.DataFrame:
    """Load a table (n, d), float32, each feature with mean 0 and variance 1, in random order."""
    X = TABLES[name]()
    X = X if name == "genes" else (X - X.mean()) / (X.std() + 1e-6)
    return X.sample(frac=1, random_state=0).astype(np.float32)


@cache
def _demo() -> nn.Module:
    """Train the demo's autoencoder on the genes."""
    return shapae.demo.train(shapae.datasets.pbmc68k().X)


@cache
def _trained(data: str, architecture: str, create: Callable[[int], nn.Module]) -> Autoencoder:
    rows = torch.tensor(table(data).to_numpy())
    return models.train(partial(create, rows.shape[1]), rows)


def _shuttle() -> pd.DataFrame:
    """Load 3000 rows of sensors of a space shuttle."""
    from river.datasets import Shuttle  # optional; a task whose table can't be loaded is left out

    return pd.DataFrame([row for row, _ in Shuttle().take(3000)], dtype=float)


def _from_sklearn(load: Callable[[], Any]) -> pd.DataFrame:
    rows: NDArray[Any] = load().data
    return pd.DataFrame(rows, columns=[f"feature {place}" for place in range(rows.shape[1])])


# Names to functions that load a table.
TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "shuttle": _shuttle,
    "breast cancer": partial(_from_sklearn, sklearn_datasets.load_breast_cancer),
    "digits": partial(_from_sklearn, sklearn_datasets.load_digits),
    "modules 100": lambda: shapae.datasets.gene_modules(700, 100, seed=1).X,
    "modules 200": lambda: shapae.datasets.gene_modules(700, 200, seed=1).X,
    "modules 1000": lambda: shapae.datasets.gene_modules(700, 1000, seed=1).X,
    "genes": lambda: shapae.datasets.pbmc68k().X,
}
_RELU, _TANH, _GELU = (partial(models.dense, activation) for activation in (nn.ReLU, nn.Tanh, nn.GELU))
_CONV = "convolutions"


def _layers(create: Callable[[int, int, int], nn.Module], hidden: int, latents: int) -> Callable[[int], nn.Module]:
    return lambda d: create(d, hidden, latents)


def _pictures(d: int) -> nn.Module:
    return models.convolutional(8, 12)


_attention = _layers(models.transformer, 64, 16)
_genes, _wide = _layers(_GELU, 64, 16), _layers(_RELU, 64, 16)
TASKS = (
    Task("shuttle", "ReLU", "moving target", MOVING, _layers(_RELU, 24, 2)),
    Task("shuttle", "transformer", "fixed target", FIXED, _layers(models.transformer, 24, 2)),
    Task("breast cancer", "tanh", "moving target", MOVING, _layers(_TANH, 32, 6)),
    Task("breast cancer", "transformer", "moving target", MOVING, _layers(models.transformer, 32, 6)),
    Task("breast cancer", "VAE", "ELBO", "elbo", _layers(models.variational, 32, 6)),
    Task("digits", _CONV, "moving target", MOVING, _pictures),
    Task("digits", _CONV, "a latent", "latent:0", _pictures),
    Task("digits", "GELU", "an output", "reconstruction:20", _layers(_GELU, 64, 12)),
    Task("modules 100", "transformer", "moving target", MOVING, _attention, rows=5, samples=400),
    Task("modules 200", "ReLU", "an output", "reconstruction:0", _layers(_RELU, 100, 16)),
    Task("modules 200", "tanh", "fixed target", FIXED, _layers(_TANH, 100, 16)),
    Task("modules 200", "VAE", "ELBO", "elbo", _layers(models.variational, 100, 16)),
    Task("modules 1000", "ReLU", "moving target", MOVING, _wide, rows=5, samples=400),
    Task("modules 1000", "GELU", "a latent", "latent:0", _layers(_GELU, 64, 16), rows=5, samples=400),
    Task("genes", "GELU", "fixed target", FIXED, _genes, rows=5, samples=400),
    Task("genes", "demo", "moving target", MOVING, None, rows=4, samples=300),
    Task("genes", "demo", "a latent", "latent:0", None, rows=4, samples=200),
)
