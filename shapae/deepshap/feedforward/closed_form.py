"""Shapley values of all outputs of a chain with one nonlinearity f, in closed form.

Take a row x, a background row b, D = x - b, and a coalition whose features are each inside with probability t. The
input u of a hidden unit h with weights A is a sum of independent terms: it is nearly normal, with the mean
u_b + t (u_x - u_b) and the variance t (1 - t) V, V = sum_i A_hi^2 D_i^2. To the second order in A_hi D_i,

    phi_i = A_hi D_i I + 1/2 A_hi^2 D_i^2 J,   I = integral of E f'(u),   J = integral of (1 - 2 t) E f''(u),

integrals over t from 0 to 1, for which Shapley values average over all sizes of coalitions. For normal u the heat
equation gives (u_x - u_b) I + 1/2 V J = f(u_x) - f(u_b): the values add up. So J follows from I, no second derivative
is needed, and the values add up exactly although I is a quadrature. What the quadrature misses is thus shared among the
features in proportion to A_hi^2 D_i^2, unit by unit and pair by pair; a feature that does not differ gets none of it.

I stands where DeepSHAP has its slope, so that the product with A carries it for all outputs at once, and J likewise.
The values are exact for quadratic f, and for the one feature that a unit depends on. Otherwise their error falls as
1 / sqrt(number of features), as far as the features have similar shares in V.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shapae.deepshap.feedforward import contraction
from shapae.deepshap.feedforward.chain import FeedForward, padded_empty
from shapae.deepshap.feedforward.factors import Pairs
from shapae.deepshap.rules.elementwise import is_square
from shapae.deepshap.tracing.tape import Step
from shapae.utils.blocks import block_bytes
from shapae.utils.memory import batches

# Number of sizes t of coalitions; the integrand is steep at both ends, so t = sin(angle)^2, and the angles are nodes.
SIZES = 8
# Number of distances from the mean at which a normal distribution is sampled, on both sides.
RADII = 4
# Functions that a normal distribution with the right mean and variance tells enough of: their slopes are bounded, and
# they neither jump nor oscillate. The squares and products of ``is_square`` and ``mul`` have slopes for which the
# values are exact. Others, such as exp, can be off by any factor, as the tails of u differ from normal ones.
SUITED = {
    *("_prelu_kernel", "abs", "atan", "celu", "clamp", "clamp_min", "elu", "erf", "gelu", "hardsigmoid", "hardswish"),
    *("hardtanh", "leaky_relu", "maximum", "minimum", "mish", "mul", "relu", "sigmoid", "silu", "softplus", "tanh"),
}


@dataclass(frozen=True)
class ClosedForm:
    """Values of a chain with one nonlinearity; an order in the sense of ``contraction.Order``.

    Attributes:
        position: Number of maps before the nonlinearity.
        weights: Transposed matrix of these maps, (d, h).
        squares: Its elements squared.
    """

    position: int
    weights: Tensor
    squares: Tensor

    def rows_per_block(self, chain: FeedForward, terms: int) -> int:
        """See ``contraction.Order``."""
        d, h = self.weights.shape
        row_bytes = d * (2 * h + max(chain.widths[self.position :])) * self.weights.element_size()
        return max(1, self._block_bytes // (row_bytes + terms * self._term_bytes))

    def fill(self, chain: FeedForward, factors: Pairs, out: Tensor) -> None:
        """See ``contraction.Order``."""
        first, second = (padded_empty(out, len(out), *self.weights.shape) for _ in range(2))
        for block in batches(factors.shape[1], max(1, self._block_bytes // self._term_bytes)):
            part, beta = factors.select(slice(None), block), int(block.start > 0)
            delta, weighted = part.differences(), part.features()
            slope, curvature = self._expectations(chain, part, delta.square() @ self.squares)
            first.baddbmm_(weighted.mT, slope, beta=beta)
            second.baddbmm_(weighted.mul_(delta).mT, curvature, beta=beta)
        values = first.addcmul_(second, self.weights, value=0.5).mul_(self.weights)
        for affine in chain.maps[self.position : -1]:
            values = affine.forward(values)
        chain.maps[-1].forward(values, out=out)

    def _expectations(self, chain: FeedForward, pairs: Pairs, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Compute I and J of all pairs and hidden units, (n, b, h), from V."""
        step = chain.nonlinearities[self.position - 1]
        assert step is not None
        slots = (step.variables[0], step.slot)
        rise, out_rise = (pairs.x[slot].unsqueeze(1) - pairs.b[slot] for slot in slots)
        variance = variance.reshape(rise.shape)
        slope = mean_slope(_function(step), pairs.b[slots[0]], rise, variance.sqrt())
        limits = torch.finfo(variance.dtype)
        variance.masked_fill_(variance < limits.tiny / limits.eps, torch.inf)  # so small that rounding is all there is
        curvature = 2 * (out_rise - rise * slope) / variance
        return slope.flatten(2), curvature.flatten(2)

    @property
    def _block_bytes(self) -> int:
        return block_bytes(contraction.BLOCK_BYTES, self.weights)

    @property
    def _term_bytes(self) -> int:
        d, h = self.weights.shape
        return (3 * d + 10 * h) * self.weights.element_size()


