"""Integrated gradients through one operator: the rule of operators that have a gradient, and no rule of their own."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from shapae.deepshap.rules.slopes import Pair, ratio
from shapae.deepshap.rules.terms import LEADING, Terms, regroup, sum_terms
from shapae.deepshap.tracing.tape import Step
from shapae.errors import UnsupportedOperator
from shapae.utils.blocks import block_bytes
from shapae.utils.memory import batches

# Nodes in each interval of a path, and their weights.
NODES, WEIGHTS = ((1 + np.polynomial.legendre.leggauss(3)[0]) / 2, np.polynomial.legendre.leggauss(3)[1] / 2)
# Number of intervals that each path is cut into at first. The output of a sort may leave a straight line and come back
# to it between two nodes, which no sum tells: the first nodes must be near to each other.
FIRST_INTERVALS = 32
# Bytes that are held at once for the paths on a processor, and number of intervals, chosen to bound the memory.
PATH_BYTES = 2**22
# Largest number of cuts of one path, chosen to bound the time. The path of a sort of 60 values takes about 3000.
MAX_CUTS = 2**12
# Cuts are at least this fraction of an interval away from its ends, so that both parts are shorter.
MARGIN = 0.01


def has_gradient(step: Step, values: Sequence[Tensor]) -> bool:
    """Check whether the output of a step has a gradient, and is the same each time.

    Args:
        step: On a tape.
        values: Values of its variables for one row.
    """
    dtypes = (step.dtype, *step.input_dtypes)
    if torch.Tag.nondeterministic_seeded in step.op.tags or not all(dtype.is_floating_point for dtype in dtypes):
        return False
    inputs = [value.detach().clone().requires_grad_() for value in values]
    try:
        with torch.enable_grad():
            out = step.run(*inputs)
            return out.requires_grad and bool(torch.autograd.grad(out.sum(), inputs, allow_unused=True))
    except RuntimeError:  # torch does not know the derivative
        return False


def takes_many_rows(step: Step, values: Sequence[Tensor]) -> bool:
    """Check whether torch can differentiate a step for many rows at once; see ``has_gradient`` for the arguments."""
    rows = [torch.stack([value, value]) for value in values]
    try:
        out = torch.vmap(step.run)(*rows)
        return bool(_vjp(step, out, rows))
    except RuntimeError:
        return False


def integrated_gradients(step: Step, terms: Terms, out: Pair, inputs: list[Pair]) -> list[Terms]:
    """Average the gradient over the straight path from the background row to the row.

    Each path is cut into intervals, at its kinks if there are any, until the integral of the gradient over each
    interval is the change of the output across it.

    Raises:
        UnsupportedOperator: The integrals do not add up to the change of the output: it jumps on the path, or has too
            many kinks, or can't be computed there.

    Reference:
        Sundararajan et al., 2017, section 3, https://arxiv.org/abs/1703.01365
    """
    tensors = [sum_terms(terms), *out, *chain(*inputs)]
    leading = tuple(max(sizes) for sizes in zip(*(value.shape[:LEADING] for value in tensors), strict=True))
    m, *values = (value.expand(*leading, *value.shape[LEADING:]).flatten(0, LEADING - 1) for value in tensors)
    size = max(1, block_bytes(PATH_BYTES, m) // sum(value[0].nbytes for value in (m, *values)))
    parts = []
    for part in batches(len(m), size):
        pairs = (Pair(x[part], b[part]) for x, b in zip(values[::2], values[1::2], strict=True))
        parts.append(_Paths(step, m[part], *pairs).mean_gradients(size))
    return regroup([[_unflatten(torch.cat(each), leading) for each in zip(*parts, strict=True)]])


class _Paths:
    """Straight paths from background rows to rows, on which the output of one operator is followed.

    Args:
        step: The operator.
        m: (paths, ...), multipliers of its output.
        out: (paths, ...), values of its output.
        inputs: (paths, ...), values of its inputs.
    """

    def __init__(self, step: Step, m: Tensor, out: Pair, *inputs: Pair) -> None:
        self.step, self.m, self.ends = step, m, out.map(torch.mul, m).map(_sum)
        self.starts, self.deltas = [pair.b for pair in inputs], [pair.delta for pair in inputs]
        self.sizes = [pair.x.abs() + pair.b.abs() for pair in inputs]
        self.scale = _sum(m.abs() * (out.x.abs() + out.b.abs()))  # of the rounding errors

    def mean_gradients(self, limit: int) -> list[Tensor]:
        """Average the gradients over each path, for each input, (paths, ...).

        Args:
            limit: Number of intervals that are computed at once.
        """
        try:
            means = self._mean_gradients(limit)
        except RuntimeError as error:
            raise self._refusal(f"which fails between a row and a background row: {error}") from error
        self._check(self.ends.x - self.ends.b - _sum_products(means, self.deltas), self.scale)
        return means

    def _check(self, missing: Tensor, scale: Tensor) -> None:
        """Check that the integrals miss no more of the rise of the output than rounding explains."""
        if (missing.abs() > torch.finfo(missing.dtype).eps ** 0.5 * scale).any():
            raise self._refusal("whose output jumps, or has too many kinks, between a row and a background row")

    def _refusal(self, reason: str) -> UnsupportedOperator:
        return UnsupportedOperator([f"{self.step.op} in {self.step.place}, {reason}"])

    def _mean_gradients(self, limit: int) -> list[Tensor]:
        tolerance, rounding = (torch.finfo(self.m.dtype).eps ** power for power in (0.5, 0.75))
        means, cuts = [torch.zeros_like(delta) for delta in self.deltas], torch.zeros_like(self.scale)
        waiting = [self._first_intervals()]
        while waiting:
            some = waiting.pop()
            interval, rest = [each[:limit] for each in some], [each[limit:] for each in some]
            waiting += [rest] if len(rest[0]) else []
            path, low, high, before, after = interval
            integrals, first, last = self._integrate(path, low, high)
            missing = after - before - _sum_products(integrals, [delta[path] for delta in self.deltas])
            cut = low + (high - low) * _kink(after - before, first, last)
            final = (high - low < tolerance) | (cuts[path] > MAX_CUTS)  # a kink in a short interval does not matter
            self._check(missing[final], self.scale[path][final])
            divide = (missing.abs() > rounding * self.scale[path]) & ~final
            for mean, integral in zip(means, integrals, strict=True):
                mean.index_add_(0, path[~divide], integral[~divide])
            path, low, high, before, after, cut = (each[divide] for each in (*interval, cut))
            if len(path):
                cuts.index_add_(0, path, torch.ones_like(cut))
                middle = self._output(path, cut)
                halves = [path, low, cut, before, middle], [path, cut, high, middle, after]
                waiting.append([torch.cat(pair) for pair in zip(*halves, strict=True)])
        return means

    def _first_intervals(self) -> list[Tensor]:
        """Cut all paths into equal intervals: their path, their two ends, and the output at both ends, (intervals,)."""
        every = torch.arange(len(self.m), device=self.m.device)
        ends = torch.arange(FIRST_INTERVALS + 1).to(self.m).unsqueeze(1) / FIRST_INTERVALS * torch.ones_like(self.scale)
        gradients, *_ = self._integrate(every, ends[0], ends[-1])
        self.scale = self.scale + _sum_products([gradient.abs() for gradient in gradients], self.sizes)
        inner = [self._output(every, end) for end in ends[1:-1]]
        outputs = torch.stack([self.ends.b, *inner, self.ends.x])
        return [
            every.repeat(FIRST_INTERVALS),
            *(each.flatten() for each in (ends[:-1], ends[1:], outputs[:-1], outputs[1:])),
        ]

    def _output(self, path: Tensor, t: Tensor) -> Tensor:
        """Compute the output at ``t`` (intervals,), times its multipliers: (intervals,)."""
        return _sum(self.m[path] * torch.vmap(self.step.run)(*self._points(path, t)))

    def _points(self, path: Tensor, t: Tensor) -> list[Tensor]:
        """Compute the inputs at ``t`` (intervals,), from 0 at the background row to 1 at the row."""
        pairs = zip(self.starts, self.deltas, strict=True)
        return [start[path] + t.view(-1, *[1] * (start.ndim - 1)) * delta[path] for start, delta in pairs]

    def _integrate(self, path: Tensor, low: Tensor, high: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Integrate the gradients over intervals, by Gauss-Legendre quadrature.

        Returns:
            For each input (intervals, ...); and the rises of the tangents at the first and the last node, (intervals,).
        """
        m, length, deltas = self.m[path], high - low, [delta[path] for delta in self.deltas]
        integrals, tangents = [torch.zeros_like(delta) for delta in deltas], []
        for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
            gradients = _vjp(
                self.step, length.view(-1, *[1] * (m.ndim - 1)) * m, self._points(path, low + node * length)
            )
            integrals = [integral + weight * gradient for integral, gradient in zip(integrals, gradients, strict=True)]
            tangents.append(_sum_products(gradients, deltas))
        return integrals, tangents[0], tangents[-1]


def _vjp(step: Step, m: Tensor, values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Multiply m (points, ...) by the derivatives of a step at values (points, ...)."""

    def single(m: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        gradients: tuple[Tensor, ...] = torch.func.vjp(step.run, *values)[1](m)
        return gradients

    gradients: tuple[Tensor, ...] = torch.vmap(single)(m, *values)
    return gradients


def _kink(rise: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Find where the tangents at both ends of an interval meet, as a fraction of it; one half if they do not."""
    fraction = ratio(rise - last, first - last, 0.5)
    return fraction.masked_fill(~((fraction > MARGIN) & (fraction < 1 - MARGIN)), 0.5)


def _unflatten(values: Tensor, leading: Sequence[int]) -> Tensor:
    return values.reshape(*leading, *values.shape[1:])


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1)


def _sum_products(factors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Sum the products of all inputs: (paths,)."""
    products = [_sum(factor * other) for factor, other in zip(factors, others, strict=True)]
    return torch.stack(products).sum(dim=0)
