"""Slopes of elementwise functions between two values, (f(x) - f(b)) / (x - b), in forms without cancellation.

Each function takes the pair and the operator's own settings. All of them are also right where x = b.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shapae.utils.registry import Registry

SLOPES: Registry[Callable[..., Tensor]] = Registry("elementwise operator")


class Pair(NamedTuple):
    """Value of the row and value of the background row."""

    x: Tensor
    b: Tensor

    @property
    def delta(self) -> Tensor:
        """Difference of the two values; 0 where both are the same infinity."""
        return (self.x - self.b).masked_fill(self.x == self.b, 0)

    @property
    def middle(self) -> Tensor:
        """Midpoint of the two values."""
        return (self.x + self.b) / 2

    @property
    def high(self) -> Tensor:
        """Larger of the two values."""
        return torch.maximum(self.x, self.b)

    @property
    def low(self) -> Tensor:
        """Smaller of the two values."""
        return torch.minimum(self.x, self.b)

    def map(self, function: Any, *settings: Any) -> "Pair":
        """Apply ``function`` to both values."""
        return Pair(function(self.x, *settings), function(self.b, *settings))


def ratio(numerator: Tensor, denominator: Tensor, limit: Any) -> Tensor:
    """Divide; where the denominator is 0, the result is ``limit``."""
    return torch.where(denominator == 0, limit, numerator / denominator)


def phi1(t: Tensor) -> Tensor:
    """Compute (1 - exp(-t)) / t, the mean of exp(-s) over s from 0 to t."""
    return ratio(-torch.expm1(-t), t, 1.0)


@SLOPES.register("relu")
def relu(x: Pair) -> Tensor:
    """Compute the fraction of the interval between the two values that is above 0; the derivative at 0 is 0."""
    above = x.map(torch.relu).high
    below = Pair(torch.relu(-x.x), torch.relu(-x.b) + torch.finfo(above.dtype).tiny).high
    return above.div_(below.add_(above))  # in place, to save memory passes: the tensor holds a number for each pair


@SLOPES.register("leaky_relu")
def leaky_relu(x: Pair, negative_slope: Any = 0.01) -> Tensor:
    """Use y = a x + (1 - a) relu(x)."""
    slope: Tensor = negative_slope + (1 - negative_slope) * relu(x)
    return slope


@SLOPES.register("_prelu_kernel")
def prelu(x: Pair, weight: Tensor) -> Tensor:
    """Use ``leaky_relu``, with one weight for each channel."""
    return leaky_relu(x, weight)


@SLOPES.register("abs")
def absolute(x: Pair) -> Tensor:
    """Use y = 2 relu(x) - x."""
    return 2 * relu(x) - 1


@SLOPES.register("clamp", "hardtanh")
def clamp(x: Pair, low: Any = None, high: Any = None) -> Tensor:
    """Use y = relu(x - low) - relu(x - high) + low."""
    low, high = (-1, 1) if low is None and high is None else (low, high)
    low = min(low, high) if isinstance(low, int | float) and isinstance(high, int | float) else low
    below = relu(x.map(torch.sub, low)) if low is not None else torch.ones_like(x.delta)
    return below - relu(x.map(torch.sub, high)) if high is not None else below


@SLOPES.register("hardsigmoid")
def hardsigmoid(x: Pair) -> Tensor:
    """Use y = clamp(x / 6 + 1 / 2), clamped to [0, 1]."""
    return clamp(x, -3, 3) / 6


@SLOPES.register("hardswish")
def hardswish(x: Pair) -> Tensor:
    """Use y = x hardsigmoid(x)."""
    return x.map(functional.hardsigmoid).middle + x.middle * hardsigmoid(x)


@SLOPES.register("exp")
def exp(x: Pair) -> Tensor:
    """Compute the logarithmic mean of both values of the function."""
    return x.map(torch.exp).high * phi1(x.delta.abs())


@SLOPES.register("expm1")
def expm1(x: Pair) -> Tensor:
    """Use y = exp(x) - 1."""
    return exp(x)


@SLOPES.register("elu")
def elu(x: Pair, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """Use y = relu(x) + alpha expm1(min(x, 0))."""
    positive = relu(x)
    negative = exp(Pair(*(input_scale * each.clamp(max=0) for each in x)))
    return scale * (positive + alpha * input_scale * negative * (1 - positive))


@SLOPES.register("celu")
def celu(x: Pair, alpha: float = 1) -> Tensor:
    """Use ``elu`` with input scale 1 / alpha."""
    return elu(x, alpha, 1, 1 / alpha)


@SLOPES.register("sigmoid")
def sigmoid(x: Pair) -> Tensor:
    """Use s(high) - s(low) = s(high) s(-low) (1 - exp(low - high))."""
    return x.map(torch.sigmoid).high * Pair(-x.x, -x.b).map(torch.sigmoid).high * phi1(x.delta.abs())


@SLOPES.register("tanh")
def tanh(x: Pair) -> Tensor:
    """Use y = 2 sigmoid(2 x) - 1."""
    return 4 * sigmoid(Pair(2 * x.x, 2 * x.b))


@SLOPES.register("silu")
def silu(x: Pair) -> Tensor:
    """Use y = x sigmoid(x)."""
    return x.map(torch.sigmoid).middle + x.middle * sigmoid(x)


@SLOPES.register("softplus")
def softplus(x: Pair, beta: float = 1, threshold: float = 20) -> Tensor:
    """Use y = log(1 + exp(beta x)) / beta; y = x where beta x is beyond the threshold."""
    x = Pair(beta * x.x, beta * x.b)
    delta, out = x.delta.abs(), x.map(functional.softplus, 1, threshold)
    near_rise = torch.log1p(torch.sigmoid(x.low) * torch.expm1(delta.clamp(max=1)))
    rise = torch.where((delta < 1) & (x.high <= threshold), near_rise, out.high - out.low)
    return ratio(rise, delta, torch.sigmoid(x.x).masked_fill(x.x > threshold, 1))


@SLOPES.register("mish")
def mish(x: Pair) -> Tensor:
    """Use y = x tanh(softplus(x))."""
    soft = x.map(functional.softplus)
    return soft.map(torch.tanh).middle + x.middle * tanh(soft) * softplus(x)


@SLOPES.register("log")
def log(x: Pair) -> Tensor:
    """Use y_high - y_low = log1p((high - low) / low)."""
    return _log_ratio(x.delta.abs(), x.low)


@SLOPES.register("log1p")
def log1p(x: Pair) -> Tensor:
    """Use y = log(1 + x)."""
    return _log_ratio(x.delta.abs(), 1 + x.low)


def _log_ratio(delta: Tensor, low: Tensor) -> Tensor:
    relative = delta / low
    return ratio(torch.log1p(relative), relative, 1.0) / low


@SLOPES.register("sqrt")
def sqrt(x: Pair) -> Tensor:
    """Compute the reciprocal of the sum of both roots."""
    root = x.map(torch.sqrt)
    return ratio(torch.ones_like(root.x), root.x + root.b, 0.0)


@SLOPES.register("rsqrt")
def rsqrt(x: Pair) -> Tensor:
    """Compute -1 / (sqrt(x) sqrt(b) (sqrt(x) + sqrt(b)))."""
    root = x.map(torch.sqrt)
    return -1 / (root.x * root.b * (root.x + root.b))


@SLOPES.register("reciprocal")
def reciprocal(x: Pair) -> Tensor:
    """Compute -1 / (x b)."""
    return -x.x.reciprocal() * x.b.reciprocal()


@SLOPES.register("sin")
def sin(x: Pair) -> Tensor:
    """Multiply the cosine of the midpoint by the mean cosine over half the difference."""
    return torch.cos(x.middle) * torch.sinc(x.delta / (2 * torch.pi))


@SLOPES.register("cos")
def cos(x: Pair) -> Tensor:
    """Multiply the negative sine of the midpoint by the same factor as in ``sin``."""
    return -torch.sin(x.middle) * torch.sinc(x.delta / (2 * torch.pi))


@SLOPES.register("erf")
def erf(x: Pair) -> Tensor:
    """Use Gauss-Legendre quadrature of the derivative for near values, and erfc on the side of its tail for others."""
    nodes = zip(*np.polynomial.legendre.leggauss(5), strict=True)
    quadrature = sum(weight * torch.exp(-((x.middle + node * x.delta / 2) ** 2)) for node, weight in nodes)
    sign = torch.where(x.middle < 0, -1, 1)
    tail = Pair(sign * x.x, sign * x.b).map(torch.erfc)
    return torch.where(
        x.delta.abs() < 0.25, quadrature / math.sqrt(math.pi), ratio(sign * (tail.b - tail.x), x.delta, 0.0)
    )


@SLOPES.register("gelu")
def gelu(x: Pair, approximate: str = "none") -> Tensor:
    """Use y = x Phi(x), with the normal distribution Phi or its approximation by a sigmoid."""
    if approximate == "tanh":
        scale, cubic = math.sqrt(8 / math.pi), 0.044715
        inner = x.map(lambda value: scale * (value + cubic * value**3))
        rise = scale * (1 + cubic * (x.x * x.x + x.x * x.b + x.b * x.b))
        return inner.map(torch.sigmoid).middle + x.middle * sigmoid(inner) * rise
    inner = x.map(torch.mul, math.sqrt(0.5))
    return inner.map(lambda value: torch.erfc(-value)).middle / 2 + x.middle * erf(inner) * math.sqrt(0.125)
