"""Threads inside the matrix products beside worker processes with one thread each: b = 100, float32.

``python -m benchmarks.parallel [--repeats 3]``. Small and large networks, squared error, two backends. Each repeat runs
every setting once, in turn, so that a slow minute of the machine affects all of them; the table holds medians.
"""

import argparse
import os
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from torch import Tensor, nn

import shapae
from benchmarks import save
from benchmarks._timing import medians, time_in_turn
from shapae.cli.demo import GeneAutoencoder
from shapae.utils.context import torch_threads

SIZES = {"700 x 50": (700, 50), "950 x 1000": (950, 1000)}
BACKENDS = ("deep", "gradient")


def settings(model: nn.Module, rows: Tensor, backend: str) -> dict[str, Callable[[], Any]]:
    """Return names and functions that explain all rows."""

    def explain(n_jobs: int) -> Any:
        return shapae.Explainer(model, rows[:100], backend=backend, n_jobs=n_jobs, progress=False)(rows).values

    def single_thread() -> Any:
        with torch_threads(1):
            return explain(1)

    def cold_start() -> Any:
        get_reusable_executor().shutdown(wait=True)
        return explain(2)

    return {
        "n_jobs=1, one thread": single_thread,
        "n_jobs=1, all threads": lambda: explain(1),
        "n_jobs=2, workers started": cold_start,
        "n_jobs=2, workers there": lambda: explain(2),
    }


def measure(n: int, d: int, backend: str, repeats: int) -> dict[str, Any]:
    """Measure the seconds of each setting in each repeat, and the difference of the values."""
    torch.manual_seed(0)
    rows = torch.tensor(shapae.datasets.gene_modules(n, d).X.to_numpy())
    runs = settings(GeneAutoencoder(d).eval(), rows, backend)
    values = {name: run() for name, run in runs.items()}
    seconds = time_in_turn(runs, repeats)
    serial, parallel = values["n_jobs=1, all threads"], values["n_jobs=2, workers there"]
    difference = float(np.abs(serial - parallel).max() / np.abs(serial).max())
    return {"rows": n, "features": d, "backend": backend, "seconds": seconds, "largest relative difference": difference}


def main() -> None:
    """Print the table and write ``results/parallel.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    for (name, (n, d)), backend in product(SIZES.items(), BACKENDS):
        results.append(measure(n, d, backend, options.repeats))
        seconds = medians(results[-1]["seconds"])
        print(f"\n{name}, backend={backend!r}")
        for setting, median in seconds.items():
            print(f"  {setting:28} {median:7.3f} s, {median / min(seconds.values()):5.1f} times the best", flush=True)
    save("parallel", {"measured": results, "cores": os.cpu_count(), "torch": torch.__version__})


if __name__ == "__main__":
    main()
