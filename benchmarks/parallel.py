"""Threads inside of the products against worker processes with one thread each: b = 100, float32.

``python -m benchmarks.parallel [--repeats 3]``. Small and large networks, squared error, two backends. Each repeat runs
every way once, in turn, so that a slow minute of the machine hits all of them; the table holds medians.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from torch import Tensor, nn

import shapae
from benchmarks import save
from shapae.cli.demo import GeneAutoencoder
from shapae.utils.context import torch_threads

SIZES = {"700 x 50": (700, 50), "950 x 1000": (950, 1000)}
BACKENDS = ("deep", "gradient")


class SquaredError(nn.Module):
    """The head's numbers with nothing of shapae, for shap alone: the same cost, though shap attributes it wrongly."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 1)."""
        return torch.mean((self.model(rows) - rows).square(), dim=1, keepdim=True)


def ways(model: nn.Module, rows: Tensor, backend: str) -> dict[str, Callable[[], Any]]:
    """What is compared: names to functions that explain all rows."""

    def explain(n_jobs: int) -> Any:
        return shapae.Explainer(model, rows[:100], backend=backend, n_jobs=n_jobs, progress=False)(rows).values

    def alone() -> Any:
        with torch_threads(1):
            return explain(1)

    def cold() -> Any:
        get_reusable_executor().shutdown(wait=True)
        return explain(2)

    return {
        "n_jobs=1, one thread": alone,
        "n_jobs=1, all threads": lambda: explain(1),
        "n_jobs=2, workers started": cold,
        "n_jobs=2, workers there": lambda: explain(2),
    }


def measure(n: int, d: int, backend: str, repeats: int) -> dict[str, Any]:
    """Seconds of each way in each repeat, and whether all agree."""
    torch.manual_seed(0)
    rows = torch.tensor(shapae.datasets.gene_modules(n, d).X.to_numpy())
    compared = ways(GeneAutoencoder(d).eval(), rows, backend)
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    values = {name: run() for name, run in compared.items()}
    for _ in range(repeats):
        for name, run in compared.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    serial, parallel = values["n_jobs=1, all threads"], values["n_jobs=2, workers there"]
    difference = float(np.abs(serial - parallel).max() / np.abs(serial).max())
    return {"rows": n, "features": d, "backend": backend, "seconds": seconds, "largest relative difference": difference}


def main() -> None:
    """Print the table and write ``results/parallel.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for (name, (n, d)), backend in product(SIZES.items(), BACKENDS):
        found.append(measure(n, d, backend, options.repeats))
        medians = {way: statistics.median(each) for way, each in found[-1]["seconds"].items()}
        best = min(medians.values())
        print(f"\n{name}, backend={backend!r}")
        for way, median in medians.items():
            print(f"  {way:28} {median:7.3f} s, {median / best:5.1f} times the best", flush=True)
    save("parallel", {"measured": found, "cores": os.cpu_count(), "torch": torch.__version__})


if __name__ == "__main__":
    main()
