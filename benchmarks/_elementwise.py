"""Elementwise functions in torch, and the same functions of mpmath's numbers."""

from collections.abc import Callable
from typing import Any

import mpmath as mp  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # constants of SELU

# A function in torch, and the same function of mpmath's numbers.
FunctionPair = tuple[Callable[[Tensor], Tensor], Callable[[Any], Any]]


def piecewise(below: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function that is x above 0, and ``below`` elsewhere."""
    return lambda x: x if x > 0 else below(x)


def clip(x: Any, low: float, high: float) -> Any:
    """Clip x to an interval."""
    return min(max(x, mp.mpf(low)), mp.mpf(high))


def logistic(x: Any) -> Any:
    """Compute the sigmoid 1 / (1 + exp(-x))."""
    return 1 / (1 + mp.exp(-x))


def softplus(x: Any) -> Any:
    """Compute log(1 + exp(x))."""
    return mp.log1p(mp.exp(x))


ACTIVATIONS: dict[str, FunctionPair] = {
    "CELU": (nn.CELU(2.0), piecewise(lambda x: 2 * mp.expm1(x / 2))),
    "ELU": (nn.ELU(), piecewise(mp.expm1)),
    "GELU": (nn.GELU(), lambda x: x * mp.ncdf(x)),
    "GELU(tanh)": (nn.GELU("tanh"), lambda x: x * logistic(mp.sqrt(8 / mp.pi) * (x + 0.044715 * x**3))),
    "Hardshrink": (nn.Hardshrink(), lambda x: x if abs(x) > 0.5 else 0),
    "Hardsigmoid": (nn.Hardsigmoid(), lambda x: clip(x + 3, 0, 6) / 6),
    "Hardswish": (nn.Hardswish(), lambda x: x * clip(x + 3, 0, 6) / 6),
    "Hardtanh": (nn.Hardtanh(), lambda x: clip(x, -1, 1)),
    "LeakyReLU": (nn.LeakyReLU(), piecewise(lambda x: 0.01 * x)),
    "LogSigmoid": (nn.LogSigmoid(), lambda x: -softplus(-x)),
    "Mish": (nn.Mish(), lambda x: x * mp.tanh(softplus(x))),
    "PReLU": (nn.PReLU(), piecewise(lambda x: 0.25 * x)),
    "ReLU": (nn.ReLU(), piecewise(lambda x: 0)),
    "ReLU6": (nn.ReLU6(), lambda x: clip(x, 0, 6)),
    "RReLU": (nn.RReLU().eval(), piecewise(lambda x: x * 11 / 48)),
    "SELU": (nn.SELU(), lambda x: SCALE * piecewise(lambda x: ALPHA * mp.expm1(x))(x)),
    "SiLU": (nn.SiLU(), lambda x: x * logistic(x)),
    "Sigmoid": (nn.Sigmoid(), logistic),
    "Softplus": (nn.Softplus(), softplus),
    "Softshrink": (nn.Softshrink(), lambda x: x - clip(x, -0.5, 0.5)),
    "Softsign": (nn.Softsign(), lambda x: x / (1 + abs(x))),
    "Tanh": (nn.Tanh(), mp.tanh),
    "Tanhshrink": (nn.Tanhshrink(), lambda x: x - mp.tanh(x)),
    "Threshold": (nn.Threshold(0.5, -1.0), lambda x: x if x > 0.5 else -1),
}
FUNCTIONS: dict[str, FunctionPair] = {
    "exp": (torch.exp, mp.exp),
    "square": (torch.square, lambda x: x * x),
    "erf": (torch.erf, mp.erf),
    "sin": (torch.sin, mp.sin),
}
POSITIVE_FUNCTIONS: dict[str, FunctionPair] = {
    "log": (torch.log, mp.log),
    "log1p": (torch.log1p, mp.log1p),
    "sqrt": (torch.sqrt, mp.sqrt),
    "rsqrt": (torch.rsqrt, lambda x: 1 / mp.sqrt(x)),
    "reciprocal": (torch.reciprocal, lambda x: 1 / x),
}
