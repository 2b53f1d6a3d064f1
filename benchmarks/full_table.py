"""950 rows of 1000 genes against all 950 rows as background, float32, in one process.

``python -m benchmarks.full_table``. shapae explains the squared error and summarizes all latents. shap.DeepExplainer,
called on the autoencoder itself, explains one row and a few outputs; its time for all of them is extrapolated.
"""

import copy
from collections.abc import Callable
from typing import Any

import shap
import torch

import shapae
from benchmarks import save
from benchmarks._peers import SelectedOutputs
from benchmarks._timing import clock
from shapae.cli.demo import GeneAutoencoder

N, D, OUTPUTS = 950, 1000, 4


def main() -> None:
    """Print the seconds and write ``results/full_table.json``."""
    torch.manual_seed(0)
    model = GeneAutoencoder(D).eval()
    rows = torch.tensor(shapae.datasets.gene_modules(N, D).X.to_numpy())
    peer = shap.DeepExplainer(SelectedOutputs(copy.deepcopy(model), 0, OUTPUTS), rows)
    error, latents = (
        shapae.Explainer(model, rows, head=head, n_jobs=1, progress=False)
        for head in ("reconstruction_error", "latent")
    )
    error(rows[:2])
    runs: dict[str, Callable[[], Any]] = {
        "squared error": lambda: error(rows),
        "all latents": lambda: latents.summarize(rows),
        f"shap, one row x {OUTPUTS} outputs": lambda: peer.shap_values(rows[:1], check_additivity=False),
    }
    seconds = {}
    for name, run in runs.items():
        seconds[name] = clock(run)[0]
        print(f"{name:28} {seconds[name]:8.1f} s", flush=True)
    hours = list(seconds.values())[-1] * N * D / OUTPUTS / 3600
    print(f"{'shap, all, extrapolated':28} {hours:8.1f} hours")
    save("full_table", {"seconds": seconds, "hours of shap, extrapolated": hours})


if __name__ == "__main__":
    main()
