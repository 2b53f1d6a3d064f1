"""How right are the multipliers in float32? Slopes of every elementwise activation of torch.nn, beside shap's.

``python -m benchmarks.slope_accuracy``. The pairs (x, b) are float32 numbers, 1e-7 to 4 apart; their true slope
(f(x) - f(b)) / (x - b) is computed at 50 digits. The error of a pair is |slope - true| / max(|true|, 1e-3 * largest
|true| of all pairs); of functions that jump, the largest is that of the jump, and hides the other pairs.
"""

import warnings
from collections.abc import Callable
from typing import Any

import mpmath as mp  # type: ignore[import-untyped]
import shap
import torch
from torch import Tensor, nn

from benchmarks import save
from shapae.deepshap import attribute

DIGITS, FLOOR = 50, 1e-3
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # of SELU
DELTAS = torch.logspace(-7, 0.602, 12, dtype=torch.float64)  # up to 4
AROUND_0 = torch.logspace(-2, 0.9, 8, dtype=torch.float64)
# Not the same above and below 0, because shapae refuses a score that is nothing but rounding, as sums of odd functions.
REAL = torch.cat([torch.linspace(-8, 8, 33, dtype=torch.float64), AROUND_0, -AROUND_0 / 2])
POSITIVE = torch.logspace(-1, 0.903, 49, dtype=torch.float64)  # from 0.1 to 8

# The function in torch, and the same of mpmath's numbers.
Both = tuple[Callable[[Tensor], Tensor], Callable[[Any], Any]]


