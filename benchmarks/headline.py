"""Several tools in one run: squared error and one latent, 950 x 1000, b = 100, float32, in one process.

``python -m benchmarks.headline [--rows 950] [--repeats 3]``. Each repeat runs every tool once, in turn, so that a slow
minute of the machine affects all of them. The tables hold medians and their ratio to shapae. The residual is
|score - mean score of the background - sum of values|: its maximum over the rows, relative to the range of the scores.
"""

import argparse
import copy
import os
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import shapae
from benchmarks import save
from benchmarks._peers import (
    SelectedOutputs,
    SquaredError,
    captum_deep,
    if_installed,
    shap_deep,
    shapae_values,
    tangermeme_deep,
)
from benchmarks._timing import medians, time_in_turn
from shapae.cli.demo import GeneAutoencoder

PEER_BATCH = 8  # rows per call of captum and tangermeme: each is paired with the whole background
CHECKED = 20  # rows whose values are compared with those of backend="shap_deep"
LATENT = 3


class Task(NamedTuple):
    """A score to explain: a head of shapae, and the same score as a module (n, d) -> (n, 1)."""

    head: str
    score: Callable[[GeneAutoencoder], nn.Module]


TASKS = {
    "squared error": Task("reconstruction_error", SquaredError),
    f"latent {LATENT}": Task(f"latent:{LATENT}", lambda model: SelectedOutputs(model.encoder, LATENT, LATENT + 1)),
}
Tool = Callable[[Tensor], Any]


def tools(task: Task, model: GeneAutoencoder, background: Tensor) -> dict[str, Tool]:
    """Return names and functions that explain rows; each has its own model, because shap and captum add hooks."""
    for_shapae, for_shap, for_captum, for_tangermeme = (copy.deepcopy(model) for _ in range(4))

    def by_tangermeme(rows: Tensor) -> Tensor:
        return tangermeme_deep(task.score(for_tangermeme), rows, background, batch=PEER_BATCH)

    return {
        "shapae": lambda rows: shapae_values(for_shapae, rows, background, head=task.head),
        "shap.DeepExplainer": lambda rows: shap_deep(task.score(for_shap), rows, background),
        "captum.DeepLiftShap": lambda rows: captum_deep(task.score(for_captum), rows, background, batch=PEER_BATCH),
        **if_installed("tangermeme", {"tangermeme.deep_lift_shap": by_tangermeme}),
    }


def compare(tools: dict[str, Tool], rows: Tensor, repeats: int) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Return the seconds of each tool in each repeat, after a warm-up on two rows; and its values (n, d)."""
    values: dict[str, Tensor] = {}

    def explain(name: str, rows: Tensor) -> None:
        values[name] = torch.as_tensor(tools[name](rows)).reshape(rows.shape)

    for name in tools:
        explain(name, rows[:2])
    seconds = time_in_turn({name: partial(explain, name, rows) for name in tools}, repeats)
    return seconds, values


def residual(values: Tensor, score: nn.Module, rows: Tensor, background: Tensor) -> float:
    """Compute the largest residual, relative to the range of the scores; the scores are computed in float64."""
    with torch.no_grad():
        exact = copy.deepcopy(score).double()
        scores, base = (exact(each.double())[:, 0] for each in (rows, background))
    missing = scores - base.mean() - values.double().sum(1)
    return float(missing.abs().max() / (scores.max() - scores.min()))


def measure(task: Task, model: GeneAutoencoder, rows: Tensor, background: Tensor, repeats: int) -> dict[str, Any]:
    """Measure seconds and residuals of each tool, and the difference of shapae's values from backend="shap_deep"."""
    seconds, values = compare(tools(task, model, background), rows, repeats)
    reference = shapae_values(model, rows[:CHECKED], background, head=task.head, backend="shap_deep")
    difference = (values["shapae"][:CHECKED] - reference).abs().max() / reference.abs().max()
    return {
        "seconds": seconds,
        "residuals": {name: residual(each, task.score(model), rows, background) for name, each in values.items()},
        "largest relative difference from shap_deep": float(difference),
    }


def show(name: str, results: dict[str, Any]) -> None:
    """Print the table of one task."""
    seconds = medians(results["seconds"])
    print(f"\n| {name} | median | this / shapae | largest residual |\n|---|---|---|---|")
    for tool, median in seconds.items():
        print(f"| {tool} | {median:.2f} s | {median / seconds['shapae']:.2f} | {results['residuals'][tool]:.1e} |")
    difference = results["largest relative difference from shap_deep"]
    print(f"\nLargest relative difference from backend='shap_deep', at most {CHECKED} rows: {difference:.1e}")


def main() -> None:
    """Print the tables and write ``results/headline.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=950)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = GeneAutoencoder(1000).eval()
    table = torch.tensor(shapae.datasets.gene_modules(max(options.rows, 100), 1000).X.to_numpy())
    results: dict[str, Any] = {"rows": options.rows, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    results |= {name: version(name) for name in ("torch", "shap", "captum", "tangermeme") if find_spec(name)}
    print(f"{options.rows} x 1000, b = 100, float32, {results['threads']} threads on {results['cores']} cores")
    for name, task in TASKS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results[name] = measure(task, model, table[: options.rows], table[:100], options.repeats)
        show(name, results[name])
    save("headline", results)


if __name__ == "__main__":
    main()
