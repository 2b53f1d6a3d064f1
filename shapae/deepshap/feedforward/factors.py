"""The factors of the product of a chain that differ between the terms of its mean; ``contraction`` has the product.

For DeepSHAP the terms of a row are its *pairs* with the background rows, and the nonlinearities have the slopes of
secants. For gradients at coalitions they are *points* between the two, and the nonlinearities have their derivatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from shapae.deepshap.rules import rule_for
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import merge_terms, sum_terms
from shapae.deepshap.tracing.tape import Step, Values, select_rows


class Factors(Protocol):
    """The factors of n rows, with m terms each."""

    @property
    def shape(self) -> tuple[int, int]:
        """n and m."""

    def select(self, rows: slice, terms: slice) -> Self:
        """Select some of the rows and terms."""

    def features(self) -> Tensor:
        """Compute the factors of the features, (n, m, d), which include the weights of the terms."""

    def slopes(self, nonlinearities: Sequence[Step | None]) -> list[Tensor]:
        """Compute the slopes of each nonlinearity, (n, m, width); (1, 1, 1) for None."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows and background rows.

    Attributes:
        x: Values of the rows on the tape.
        b: Values of the background rows.
        weights: (b,), weights of the background rows, which sum to 1.
    """

    x: Values
    b: Values
    weights: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and of background rows."""
        return len(self.x[0]), len(self.b[0])

    def select(self, rows: slice, terms: slice) -> Self:
        """See ``Factors``."""
        return type(self)(select_rows(self.x, rows), select_rows(self.b, terms), self.weights[terms])

    def differences(self) -> Tensor:
        """Compute the differences of the features, (n, b, d)."""
        return self.x[0].unsqueeze(1) - self.b[0]

    def features(self) -> Tensor:
        """Compute the weighted differences of the features, (n, b, d)."""
        return self.differences() * self.weights.unsqueeze(1)

    def slopes(self, nonlinearities: Sequence[Step | None]) -> list[Tensor]:
        """Compute the slopes of all pairs."""
        pairs = {slot: Pair(self.x[slot].unsqueeze(1), self.b[slot].unsqueeze(0)) for slot in self.b}
        return slopes(nonlinearities, pairs)


@dataclass(frozen=True)
class Points:
    """Points at which all outputs are differentiated.

    Attributes:
        values: Values of the points on the tape, (n, m, ...).
        weights: (n, m, d), weights of the derivatives by each feature.
    """

    values: Values
    weights: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and of points of each row."""
        return self.weights.shape[0], self.weights.shape[1]

    def select(self, rows: slice, terms: slice) -> Self:
        """See ``Factors``."""
        return type(self)({slot: value[rows, terms] for slot, value in self.values.items()}, self.weights[rows, terms])

    def features(self) -> Tensor:
        """Return the weights, (n, m, d)."""
        return self.weights

    def slopes(self, nonlinearities: Sequence[Step | None]) -> list[Tensor]:
        """Compute the derivatives: the slopes between each point and itself."""
        return slopes(nonlinearities, {slot: Pair(value, value) for slot, value in self.values.items()})


def pair_rows(x: Values, b: Values, weights: Tensor | None = None) -> Pairs:
    """Pair rows with background rows, with equal weights if there are no ``weights``."""
    return Pairs(x, b, b[0].new_full((len(b[0]),), 1 / len(b[0])) if weights is None else weights)


def slopes(nonlinearities: Sequence[Step | None], pairs: dict[int, Pair]) -> list[Tensor]:
    """Compute the slopes of each nonlinearity, (n, m, width), from pairs of values that broadcast to (n, m, ...)."""
    return [_slope(each, pairs) if each else pairs[0].x.new_ones(1, 1, 1) for each in nonlinearities]


def _slope(nonlinearity: Step, pairs: dict[int, Pair]) -> Tensor:
    rule = rule_for(nonlinearity.op, nonlinearity.input_dtypes)
    assert rule is not None
    out, into = (pairs[slot].map(lambda value: value[None]) for slot in (nonlinearity.slot, nonlinearity.variables[0]))
    parts = rule(nonlinearity, [torch.ones_like(out.x[:1, :1])], out, [into for _ in nonlinearity.variables])
    slope = sum_terms(merge_terms([term for terms in parts for term in terms]))[0]
    return slope.expand(len(out.x[0]), len(out.b[0, 0]), *slope.shape[2:]).flatten(2)
