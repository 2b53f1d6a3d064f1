"""Influence of training rows: time beside captum's TracIn, planted rows, and retrained models.

``python -m benchmarks.influence [--rows 700] [--features 1000] [--retrained 100]``. One thread, float32. captum is run
for a part of the rows only, because it holds all gradients of the tested rows at once.
"""

import argparse
import os
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from captum.influence import TracInCP
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import shapae
from benchmarks import save
from benchmarks._influence_tasks import Recipe, datamodelling_scores, errors, planted_tables, removal_effects, train
from benchmarks._timing import clock
from shapae.cli.demo import GeneAutoencoder
from shapae.utils.context import torch_threads


def captum_values(model: nn.Module, rows: Tensor, tested: Tensor) -> NDArray[Any]:
    """Compute the influences (n, m) of the model as it is with captum."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square().mean(dim=1)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Since `loss_fn` has no")  # it gives one loss for each row, as is assumed
        tracin = TracInCP(model, TensorDataset(rows, rows), [""], lambda *_: 1.0, loss_fn=loss, batch_size=32)
        return np.asarray(tracin.influence((tested, tested)).detach())


def one_by_one(model: nn.Module, rows: Tensor, tested: Tensor) -> NDArray[Any]:
    """Compute the same with autograd, one row after the other."""

    def gradients(table: Tensor) -> Tensor:
        found = (torch.autograd.grad((model(row) - row).square().mean(), list(model.parameters())) for row in table)
        return torch.stack([torch.cat([each.flatten() for each in of_row]) for of_row in found])

    return np.asarray(gradients(tested) @ gradients(rows).T)


def time_peers(n: int, part: int, d: int) -> dict[str, Any]:
    """Time all rows with shapae, and a part of them with shapae, captum and autograd."""
    torch.manual_seed(0)
    model = GeneAutoencoder(d).eval()
    rows = torch.tensor(shapae.datasets.gene_modules(n, d).X.to_numpy())
    few, found = rows[:part], {}
    ways: dict[str, Callable[[], Any]] = {
        "shapae": lambda: shapae.influence(model, few, few, n_jobs=1).values,
        "captum TracInCP": partial(captum_values, model, few, few),
        "autograd, one by one": partial(one_by_one, model, few, few),
    }
    with torch_threads(1):
        ways["shapae"]()
        timed = {name: clock(way) for name, way in ways.items()}
        found["all rows (s)"] = clock(lambda: shapae.influence(model, rows, rows, n_jobs=1))[0]
    values = timed["shapae"][1]
    found |= {f"{name}, {part} rows (s)": seconds for name, (seconds, _) in timed.items()}
    for name, (_, each) in timed.items():
        found[f"{name}, largest difference"] = float(np.abs(each - values).max() / np.abs(values).max())
    return found


def find_planted(seeds: int) -> dict[str, dict[str, float]]:
    """Search for planted rows, with the areas of the curves averaged over tables of several seeds."""
    areas: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        for name, task in planted_tables(seed).items():
            rows = torch.tensor(task.rows.to_numpy())
            model, states = train(rows, task.recipe, seed=seed, every=task.recipe.epochs // 5)
            line: dict[str, float] = {}
            for kind, checkpoints in {"last": None, "5 checkpoints": states}.items():
                found = shapae.influence(model, rows, rows, checkpoints=checkpoints).cleaning(task.planted).areas
                line |= {f"{each}, {kind}": found[each] for each in ("self influence", "mean influence")}
            areas.setdefault(name, []).append(line | {"loss": found["loss"]})
    return {
        name: {kind: float(np.mean([line[kind] for line in lines])) for kind in lines[0]}
        for name, lines in areas.items()
    }


def judge_by_retraining(count: int) -> dict[str, Any]:
    """Compare influences with retrained models, on genes in modules: 200 training rows, 30 others."""
    table = torch.tensor(shapae.datasets.gene_modules(230, 40, modules=5).X.to_numpy())
    rows, tested, recipe = table[:200], table[200:], Recipe(24, 5, 60, batch_size=32, rate=3e-3)

    def retrain(some: Tensor, seed: int) -> nn.Module:
        return train(some, recipe, seed=seed)[0]

    sums: dict[str, NDArray[Any]] = {}
    for seed in range(5):
        model, states = train(rows, recipe, seed=seed, every=6)
        known = shapae.Autoencoder(model, encode=lambda m, x: m[:3](x))
        last, all_ = (shapae.influence(known, rows, tested, checkpoints=each) for each in (None, states))
        own = shapae.influence(model, tested, tested[:1]).self_influence
        for name, values in {
            "influence, last": last.values,
            "influence, 10 checkpoints": all_.values,
            "cosine, last": last.values / np.sqrt(np.outer(own, last.self_influence)),
            "minus distance of latents": -cdist(last.latents, last.train_latents),
        }.items():
            sums[name] = sums.get(name, 0) + values
    sums["minus distance of rows"] = -np.asarray(torch.cdist(tested, rows))
    sums["random"] = np.random.default_rng(0).standard_normal((len(tested), len(rows)))
    return {
        "linear datamodelling score": datamodelling_scores(rows, tested, sums, retrain, count),
        "rise of the error in percent": removal_effects(rows, tested[:12], sums, retrain, 20, range(4)),
        "mean error": float(errors(retrain(rows, 0), tested).mean()),
    }


def main() -> None:
    """Print the tables and write ``results/influence.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=700)
    parser.add_argument("--part", type=int, default=100)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--retrained", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    results: dict[str, Any] = vars(options) | {"cores": os.cpu_count(), "torch": version("torch")}
    results["time"] = time_peers(options.rows, options.part, options.features)
    for name, each in results["time"].items():
        print(f"{name}: {each:.3g}", flush=True)
    results["planted"] = planted = find_planted(options.seeds)
    for name, areas in planted.items():
        print(name, {kind: round(area, 3) for kind, area in areas.items()}, flush=True)
    results["retraining"] = judged = judge_by_retraining(options.retrained)
    for name, each in judged.items():
        print(name, each, flush=True)
    save("influence", results)


if __name__ == "__main__":
    main()
