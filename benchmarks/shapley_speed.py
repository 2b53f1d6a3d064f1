"""Time of Shapley values beside DeepSHAP: squared error and all 500 latents, 950 x 1000, b = 100, float32.

``python -m benchmarks.shapley_speed [--rows 950] [--repeats 3]``. All tools run in turn, in one process. Ratios are
those of the medians to the time of the backend "deep". The values of all latents are averaged over the rows, as they
would take 1.9 GB.
"""

import argparse
import copy
import os
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

import shapae
from benchmarks import save
from benchmarks._peers import SquaredError, shap_deep
from benchmarks._timing import medians, time_in_turn
from shapae.backends import Coalitions
from shapae.cli.demo import GeneAutoencoder

Tool = Callable[[Tensor], Any]


def tools(model: GeneAutoencoder, background: Tensor) -> dict[str, dict[str, Tool]]:
    """Return tasks to names to functions that explain rows."""
    for_shap = copy.deepcopy(model)

    def explainer(backend: Any, head: str = "reconstruction_error") -> shapae.Explainer:
        return shapae.Explainer(model, background, head=head, backend=backend, n_jobs=1, progress=False, memory="4GB")

    return {
        "squared error": {
            "deep": explainer("deep"),
            "coalitions, 1 pair": explainer(Coalitions(1)),
            "coalitions": explainer("coalitions"),
            "gradient": explainer("gradient"),
            "shap.DeepExplainer": lambda rows: shap_deep(SquaredError(for_shap), rows, background),
        },
        "all 500 latents": {
            "deep": explainer("deep", "latent").summarize,
            "coalitions, closed form": explainer("coalitions", "latent").summarize,
        },
    }


def main() -> None:
    """Print the tables and write ``results/shapley_speed.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=950)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = GeneAutoencoder(1000).eval()
    table = torch.tensor(shapae.datasets.gene_modules(max(options.rows, 100), 1000).X.to_numpy())
    rows = table[: options.rows]
    results: dict[str, Any] = {"rows": options.rows, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    results |= {name: version(name) for name in ("torch", "shap")}
    print(f"{options.rows} x 1000, b = 100, float32, {results['threads']} threads on {results['cores']} cores")
    for task, runs in tools(model, table[:100]).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for run in runs.values():
                run(rows[:2])
            results[task] = time_in_turn({name: partial(run, rows) for name, run in runs.items()}, options.repeats)
        seconds = medians(results[task])
        print(f"\n| {task} | median | this / deep |\n|---|---|---|")
        for name, median in seconds.items():
            print(f"| {name} | {median:.2f} s | {median / seconds['deep']:.2f} |")
    save("shapley_speed", results)


if __name__ == "__main__":
    main()
