"""Attributions of all outputs of a feed-forward chain at once.

For a row x and background rows b, the matrices A of the chain and the slopes D of its nonlinearities, the values are

    phi[i, k] = mean over b of (x - b)_i (A_1' D_1 A_2' D_2 ... D_L A_end')[i, k],

a product that can be computed from the features (*left*), from the outputs (*right*), or from both sides up to a layer
where they meet. The mean over b is taken as soon as all factors that depend on b are included; A_end can follow it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from shapae.deepshap.feedforward.chain import MEMORY_COST, FeedForward, padded_empty
from shapae.deepshap.feedforward.deviations import Deviations, best_deviations
from shapae.deepshap.feedforward.factors import Factors, Pairs, pair_rows
from shapae.deepshap.tracing.tape import Values
from shapae.utils.blocks import block_bytes, on_processor
from shapae.utils.memory import batches

# Bytes of the intermediate values of one block, chosen so that they stay in the cache of a processor.
BLOCK_BYTES = 2**23
# Largest number of outputs for which the pairs are always attributed one by one, as the standard errors need them.
FEW_OUTPUTS = 4
F = TypeVar("F", bound=Factors)
C = TypeVar("C", bound="ContractionOrder | Deviations")
F_contra = TypeVar("F_contra", bound=Factors, contravariant=True)


class Order(Protocol[F_contra]):
    """A way to compute the values of a chain from its factors."""

    def rows_per_block(self, chain: FeedForward, terms: int) -> int:
        """Compute the number of rows in one block, for this number of terms of each row."""

    def fill(self, chain: FeedForward, factors: F_contra, out: Tensor) -> None:
        """Fill ``out`` (n, d, k) with the values of n rows."""


@dataclass(frozen=True)
class ContractionOrder:
    """An order of the factors of the product; ``Deviations`` is another kind of order.

    Attributes:
        cost: Number of multiplications for each row, including ``MEMORY_COST``.
        meeting_layer: Number of nonlinearities that are passed from the side of the features.
        last_layer_after_mean: Whether A_end follows the mean over the background. Until then, the outputs are those of
            the last nonlinearity.
    """

    cost: float
    meeting_layer: int = 0
    last_layer_after_mean: bool = False

    def rows_per_block(self, chain: FeedForward, terms: int) -> int:
        """See ``Order``."""
        return _block_sizes(chain, self, terms)[0]

    def fill(self, chain: FeedForward, factors: Factors, out: Tensor) -> None:
        """See ``Order``."""
        sums = padded_empty(out, len(out), chain.widths[0], chain.widths[-2]) if self.last_layer_after_mean else out
        _accumulate(chain, self, factors, sums)
        if self.last_layer_after_mean:
            chain.maps[-1].forward(sums, out=out)


def best_order(chain: FeedForward, b: Values) -> ContractionOrder | Deviations | None:
    """Find the cheapest order for a background with the values ``b``; None if the backward pass is cheaper."""
    candidates: list[ContractionOrder | Deviations] = [*orders(chain, len(b[0]))]
    if chain.widths[-1] <= FEW_OUTPUTS or not candidates:
        return None
    if len(chain.nonlinearities) > 1 and on_processor(b[0]):  # elsewhere the calls for each pair take too long
        candidates.append(best_deviations(chain, b))
    return _cheapest(candidates, chain, len(b[0]))


def best_order_of_points(chain: FeedForward, terms: int) -> ContractionOrder | None:
    """Find the cheapest order for ``terms`` points of each row; None if the backward pass is cheaper."""
    return _cheapest(orders(chain, terms), chain, terms)


def _cheapest(candidates: Sequence[C], chain: FeedForward, terms: int) -> C | None:
    best = min(candidates, key=lambda order: order.cost, default=None)
    return best if best and best.cost < backward_order(chain, terms).cost else None


def backward_order(chain: FeedForward, b: int) -> ContractionOrder:
    """Describe the order of the backward pass, from the outputs all the way, for a background of ``b`` rows."""
    widths = chain.widths
    products = sum(affine.multiplications for affine in chain.maps[:-1])
    return ContractionOrder(b * widths[-1] * (products + MEMORY_COST * sum(widths[:-1])))


def orders(chain: FeedForward, b: int) -> list[ContractionOrder]:
    """List all other implemented orders, for a background of ``b`` rows."""
    widths, n_nonlinearities = chain.widths, len(chain.nonlinearities)
    skip = chain.skip
    if skip is not None and (skip.diagonal is None or skip.target != chain.maps[-2].target):
        return []
    if n_nonlinearities == 1:
        end = chain.maps[-1].multiplications
        cost = widths[0] * (b * widths[1] + end) + MEMORY_COST * b * (widths[0] + widths[1])
        return [ContractionOrder(cost, 0, True)]
    choices = [True] if skip else [True, False]
    return [
        _meeting_order(chain, b, meeting_layer, after_mean)
        for meeting_layer in range(1, n_nonlinearities)
        for after_mean in choices
    ]


def _meeting_order(chain: FeedForward, b: int, meeting_layer: int, after_mean: bool) -> ContractionOrder:
    widths, products = chain.widths, [affine.multiplications for affine in chain.maps]
    d, outputs = widths[0], widths[-2 if after_mean else -1]
    left = d * (sum(products[1:meeting_layer]) + MEMORY_COST * sum(widths[1 : meeting_layer + 1]))
    right = outputs * (
        sum(products[meeting_layer : -2 if after_mean else -1]) + MEMORY_COST * sum(widths[meeting_layer:-1])
    )
    cost = b * (left + right + d * widths[meeting_layer] * outputs) + after_mean * d * products[-1]
    return ContractionOrder(cost, meeting_layer, after_mean)


def contract(
    chain: FeedForward, order: Order[Pairs], x: Values, b: Values, weights: Tensor | None = None
) -> Tensor | None:
    """Compute the DeepSHAP values, (n, d, k); None if they are not all finite.

    Args:
        chain: The chain of the function.
        order: One of ``orders``, or ``best_deviations``.
        x: Values of the rows on the tape of the function.
        b: Values of the background rows.
        weights: (b,), weights of the background rows, which sum to 1; None for equal weights.
    """
    return contract_factors(chain, order, pair_rows(x, b, weights))


def contract_factors(chain: FeedForward, order: Order[F], factors: F) -> Tensor | None:
    """Compute the values, (n, d, k), from any factors; None if they are not all finite."""
    n, terms = factors.shape
    out = chain.maps[0].like.new_empty(n, chain.widths[0], chain.widths[-1])
    for rows in batches(n, order.rows_per_block(chain, terms)):
        order.fill(chain, factors.select(rows, slice(None)), out[rows])
        if not torch.isfinite(out[rows].sum()):
            return None
    return out


def _block_sizes(chain: FeedForward, order: ContractionOrder, terms: int) -> tuple[int, int]:
    """Compute the number of rows, and of terms, in one block."""
    widths, item = chain.widths, chain.maps[0].like.element_size()
    d, outputs = widths[0], widths[-2 if order.last_layer_after_mean else -1]
    row_size = d * (outputs + widths[-1])
    term_size = (
        d * max(widths[1 : order.meeting_layer + 1]) + outputs * max(widths[order.meeting_layer : -1])
        if order.meeting_layer
        else d + outputs
    )
    elements = block_bytes(BLOCK_BYTES, chain.maps[0].like) // item
    n_terms = min(terms, max(1, elements // term_size))
    n_rows = max(1, elements // (row_size + n_terms * term_size))
    return n_rows, n_terms


def _accumulate(chain: FeedForward, order: ContractionOrder, factors: Factors, sums: Tensor) -> None:
    """Fill ``sums`` (n, d, outputs) with the sums over the terms, for one block of rows."""
    terms = factors.shape[1]
    for block in batches(terms, _block_sizes(chain, order, terms)[1]):
        part, beta = factors.select(slice(None), block), int(block.start > 0)
        delta, all_slopes = part.features(), part.slopes(chain.nonlinearities)
        if order.meeting_layer:
            left, right = _left(chain, order, delta, all_slopes), _right(chain, order, all_slopes)
            right = right.expand(len(left), -1, left.shape[2], -1)
            sums.baddbmm_(left.flatten(2), right.flatten(2).mT, beta=beta)
        else:
            sums.baddbmm_(delta.mT, all_slopes[0], beta=beta)
        if chain.skip is not None and chain.skip.diagonal is not None:
            sums.diagonal(dim1=1, dim2=2).add_((delta * all_slopes[-1]).sum(1) * chain.skip.diagonal)
    if not order.meeting_layer:
        sums *= chain.maps[0].transposed


def _left(chain: FeedForward, order: ContractionOrder, delta: Tensor, slopes: list[Tensor]) -> Tensor:
    """Multiply from the features up to the meeting layer, including its slopes: (n, d, b, width)."""
    left = delta.mT.unsqueeze(3) * chain.maps[0].transposed.unsqueeze(1)
    left *= slopes[0].unsqueeze(1)
    for affine, slope in zip(chain.maps[1 : order.meeting_layer], slopes[1 : order.meeting_layer], strict=True):
        left = affine.forward(left)
        left *= slope.unsqueeze(1)
    return left


def _right(chain: FeedForward, order: ContractionOrder, slopes: list[Tensor]) -> Tensor:
    """Multiply from the outputs down to the meeting layer, without its slopes: (1 or n, outputs, 1 or b, width)."""
    layer = len(slopes)
    right = chain.maps[-1].dense.unsqueeze(1)
    if order.last_layer_after_mean:
        layer -= 1
        right = slopes[layer].mT.unsqueeze(3) * chain.maps[layer].dense.unsqueeze(1)
    while layer > order.meeting_layer:
        layer -= 1
        right = chain.maps[layer].backward(right * slopes[layer].unsqueeze(1))
    return right