def bent(below: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """x above 0, another function below."""
    return lambda x: x if x > 0 else below(x)


def clip(x: Any, low: float, high: float) -> Any:
    """To the interval."""
    return min(max(x, mp.mpf(low)), mp.mpf(high))


def logistic(x: Any) -> Any:
    """Sigmoid."""
    return 1 / (1 + mp.exp(-x))


def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return mp.log1p(mp.exp(x))


ACTIVATIONS: dict[str, Both] = {
    "CELU": (nn.CELU(2.0), bent(lambda x: 2 * mp.expm1(x / 2))),
    "ELU": (nn.ELU(), bent(mp.expm1)),
    "GELU": (nn.GELU(), lambda x: x * mp.ncdf(x)),
    "GELU(tanh)": (nn.GELU("tanh"), lambda x: x * logistic(mp.sqrt(8 / mp.pi) * (x + 0.044715 * x**3))),
    "Hardshrink": (nn.Hardshrink(), lambda x: x if abs(x) > 0.5 else 0),
    "Hardsigmoid": (nn.Hardsigmoid(), lambda x: clip(x + 3, 0, 6) / 6),
    "Hardswish": (nn.Hardswish(), lambda x: x * clip(x + 3, 0, 6) / 6),
    "Hardtanh": (nn.Hardtanh(), lambda x: clip(x, -1, 1)),
    "LeakyReLU": (nn.LeakyReLU(), bent(lambda x: 0.01 * x)),
    "LogSigmoid": (nn.LogSigmoid(), lambda x: -softplus(-x)),
    "Mish": (nn.Mish(), lambda x: x * mp.tanh(softplus(x))),
    "PReLU": (nn.PReLU(), bent(lambda x: 0.25 * x)),
    "ReLU": (nn.ReLU(), bent(lambda x: 0)),
    "ReLU6": (nn.ReLU6(), lambda x: clip(x, 0, 6)),
    "RReLU": (nn.RReLU().eval(), bent(lambda x: x * 11 / 48)),
    "SELU": (nn.SELU(), lambda x: SCALE * bent(lambda x: ALPHA * mp.expm1(x))(x)),
    "SiLU": (nn.SiLU(), lambda x: x * logistic(x)),
    "Sigmoid": (nn.Sigmoid(), logistic),
    "Softplus": (nn.Softplus(), softplus),
    "Softshrink": (nn.Softshrink(), lambda x: x - clip(x, -0.5, 0.5)),
    "Softsign": (nn.Softsign(), lambda x: x / (1 + abs(x))),
    "Tanh": (nn.Tanh(), mp.tanh),
    "Tanhshrink": (nn.Tanhshrink(), lambda x: x - mp.tanh(x)),
    "Threshold": (nn.Threshold(0.5, -1.0), lambda x: x if x > 0.5 else -1),
}
FUNCTIONS: dict[str, Both] = {
    "exp": (torch.exp, mp.exp),
    "square": (torch.square, lambda x: x * x),
    "erf": (torch.erf, mp.erf),
    "sin": (torch.sin, mp.sin),
}
POSITIVE_FUNCTIONS: dict[str, Both] = {
    "log": (torch.log, mp.log),
    "log1p": (torch.log1p, mp.log1p),
    "sqrt": (torch.sqrt, mp.sqrt),
    "rsqrt": (torch.rsqrt, lambda x: 1 / mp.sqrt(x)),
    "reciprocal": (torch.reciprocal, lambda x: 1 / x),
}


def pairs(at: Tensor, lowest: float) -> tuple[Tensor, Tensor]:
    """x and b, float32: every number of ``at``, with every delta up and down, where b differs and is not too low."""
    x = at.repeat_interleave(2 * len(DELTAS))
    b = (x + torch.cat([DELTAS, -DELTAS]).repeat(len(at))).float()
    kept = (x.float() != b) & (b >= lowest)
    return x.float()[kept], b[kept]


def by_shapae(function: Callable[[Tensor], Tensor], x: Tensor, b: Tensor) -> Tensor:
    """Slopes: of one row whose features are the pairs."""
    return attribute(lambda rows: function(rows).sum(1), x[None], b[None])[0].double() / (x.double() - b.double())


def by_shap(function: Callable[[Tensor], Tensor], x: Tensor, b: Tensor) -> Tensor | None:
    """The same; None for what is no module."""
    if not isinstance(function, nn.Module):
        return None
    total = nn.Linear(len(x), 1, bias=False)
    nn.init.ones_(total.weight)
    values = shap.DeepExplainer(nn.Sequential(function, total), b[None]).shap_values(x[None], check_additivity=False)
    return torch.as_tensor(values).double().flatten() / (x.double() - b.double())


TOOLS: dict[str, Callable[..., Tensor | None]] = {"shapae": by_shapae, "shap": by_shap}


def slopes(function: Callable[[Any], Any], x: Tensor, b: Tensor) -> Tensor:
    """The true ones, rounded to float64."""
    with mp.workdps(DIGITS):
        both = [(mp.mpf(one), mp.mpf(other)) for one, other in zip(x.tolist(), b.tolist(), strict=True)]
        return torch.tensor(
            [float((function(one) - function(other)) / (one - other)) for one, other in both], dtype=torch.float64
        )


def errors(got: Tensor | None, true: Tensor, x: Tensor, b: Tensor) -> dict[str, Any] | None:
    """Largest and median error, and the pair that has the largest."""
    if got is None:
        return None
    error = (got - true).abs() / true.abs().clamp(min=FLOOR * float(true.abs().max()))
    worst = int(error.nan_to_num(torch.inf).argmax())
    return {
        "largest": float(error[worst]),
        "median": float(error.median()),
        "at": {"x": float(x[worst]), "b": float(b[worst]), "true": float(true[worst]), "got": float(got[worst])},
    }


def measure(functions: dict[str, Both], x: Tensor, b: Tensor) -> dict[str, dict[str, Any]]:
    """Names of functions to names of tools to errors."""
    found = {}
    for name, (function, exact) in functions.items():
        true = slopes(exact, x, b)
        found[name] = {key: errors(tool(function, x, b), true, x, b) for key, tool in TOOLS.items()}
    return found


def cells(error: dict[str, Any] | None) -> str:
    """The largest and the median as they stand in the table."""
    return "- | -" if error is None else f"{error['largest']:.1e} | {error['median']:.1e}"


def main() -> None:
    """Print the table and write ``results/slope_accuracy.json``."""
    torch.set_num_threads(1)
    real, positive = pairs(REAL, -torch.inf), pairs(POSITIVE, 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure(ACTIVATIONS | FUNCTIONS, *real) | measure(POSITIVE_FUNCTIONS, *positive)
    print(f"float32, {len(real[0])} pairs each, {len(positive[0])} of positive numbers")
    print(f"| function | {' | '.join(f'{tool}: largest error | {tool}: median' for tool in TOOLS)} |")
    print(f"|---|{'---|---|' * len(TOOLS)}")
    for name, results in found.items():
        print(f"| {name} | {' | '.join(cells(results[tool]) for tool in TOOLS)} |")
    save("slope_accuracy", found)


if __name__ == "__main__":
    main()
