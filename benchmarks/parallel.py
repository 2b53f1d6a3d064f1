"""Serial against worker processes: squared error of 950 x 1000, b = 100, float32.

``python -m benchmarks.parallel [--rows 950] [--repeats 3]``. Each repeat runs every way once, in turn, so that a slow
minute of the machine hits all of them; the table holds medians and their ratio to shap alone.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import shap
import torch
from joblib.externals.loky import get_reusable_executor
from torch import Tensor, nn

import shapae
from benchmarks import save
from shapae.demo import GeneAutoencoder


class SquaredError(nn.Module):
    """The head's numbers with nothing of shapae, for shap alone: the same cost, though shap attributes it wrongly."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 1)."""
        return torch.mean((self.model(rows) - rows).square(), dim=1, keepdim=True)


def ways(model: nn.Module, rows: Tensor, background: Tensor) -> dict[str, Callable[[], Any]]:
    """What is compared: names to functions that explain all rows."""

    def explain(n_jobs: int) -> Any:
        return shapae.Explainer(model, background, n_jobs=n_jobs, progress=False)(rows).values

    def cold() -> Any:
        get_reusable_executor().shutdown(wait=True)
        return explain(2)

    return {
        "shap alone": lambda: shap.DeepExplainer(SquaredError(model), background).shap_values(
            rows, check_additivity=False
        ),
        "n_jobs=1": lambda: explain(1),
        "n_jobs=2, workers started": cold,
        "n_jobs=2, workers there": lambda: explain(2),
    }


def measure(n: int, repeats: int) -> dict[str, Any]:
    """Seconds of each way in each repeat, and whether all of shapae's agree."""
    torch.manual_seed(0)
    rows = torch.tensor(shapae.datasets.gene_modules(n, 1000).X.to_numpy())
    compared = ways(GeneAutoencoder(1000).eval(), rows, rows[:100])
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    values = {}
    for _ in range(repeats):
        for name, run in compared.items():
            start = time.perf_counter()
            values[name] = run()
            seconds[name].append(time.perf_counter() - start)
    serial, parallel = values["n_jobs=1"], values["n_jobs=2, workers there"]
    difference = float(np.abs(serial - parallel).max() / np.abs(serial).max())
    return {"rows": n, "seconds": seconds, "largest relative difference of n_jobs": difference}


def main() -> None:
    """Print the table and write ``results/parallel.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=950)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found = measure(options.rows, options.repeats)
    found |= {"cores": os.cpu_count(), "torch": torch.__version__, "shap": shap.__version__}
    medians = {name: statistics.median(seconds) for name, seconds in found["seconds"].items()}
    print(f"squared error, {options.rows} x 1000, b = 100, float32, deep, {found['cores']} cores")
    for name, median in medians.items():
        print(f"{name:28} {median:7.2f} s   shap alone / this = {medians['shap alone'] / median:.2f}")
    save("parallel", found)


if __name__ == "__main__":
    main()
