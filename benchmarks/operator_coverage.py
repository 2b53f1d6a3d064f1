"""Do the values add up? Two scores of each model of the test zoo, with three tools.

``python -m benchmarks.operator_coverage [--rows 6] [--background 20]``, at the root of the repository. The scores are
the squared error as people write it, and a sum of outputs, where only the operators of the model can go wrong. The
residual is |score - mean score of the background - sum of values|: its maximum over the rows, relative to the range of
the scores; it is 0 if the values add up.
"""

import argparse
import copy
import warnings
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

import shapae
from benchmarks import save
from benchmarks._peers import SquaredError, SumOfOutputs, captum_deep, shap_deep

TOLERANCE = 1e-3
TOOLS: dict[str, Callable[[nn.Module, Tensor, Tensor], Any]] = {
    "shapae": shapae.deepshap.attribute,
    "shap.DeepExplainer": shap_deep,
    "captum.DeepLiftShap": captum_deep,
}
SCORES = {"squared error": SquaredError, "sum of outputs": SumOfOutputs}
Results = dict[str, float | str]


def residual(tool: str, score: nn.Module, rows: Tensor, background: Tensor) -> float | str:
    """Compute the residual, or describe the exception that was raised."""
    try:
        values = torch.as_tensor(TOOLS[tool](copy.deepcopy(score), rows.clone(), background.clone()))
    except shapae.errors.ShapaeError as error:
        return f"refused: {error}"
    except Exception as error:  # any error is a result
        return f"crash: {type(error).__name__}"
    with torch.no_grad():
        scores, base = score(rows)[:, 0], score(background)[:, 0]
    missing = scores - base.mean() - values.detach().reshape(len(rows), -1).sum(1)
    both = torch.cat([scores, base])
    return float(missing.abs().max() / (both.max() - both.min()))


def measure(wrap: Callable[[nn.Module], nn.Module], n: int, b: int) -> dict[str, Results]:
    """Compute the residual of each model of the zoo with each tool."""
    zoo = import_module("tests.deepshap.zoo")
    results = {}
    for name, create in zoo.ZOO.items():
        torch.manual_seed(0)
        score = wrap(create().float().eval())
        rows, background = torch.randn(n, zoo.D), torch.randn(b, zoo.D)
        results[name] = {tool: residual(tool, score, rows, background) for tool in TOOLS}
    return results


def verdict(result: float | str) -> str:
    """Return "right", "wrong", "refused" or "crash"; a residual of NaN is wrong."""
    if isinstance(result, str):
        return result.partition(":")[0]
    return "right" if result <= TOLERANCE else "wrong"


def format_cell(result: float | str) -> str:
    """Format one cell of the table."""
    word = verdict(result)
    if isinstance(result, str):
        return f"**{word}**"
    return f"{result:.0e}".replace("e-0", "e-") if word == "right" else f"**{result:.2g} wrong**"


def show(score: str, results: dict[str, Results]) -> None:
    """Print the table of one score, and the counts of its verdicts."""
    print(f"\n| {score} | {' | '.join(TOOLS)} |\n|---|{'---|' * len(TOOLS)}")
    for name, each in results.items():
        print(f"| {name} | {' | '.join(format_cell(each[tool]) for tool in TOOLS)} |")
    for tool in TOOLS:
        counts = Counter(verdict(each[tool]) for each in results.values())
        print(f"\n{tool}: {', '.join(f'{count} {word}' for word, count in counts.most_common())}", end="")
    print(f", of {len(results)} models each")


def main() -> None:
    """Print the tables and write ``results/operator_coverage.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--background", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = {name: measure(wrap, options.rows, options.background) for name, wrap in SCORES.items()}
    for name, each in results.items():
        show(name, each)
    save("operator_coverage", results)


if __name__ == "__main__":
    main()
