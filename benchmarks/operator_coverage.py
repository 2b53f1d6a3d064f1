"""Do the values add up? Two scores of each model of the zoo, through three tools.

``python -m benchmarks.operator_coverage [--rows 6] [--background 20]``, at the root of the repository. The scores are
the squared
error as people write it, and a sum of outputs, in which nothing but the model itself can go wrong. The residual is
|score - mean score of the background - sum of values|, at most over the rows, as a part of the spread of the scores: 0
for values that add up.
"""

import argparse
import copy
import warnings
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

import shap
import torch
from captum.attr import DeepLiftShap
from torch import Tensor, nn

import shapae
from benchmarks import save
from benchmarks.parallel import SquaredError

TOLERANCE = 1e-3


class SumOfOutputs(nn.Module):
    """The sum of the first half of the outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 1)."""
        scores: Tensor = self.model(rows)[:, : rows.shape[1] // 2].sum(1, keepdim=True)
        return scores


def by_shap(score: nn.Module, rows: Tensor, background: Tensor) -> Any:
    """(n, d, 1)."""
    return shap.DeepExplainer(score, background).shap_values(rows, check_additivity=False)


def by_captum(score: nn.Module, rows: Tensor, background: Tensor) -> Any:
    """(n, d)."""
    return DeepLiftShap(score).attribute(rows, baselines=background, target=0)


Tool = Callable[[nn.Module, Tensor, Tensor], Any]
TOOLS: dict[str, Tool] = {
    "shapae": shapae.deepshap.attribute,
    "shap.DeepExplainer": by_shap,
    "captum.DeepLiftShap": by_captum,
}
SCORES = {"squared error": SquaredError, "sum of outputs": SumOfOutputs}
Results = dict[str, float | str]


def residual(tool: Tool, score: nn.Module, rows: Tensor, background: Tensor) -> float | str:
    """A part of the spread of the scores, or which exception came instead."""
    try:
        values = torch.as_tensor(tool(copy.deepcopy(score), rows.clone(), background.clone()))
    except shapae.errors.ShapaeError as error:
        return f"refused: {error}"
    except Exception as error:  # whatever it is, it is the result
        return f"crash: {type(error).__name__}"
    with torch.no_grad():
        scores, base = score(rows)[:, 0], score(background)[:, 0]
    missing = scores - base.mean() - values.detach().reshape(len(rows), -1).sum(1)
    both = torch.cat([scores, base])
    return float(missing.abs().max() / (both.max() - both.min()))


def measure(wrap: Callable[[nn.Module], nn.Module], n: int, b: int) -> dict[str, Results]:
    """Names of models to names of tools to residuals."""
    zoo = import_module("tests.deepshap.zoo")
    found = {}
    for name, make in zoo.ZOO.items():
        torch.manual_seed(0)
        score = wrap(make().float().eval())
        rows, background = torch.randn(n, zoo.D), torch.randn(b, zoo.D)
        found[name] = {key: residual(tool, score, rows, background) for key, tool in TOOLS.items()}
    return found


def verdict(result: float | str) -> str:
    """One of "right", "wrong", "refused", "crash"; a residual that is not a number is wrong."""
    if isinstance(result, str):
        return result.partition(":")[0]
    return "right" if result <= TOLERANCE else "wrong"


def cell(result: float | str) -> str:
    """As it stands in the table."""
    told = verdict(result)
    if isinstance(result, str):
        return f"**{told}**"
    return f"{result:.0e}".replace("e-0", "e-") if told == "right" else f"**{result:.2g} wrong**"


def show(score: str, found: dict[str, Results]) -> None:
    """Print the table of one score, and its counts."""
    print(f"\n| {score} | {' | '.join(TOOLS)} |\n|---|{'---|' * len(TOOLS)}")
    for name, results in found.items():
        print(f"| {name} | {' | '.join(cell(results[key]) for key in TOOLS)} |")
    for key in TOOLS:
        counts = Counter(verdict(results[key]) for results in found.values())
        print(f"\n{key}: {', '.join(f'{count} {told}' for told, count in counts.most_common())}", end="")
    print(f", of {len(found)} models each")


def main() -> None:
    """Print the tables and write ``results/operator_coverage.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--background", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {name: measure(wrap, options.rows, options.background) for name, wrap in SCORES.items()}
    for name, each in found.items():
        show(name, each)
    save("operator_coverage", found)


if __name__ == "__main__":
    main()
