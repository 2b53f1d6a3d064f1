"""Do the values add up? Squared error of each model of the zoo, through three tools.

``python -m benchmarks.zoo [--rows 6] [--background 20]``, at the root of the repository.
The residual is |score - mean score of the background - sum of values|, at most over the rows, as a part of the spread
of the scores: 0 for values that add up.
"""

import argparse
import copy
import json
import warnings
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import shap
import torch
from captum.attr import DeepLiftShap
from torch import Tensor, nn

import shapae

RESULTS = Path(__file__).parent / "results"
TOLERANCE = 1e-3


class SquaredError(nn.Module):
    """The score as people write it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 1)."""
        scores: Tensor = ((self.model(rows) - rows) ** 2).mean(1, keepdim=True)
        return scores


def by_shapae(model: nn.Module, rows: Tensor, background: Tensor) -> Any:
    """(n, d), from the autoencoder itself."""
    return shapae.Explainer(model, background, backend="deep", progress=False)(rows).values


def by_shap(model: nn.Module, rows: Tensor, background: Tensor) -> Any:
    """(n, d, 1)."""
    return shap.DeepExplainer(SquaredError(model), background).shap_values(rows, check_additivity=False)


def by_captum(model: nn.Module, rows: Tensor, background: Tensor) -> Any:
    """(n, d)."""
    return DeepLiftShap(SquaredError(model)).attribute(rows, baselines=background, target=0)


Tool = Callable[[nn.Module, Tensor, Tensor], Any]
TOOLS: dict[str, Tool] = {"shapae": by_shapae, "shap.DeepExplainer": by_shap, "captum.DeepLiftShap": by_captum}


def residual(tool: Tool, model: nn.Module, rows: Tensor, background: Tensor) -> float | str:
    """A part of the spread of the scores, or which exception came instead."""
    try:
        values = torch.as_tensor(tool(copy.deepcopy(model), rows.clone(), background.clone()))
    except Exception as error:  # whatever it is, it is the result
        return f"crash: {type(error).__name__}"
    with torch.no_grad():
        scores, base = (SquaredError(model)(each)[:, 0] for each in (rows, background))
    missing = scores - base.mean() - values.detach().reshape(len(rows), -1).sum(1)
    scores = torch.cat([scores, base])
    return float(missing.abs().max() / (scores.max() - scores.min()))


def measure(tools: dict[str, Tool], n: int, b: int) -> dict[str, dict[str, float | str]]:
    """Names of models to names of tools to residuals."""
    zoo = import_module("tests.zoo")
    found = {}
    for name, make in zoo.ZOO.items():
        torch.manual_seed(0)
        model = make().float().eval()
        rows, background = torch.randn(n, zoo.D), torch.randn(b, zoo.D)
        found[name] = {key: residual(tool, model, rows, background) for key, tool in tools.items()}
    return found


def verdict(result: float | str) -> str:
    """One of "right", "wrong", "crash"; a residual that is not a number is wrong."""
    if isinstance(result, str):
        return "crash"
    return "right" if result <= TOLERANCE else "wrong"


def cell(result: float | str) -> str:
    """As it stands in the table."""
    told = verdict(result)
    if told == "crash":
        return "**crash**"
    return f"{result:.0e}".replace("e-0", "e-") if told == "right" else f"**{result:.2g} wrong**"


def main() -> None:
    """Print the table and write ``results/zoo.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--background", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure(TOOLS, options.rows, options.background)
    print(f"| model | {' | '.join(TOOLS)} |\n|---|{'---|' * len(TOOLS)}")
    for name, results in found.items():
        print(f"| {name} | {' | '.join(cell(results[key]) for key in TOOLS)} |")
    for key in TOOLS:
        counts = Counter(verdict(results[key]) for results in found.values())
        print(f"\n{key}: " + ", ".join(f"{counts[told]} {told}" for told in ("right", "wrong", "crash")), end="")
    print(f", of {len(found)} models each")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "zoo.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
