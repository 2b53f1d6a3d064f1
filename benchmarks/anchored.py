"""Heads with an anchor beside the squared error with a moving target, which has none: b = 100, float32, one thread.

``python -m benchmarks.anchored [--features 100 1000] [--rows 190] [--repeats 5]``. Each repeat runs every head once, in
turn; errors from others are explained for an eighth of the rows. The table holds medians per row, and their ratios to
the moving target.
"""

import argparse
import os
import warnings
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

import shapae
from benchmarks import save
from benchmarks._timing import medians, time_in_turn
from shapae.cli.demo import GeneAutoencoder
from shapae.heads import ErrorFromOthers, FeatureError, LabelFree, Reconstruction, ReconstructionError
from shapae.utils.context import torch_threads

MOVING = "squared error, moving target"
HEADS: dict[str, nn.Module] = {
    MOVING: ReconstructionError(),
    "squared error, fixed target": ReconstructionError(target="fixed"),
    "absolute error, fixed target": ReconstructionError("mae", target="fixed"),
    "label-free": LabelFree(),
    "errors of 5 named features": FeatureError([0, 1, 2, 3, 4]),
    "errors of the 5 worst features": FeatureError(worst=5),
    "reconstructions of the 5 worst features": Reconstruction(worst=5),
    "errors of the 5 worst features from others": ErrorFromOthers(5),
}


def measure(d: int, n: int, repeats: int) -> dict[str, float]:
    """Measure the seconds per row of each head."""
    torch.manual_seed(0)
    model = GeneAutoencoder(d).eval()
    table = torch.tensor(shapae.datasets.gene_modules(100 + n, d).X.to_numpy())
    runs, counts = {}, {}
    for name, head in HEADS.items():
        rows = table[100 : 100 + (max(1, n // 8) if isinstance(head, ErrorFromOthers) else n)]
        explainer = shapae.Explainer(model, table[:100], head=head, n_jobs=1, progress=False)
        runs[name], counts[name] = partial(explainer, rows), len(rows)
    with warnings.catch_warnings(), torch_threads(1):
        warnings.simplefilter("ignore")  # the model is not trained
        runs[MOVING]()
        seconds = medians(time_in_turn(runs, repeats))
    return {name: each / counts[name] for name, each in seconds.items()}


def main() -> None:
    """Print the tables and write ``results/anchored.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--rows", type=int, default=190)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    results: dict[str, Any] = vars(options) | {"cores": os.cpu_count(), "torch": version("torch")}
    for d in options.features:
        results[f"d = {d}"] = measured = measure(d, options.rows, options.repeats)
        print(f"\n| d = {d} | per row | this / moving target |\n|---|---|---|")
        for name, each in measured.items():
            print(f"| {name} | {1000 * each:.2f} ms | {each / measured[MOVING]:.2f} |", flush=True)
    save("anchored", results)


if __name__ == "__main__":
    main()
