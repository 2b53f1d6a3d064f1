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
from shapae.deepshap.rules.slopes import ratio
from shapae.deepshap.tracing.tape import Step
from shapae.utils.memory import batches

# Number of sizes t of coalitions; the integrand is steep at both ends, so t = sin(angle)^2, and the angles are nodes.
SIZES = 8
# Number of distances from the mean at which a normal distribution is sampled, on both sides.
RADII = 4


@dataclass(frozen=True)
class ClosedForm:
    """Values of a chain with one nonlinearity; an order in the sense of ``contraction.Order``.

    Attributes:
        position: Number of maps before the nonlinearity.
        weights: Matrix of these maps (h, d).
    """

    position: int
    weights: Tensor

    def rows_per_block(self, chain: FeedForward, terms: int) -> int:
        """See ``contraction.Order``."""
        return max(1, contraction.BLOCK_BYTES // (self._row_bytes(chain) + terms * self._term_bytes))

    def fill(self, chain: FeedForward, factors: Pairs, out: Tensor) -> None:
        """See ``contraction.Order``."""
        h, d = self.weights.shape
        first, second = padded_empty(out, len(out), d, h), padded_empty(out, len(out), d, h)
        terms = factors.shape[1]
        for block in batches(terms, max(1, contraction.BLOCK_BYTES // self._term_bytes)):
            part, beta = factors.select(slice(None), block), int(block.start > 0)
            delta = part.differences()
            slope, curvature = self._expectations(chain, part, delta.square())
            weighted = part.features()
            first.baddbmm_(weighted.mT, slope, beta=beta)
            second.baddbmm_(weighted.mul_(delta).mT, curvature, beta=beta)
        values = first.addcmul_(second, self.weights.mT, value=0.5).mul_(self.weights.mT)
        for affine in chain.maps[self.position : -1]:
            values = affine.forward(values)
        chain.maps[-1].forward(values, out=out)

    def _expectations(self, chain: FeedForward, pairs: Pairs, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Compute I and J of all pairs and hidden units, (n, b, h)."""
        step = chain.nonlinearities[self.position - 1]
        assert step is not None
        rise, out_rise = (
            pairs.x[slot].flatten(1).unsqueeze(1) - pairs.b[slot].flatten(1) for slot in (step.variables[0], step.slot)
        )
        variance = squares @ self.weights.square().mT
        function = _on_last_axis(step, pairs.b[step.slot].shape[1:])
        slope = mean_slope(function, pairs.b[step.variables[0]].flatten(1), rise, variance.sqrt())
        negligible = torch.finfo(variance.dtype).tiny / torch.finfo(variance.dtype).eps
        variance.masked_fill_(variance < negligible, 0)
        return slope, ratio(2 * (out_rise - rise * slope), variance, 0.0)

    @property
    def _term_bytes(self) -> int:
        h, d = self.weights.shape
        return (3 * d + (4 * RADII + 6) * h) * self.weights.element_size()

    def _row_bytes(self, chain: FeedForward) -> int:
        h, d = self.weights.shape
        return d * (2 * h + max(chain.widths[self.position :])) * self.weights.element_size()


def closed_form(chain: FeedForward) -> ClosedForm | None:
    """Build the closed form of a chain; None if it has more than one nonlinearity."""
    positions = [position for position, step in enumerate(chain.nonlinearities, start=1) if step]
    if len(positions) > 1:
        return None
    (position,) = positions
    weights = chain.maps[0].dense
    for affine in chain.maps[1:position]:
        weights = affine.forward_columns(weights)
    return ClosedForm(position, weights)


def mean_slope(function: Callable[[Tensor], Tensor], start: Tensor, rise: Tensor, spread: Tensor) -> Tensor:
    """Compute the integral of E f'(u) over t from 0 to 1, u normal with mean start + t rise.

    A normal variable is uniform between m - s r and m + s r, if r has the chi distribution with three degrees of
    freedom. Between the two, the mean of f' is the slope of a secant. So no derivative is needed, and a kink is
    smoothed before the quadrature sees it.

    Args:
        function: f, elementwise; from (2 ``RADII``, ...) to the same shape.
        start: Mean of u at t = 0.
        rise: Difference of the means at both ends.
        spread: Standard deviation of u divided by sqrt(t (1 - t)).
    """
    total = torch.zeros_like(rise)
    signed, weights = (torch.as_tensor(each, dtype=rise.dtype, device=rise.device) for each in _signed_radii())
    for t, weight in zip(*_sizes(), strict=True):
        deviation = spread * (t * (1 - t)) ** 0.5
        values = signed.view(-1, *[1] * rise.ndim) * deviation
        values += torch.add(start, rise, alpha=t)
        secants = torch.tensordot(weights, function(values), dims=1)
        total.add_(ratio(secants, deviation, 0.0), alpha=weight)
    return total


def _sizes() -> tuple[list[float], list[float]]:
    """Return the sizes t of the quadrature, and their weights."""
    node, weight = np.polynomial.legendre.leggauss(SIZES)
    angle = (node + 1) * np.pi / 4
    return (np.sin(angle) ** 2).tolist(), (weight * np.pi / 4 * np.sin(2 * angle)).tolist()


def _signed_radii() -> tuple[np.ndarray, np.ndarray]:
    """Return the distances -r and r, and the weights of f there: those of the chi distribution divided by +-2 r."""
    node, weight = np.polynomial.hermite_e.hermegauss(2 * RADII + 1)
    node, weight = np.delete(node, RADII), np.delete(weight, RADII)
    return node, weight * node / np.sqrt(2 * np.pi)


def _on_last_axis(step: Step, shape: torch.Size) -> Callable[[Tensor], Tensor]:
    """Build the function of an elementwise step, recorded for values of a ``shape``, for flat values (..., h)."""
    run = torch.vmap(lambda value: step.run(*(value for _ in step.variables)))

    def function(values: Tensor) -> Tensor:
        out: Tensor = run(values.reshape(-1, *shape))
        return out.reshape(values.shape)

    return function
