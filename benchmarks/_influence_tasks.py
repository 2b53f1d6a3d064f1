"""Models, planted rows and retrained models by which influences are judged."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import Tensor, nn

from shapae import datasets
from shapae.utils.context import preserve_rng

T_AND_NK = (
    "CD4+/CD25 T Reg",
    "CD8+ Cytotoxic T",
    "CD8+/CD45RA+ Naive Cytotoxic",
    "CD4+/CD45RO+ Memory",
    "CD4+/CD45RA+/CD25- Naive T",
    "CD56+ NK",
)


def autoencoder(d: int, hidden: int, latents: int) -> nn.Sequential:
    """Make an autoencoder with one hidden layer in each half."""
    return nn.Sequential(
        *(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, latents)),
        *(nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, d)),
    )


@dataclass(frozen=True)
class Recipe:
    """Settings of a training with Adam on the mean squared error.

    Attributes:
        hidden: Number of hidden units.
        latents: Number of latents.
        epochs: Number of passes over the rows.
        batch_size: Number of rows in a batch.
        rate: Learning rate.
    """

    hidden: int
    latents: int
    epochs: int
    batch_size: int = 64
    rate: float = 1e-3


def train(rows: Tensor, recipe: Recipe, *, seed: int = 0, every: int = 0) -> tuple[nn.Module, list[dict[str, Tensor]]]:
    """Train an autoencoder.

    Args:
        rows: (n, d).
        recipe: Settings.
        seed: Random seed of the weights and batches.
        every: Number of epochs from one checkpoint to the next; 0 for none.

    Returns:
        The model in eval mode, and the states of the checkpoints.
    """
    with preserve_rng():
        torch.manual_seed(seed)
        model, states = autoencoder(rows.shape[1], recipe.hidden, recipe.latents), []
        optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate)
        for epoch in range(1, recipe.epochs + 1):
            for batch in torch.split(torch.randperm(len(rows)), recipe.batch_size):
                optimizer.zero_grad()
                torch.autograd.backward((model(rows[batch]) - rows[batch]).square().mean())
                optimizer.step()
            if every and epoch % every == 0:
                states.append(copy.deepcopy(model.state_dict()))
    return model.eval(), states


def errors(model: nn.Module, rows: Tensor) -> NDArray[Any]:
    """Compute the mean squared error of each row: (n,)."""
    with torch.no_grad():
        return np.asarray((model(rows) - rows).square().mean(dim=1).double())


@dataclass(frozen=True)
class Planted:
    """A real table with planted rows.

    Attributes:
        rows: (m, d).
        planted: (m,), whether each row is planted.
        recipe: Settings of the autoencoder.
    """

    rows: pd.DataFrame
    planted: NDArray[Any]
    recipe: Recipe


def planted_tables(seed: int) -> dict[str, Planted]:
    """Plant 5 % of foreign rows in real tables."""
    rng, genes, digits = np.random.default_rng(seed), datasets.pbmc68k(), load_digits()
    pixels, types = pd.DataFrame((digits.data / 16).astype(np.float32)), genes.cell_types.to_numpy()
    tables = {
        "digits 4 and 7 among 0 and 1": _plant(
            rng, pixels, np.isin(digits.target, [0, 1]), np.isin(digits.target, [4, 7])
        ),
        "digits 7 and 8 among 0 to 4": _plant(rng, pixels, digits.target < 5, np.isin(digits.target, [7, 8])),
    }
    tables["CD14+ Monocyte among T and NK cells"] = _plant(
        rng, genes.X, np.isin(types, T_AND_NK), types == "CD14+ Monocyte"
    )
    twos = genes.X.sample(35, random_state=seed).to_numpy() + genes.X.sample(35, random_state=seed + 1).to_numpy()
    shift = 0.7 * rng.standard_normal(genes.X.shape[1]).astype(np.float32)
    other = genes.X.sample(35, random_state=seed + 2) + shift
    is_planted = np.arange(735) >= 700
    tables["pairs of cells in one droplet"] = pd.DataFrame(np.vstack([genes.X, twos])), is_planted
    tables["cells of another batch"] = pd.DataFrame(np.vstack([genes.X, other])), is_planted
    recipes = {name: Recipe(48, 8, 100) if "digits" in name else Recipe(128, 8, 40) for name in tables}
    return {name: Planted(*table, recipes[name]) for name, table in tables.items()}


def _plant(
    rng: np.random.Generator, table: pd.DataFrame, own: NDArray[Any], foreign: NDArray[Any]
) -> tuple[pd.DataFrame, NDArray[Any]]:
    own_rows = np.flatnonzero(own)
    chosen = rng.choice(np.flatnonzero(foreign), len(own_rows) // 20, replace=False)
    return table.take(np.r_[own_rows, chosen].tolist()), np.arange(len(own_rows) + len(chosen)) >= len(own_rows)


def datamodelling_scores(
    rows: Tensor,
    tested: Tensor,
    predictions: Mapping[str, NDArray[Any]],
    retrain: Callable[[Tensor, int], nn.Module],
    count: int,
) -> dict[str, tuple[float, float]]:
    """Compare predictions of influence with models that are trained on random halves of the rows.

    The linear datamodelling score of a row is the rank correlation, over halves, of its error with the sum of the
    predicted influences of the rows in the half.

    Args:
        rows: (m, d), training rows.
        tested: (n, d).
        predictions: From names to influences (n, m), whose sums predict the decrease of the error.
        retrain: From rows and a random seed to a model.
        count: Number of halves.

    Returns:
        From names to the mean over the rows, and its standard error.

    Reference:
        Park et al., 2023, section 2, https://arxiv.org/abs/2303.14186
    """
    rng, m = np.random.default_rng(0), len(rows)
    halves = np.array([rng.permutation(m) < m // 2 for _ in range(count)])
    outcomes = np.array([
        errors(retrain(rows[torch.as_tensor(half)], seed), tested) for seed, half in enumerate(halves)
    ])
    scores = {}
    for name, values in predictions.items():
        predicted = -(halves @ values.T)
        each = [spearmanr(predicted[:, row], outcomes[:, row]).statistic for row in range(len(tested))]
        scores[name] = (float(np.mean(each)), float(np.std(each) / len(each) ** 0.5))
    return scores


def removal_effects(
    rows: Tensor,
    tested: Tensor,
    predictions: Mapping[str, NDArray[Any]],
    retrain: Callable[[Tensor, int], nn.Module],
    removed: int,
    seeds: Sequence[int],
) -> dict[str, tuple[float, float]]:
    """Retrain without the best proponents of each row: the rise of its error beside removing random rows, in percent.

    Args:
        rows: (m, d), training rows.
        tested: (n, d).
        predictions: From names to influences (n, m).
        retrain: From rows and a random seed to a model.
        removed: Number of rows that are removed.
        seeds: Random seeds of the retrained models.

    Returns:
        From names to the mean over the rows, and its standard error.
    """
    rng, effects = np.random.default_rng(1), {}
    without = [np.delete(np.arange(len(rows)), rng.choice(len(rows), removed, replace=False)) for _ in seeds]
    base = np.mean(
        [errors(retrain(rows[kept], seed), tested) for kept, seed in zip(without, seeds, strict=True)], axis=0
    )
    for name, values in predictions.items():
        each = []
        for row in range(len(tested)):
            kept = np.argsort(values[row], kind="stable")[:-removed]
            after = np.mean([errors(retrain(rows[np.sort(kept)], seed), tested[row : row + 1])[0] for seed in seeds])
            each.append(100 * (after / base[row] - 1))
        effects[name] = (float(np.mean(each)), float(np.std(each) / len(each) ** 0.5))
    return effects
