"""Three tools in one run: squared error, and one latent, of 950 x 1000, b = 100, float32, on one process.

``python -m benchmarks.headline [--rows 950] [--repeats 3]``. Each repeat runs every tool once, in turn, so that a slow
minute of the machine hits all of them; the tables hold medians and their ratio to shapae. The residual is
|score - mean score of the background - sum of values|, at most over the rows, as a part of the spread of the scores.
"""

import argparse
import copy
import os
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import shap
import torch
from captum.attr import DeepLiftShap
from torch import Tensor, nn

import shapae
from benchmarks import save
from benchmarks.parallel import SquaredError
from shapae.cli.demo import GeneAutoencoder

AT_ONCE = 8  # rows for captum, each against the whole background
CHECKED = 20  # rows whose values are compared with those of backend="shap_deep"
LATENT = 3


class OneLatent(nn.Module):
    """One column of the encoder, for tools that know no heads."""

    def __init__(self, model: GeneAutoencoder) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 1)."""
        latents: Tensor = self.encoder(rows)
        return latents[:, LATENT : LATENT + 1]


class Case(NamedTuple):
    """What is explained: a head of shapae's, and the same score as a module (n, d) -> (n, 1)."""

    head: str
    score: Callable[[GeneAutoencoder], nn.Module]


CASES = {
    "squared error": Case("reconstruction_error", SquaredError),
    f"latent {LATENT}": Case(f"latent:{LATENT}", OneLatent),
}
Tool = Callable[[Tensor], Any]


def tools(case: Case, model: GeneAutoencoder, background: Tensor) -> dict[str, Tool]:
    """Names to functions that explain rows; each has a model of its own, because two of them hang hooks on it."""
    for_shapae, for_shap, for_captum = (copy.deepcopy(model) for _ in range(3))

    def by_captum(rows: Tensor) -> Tensor:
        explainer = DeepLiftShap(case.score(for_captum))
        few = torch.split(rows, AT_ONCE)
        return torch.cat([explainer.attribute(some, baselines=background, target=0).detach() for some in few])

    return {
        "shapae": lambda rows: by_shapae(case, for_shapae, background, rows, "deep"),
        "shap.DeepExplainer": lambda rows: shap.DeepExplainer(case.score(for_shap), background).shap_values(
            rows, check_additivity=False
        ),
        "captum.DeepLiftShap": by_captum,
    }


def by_shapae(case: Case, model: GeneAutoencoder, background: Tensor, rows: Tensor, backend: str) -> Any:
    """(n, d)."""
    return shapae.Explainer(model, background, head=case.head, backend=backend, n_jobs=1, progress=False)(rows).values


def timed(compared: dict[str, Tool], rows: Tensor, repeats: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each tool in each repeat, after a warm-up on two rows; and the values of each, (n, d)."""
    for run in compared.values():
        run(rows[:2])
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    values = {}
    for _ in range(repeats):
        for name, run in compared.items():
            start = time.perf_counter()
            values[name] = run(rows)
            seconds[name].append(time.perf_counter() - start)
    return seconds, {name: torch.as_tensor(each).reshape(rows.shape) for name, each in values.items()}


def residual(values: Tensor, score: nn.Module, rows: Tensor, background: Tensor) -> float:
    """A part of the spread of the scores; these are computed in float64."""
    with torch.no_grad():
        exact = copy.deepcopy(score).double()
        scores, base = (exact(each.double())[:, 0] for each in (rows, background))
    missing = scores - base.mean() - values.double().sum(1)
    return float(missing.abs().max() / (scores.max() - scores.min()))


def measure(case: Case, model: GeneAutoencoder, rows: Tensor, background: Tensor, repeats: int) -> dict[str, Any]:
    """Seconds and residuals of each tool, and how far shapae's values are from shap's of the score made of modules."""
    seconds, values = timed(tools(case, model, background), rows, repeats)
    checked = torch.as_tensor(by_shapae(case, model, background, rows[:CHECKED], "shap_deep"))
    difference = (values["shapae"][:CHECKED] - checked).abs().max() / checked.abs().max()
    return {
        "seconds": seconds,
        "residuals": {name: residual(each, case.score(model), rows, background) for name, each in values.items()},
        "largest relative difference from shap_deep": float(difference),
    }


def show(name: str, found: dict[str, Any]) -> None:
    """One table."""
    medians = {tool: statistics.median(seconds) for tool, seconds in found["seconds"].items()}
    print(f"\n| {name} | median | this / shapae | largest residual |\n|---|---|---|---|")
    for tool, median in medians.items():
        ratio, left = median / medians["shapae"], found["residuals"][tool]
        print(f"| {tool} | {median:.2f} s | {ratio:.2f} | {left:.1e} |")
    difference = found["largest relative difference from shap_deep"]
    print(f"\nshapae's values against backend='shap_deep', {CHECKED} rows at most: largest difference {difference:.1e}")


def main() -> None:
    """Print the tables and write ``results/headline.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=950)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = GeneAutoencoder(1000).eval()
    table = torch.tensor(shapae.datasets.gene_modules(max(options.rows, 100), 1000).X.to_numpy())
    found: dict[str, Any] = {"rows": options.rows, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    found |= {name: version(name) for name in ("torch", "shap", "captum")}
    print(f"{options.rows} x 1000, b = 100, float32, {found['threads']} threads on {found['cores']} cores")
    for name, case in CASES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = measure(case, model, table[: options.rows], table[:100], options.repeats)
        show(name, found[name])
    save("headline", found)


if __name__ == "__main__":
    main()
