"""Accuracy of the slopes of every elementwise activation of torch.nn in float32, beside shap.

``python -m benchmarks.slope_accuracy``. The pairs (x, b) are float32 numbers, 1e-7 to 4 apart; their true slope
(f(x) - f(b)) / (x - b) is computed with 50 digits. The error of a pair is |slope - true| / max(|true|, 1e-3 * largest
|true| of all pairs). For functions with a jump, the largest slope is that of the jump, which hides the other pairs.
"""

import warnings
from collections.abc import Callable
from typing import Any

import mpmath as mp  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from benchmarks import save
from benchmarks._elementwise import ACTIVATIONS, FUNCTIONS, POSITIVE_FUNCTIONS, FunctionPair
from benchmarks._peers import shap_deep
from shapae.deepshap import attribute

DIGITS = 50  # of the true slopes
FLOOR = 1e-3  # smallest slope that an error is relative to, as a share of the largest slope
DELTAS = torch.logspace(-7, 0.602, 12, dtype=torch.float64)  # up to 4
AROUND_0 = torch.logspace(-2, 0.9, 8, dtype=torch.float64)
# Not symmetric around 0: the sum of an odd function would be a score of rounding errors only, which shapae rejects.
REAL = torch.cat([torch.linspace(-8, 8, 33, dtype=torch.float64), AROUND_0, -AROUND_0 / 2])
POSITIVE = torch.logspace(-1, 0.903, 49, dtype=torch.float64)  # from 0.1 to 8


def pairs(points: Tensor, lowest: float) -> tuple[Tensor, Tensor]:
    """Return x and b in float32: each point with each delta up and down, where b differs and is at least ``lowest``."""
    x = points.repeat_interleave(2 * len(DELTAS))
    b = (x + torch.cat([DELTAS, -DELTAS]).repeat(len(points))).float()
    kept = (x.float() != b) & (b >= lowest)
    return x.float()[kept], b[kept]


def shapae_slopes(function: Callable[[Tensor], Tensor], x: Tensor, b: Tensor) -> Tensor:
    """Compute the slopes with shapae, as attributions of one row whose features are the pairs."""
    return attribute(lambda rows: function(rows).sum(1), x[None], b[None])[0].double() / (x.double() - b.double())


def shap_slopes(function: Callable[[Tensor], Tensor], x: Tensor, b: Tensor) -> Tensor | None:
    """Compute the slopes with shap; None for a function that is not a module."""
    if not isinstance(function, nn.Module):
        return None
    total = nn.Linear(len(x), 1, bias=False)
    nn.init.ones_(total.weight)
    values = shap_deep(nn.Sequential(function, total), x[None], b[None])
    return torch.as_tensor(values).double().flatten() / (x.double() - b.double())


TOOLS: dict[str, Callable[..., Tensor | None]] = {"shapae": shapae_slopes, "shap": shap_slopes}


def true_slopes(function: Callable[[Any], Any], x: Tensor, b: Tensor) -> Tensor:
    """Compute the slopes with ``DIGITS`` digits, rounded to float64."""
    with mp.workdps(DIGITS):
        points = [(mp.mpf(u), mp.mpf(v)) for u, v in zip(x.tolist(), b.tolist(), strict=True)]
        return torch.tensor([float((function(u) - function(v)) / (u - v)) for u, v in points], dtype=torch.float64)


def slope_errors(slopes: Tensor | None, true: Tensor, x: Tensor, b: Tensor) -> dict[str, Any] | None:
    """Compute the largest and median error, and the pair with the largest error."""
    if slopes is None:
        return None
    error = (slopes - true).abs() / true.abs().clamp(min=FLOOR * float(true.abs().max()))
    worst = int(error.nan_to_num(torch.inf).argmax())
    return {
        "largest": float(error[worst]),
        "median": float(error.median()),
        "at": {"x": float(x[worst]), "b": float(b[worst]), "true": float(true[worst]), "got": float(slopes[worst])},
    }


def measure(functions: dict[str, FunctionPair], x: Tensor, b: Tensor) -> dict[str, dict[str, Any]]:
    """Compute the errors of each function with each tool."""
    results = {}
    for name, (function, exact) in functions.items():
        true = true_slopes(exact, x, b)
        results[name] = {key: slope_errors(tool(function, x, b), true, x, b) for key, tool in TOOLS.items()}
    return results


def format_cells(error: dict[str, Any] | None) -> str:
    """Format the largest and the median error as two cells of the table."""
    return "- | -" if error is None else f"{error['largest']:.1e} | {error['median']:.1e}"


def main() -> None:
    """Print the table and write ``results/slope_accuracy.json``."""
    torch.set_num_threads(1)
    real, positive = pairs(REAL, -torch.inf), pairs(POSITIVE, 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = measure(ACTIVATIONS | FUNCTIONS, *real) | measure(POSITIVE_FUNCTIONS, *positive)
    print(f"float32, {len(real[0])} pairs each, {len(positive[0])} of positive numbers")
    print(f"| function | {' | '.join(f'{tool}: largest error | {tool}: median' for tool in TOOLS)} |")
    print(f"|---|{'---|---|' * len(TOOLS)}")
    for name, each in results.items():
        print(f"| {name} | {' | '.join(format_cells(each[tool]) for tool in TOOLS)} |")
    save("slope_accuracy", results)


if __name__ == "__main__":
    main()