def closed_form(chain: FeedForward) -> ClosedForm | None:
    """Build the closed form of a chain; None if it has more than one nonlinearity."""
    positions = [position for position, step in enumerate(chain.nonlinearities, start=1) if step]
    if len(positions) > 1:
        return None
    weights = chain.maps[0].dense
    for affine in chain.maps[1 : positions[0]]:
        weights = affine.forward_columns(weights)
    weights = weights.mT.contiguous()
    return ClosedForm(positions[0], weights, weights.square())


def suits(chain: FeedForward) -> bool:
    """Tell whether the values of the closed form are near the Shapley values of a chain with one nonlinearity."""
    return all(step.name in SUITED or is_square(step) for step in chain.nonlinearities if step)


def mean_slope(function: Callable[[Tensor], Tensor], start: Tensor, rise: Tensor, spread: Tensor) -> Tensor:
    """Compute the integral of E f'(u) over t from 0 to 1, u normal with mean start + t rise.

    A normal variable is uniform between m - s r and m + s r, if r has the chi distribution with three degrees of
    freedom. Between the two, the mean of f' is the slope of a secant. So no derivative is needed, and a kink is
    smoothed before the quadrature sees it.

    Args:
        function: f, elementwise.
        start: Mean of u at t = 0.
        rise: Difference of the means at both ends.
        spread: Standard deviation of u, divided by sqrt(t (1 - t)); where it is 0, so is the result.
    """
    total = torch.zeros_like(rise)
    for t, weight in zip(*_sizes(), strict=True):
        mean, deviation = torch.add(start, rise, alpha=t), spread * (t * (1 - t)) ** 0.5
        secants = torch.zeros_like(rise)
        for radius, factor in zip(*_signed_radii(), strict=True):
            secants.add_(function(torch.add(mean, deviation, alpha=radius)), alpha=factor)
        total.add_(secants.div_(deviation.clamp_min_(torch.finfo(total.dtype).tiny)), alpha=weight)
    return total


def _sizes() -> tuple[list[float], list[float]]:
    """Return the sizes t of the quadrature, and their weights."""
    node, weight = np.polynomial.legendre.leggauss(SIZES)
    angle = (node + 1) * np.pi / 4
    return (np.sin(angle) ** 2).tolist(), (weight * np.pi / 4 * np.sin(2 * angle)).tolist()


def _signed_radii() -> tuple[list[float], list[float]]:
    """Return the distances -r and r, and the weights of f there: those of the chi distribution, divided by +-2 r."""
    node, weight = np.polynomial.hermite_e.hermegauss(2 * RADII + 1)
    return np.delete(node, RADII).tolist(), np.delete(weight * node / (2 * np.pi) ** 0.5, RADII).tolist()


def _function(step: Step) -> Callable[[Tensor], Tensor]:
    """Build f from an elementwise step, up to a constant."""
    if step.name == "tanh":  # for which torch takes several times as long as for sigmoid
        return lambda values: torch.sigmoid_(2 * values).mul_(2)
    return lambda values: step.run(*(values for _ in step.variables))
