"""Attributions of all outputs of a feed-forward chain at once.

For a row x and background rows b, the matrices A of the chain and the slopes D of its nonlinearities, the values are

    phi[i, k] = mean over b of (x - b)_i (A_1' D_1 A_2' D_2 ... D_L A_end')[i, k],

a product that can be computed from the features (*left*), from the outputs (*right*), or from both sides up to a layer
where they meet. The mean over b is taken as soon as all factors that depend on b are included; A_end can follow it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shapae.deepshap.feedforward.chain import MEMORY_COST, FeedForward, padded_empty, pair_values, slopes
from shapae.deepshap.feedforward.deviations import Deviations, best_deviations
from shapae.deepshap.tracing.tape import Values, select_rows
from shapae.utils.memory import batches

# Bytes of the intermediate values of one block, chosen so that they stay in a cache.
BLOCK_BYTES = 2**23
# Largest number of outputs for which the pairs are always attributed one by one, as the standard errors need them.
FEW_OUTPUTS = 4


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

    def rows_per_block(self, chain: FeedForward, b: Values) -> int:
        """Compute the number of rows in one block."""
        return _block_sizes(chain.widths, self, b[0])[0]

    def fill(self, chain: FeedForward, x: Values, b: Values, weights: Tensor, out: Tensor) -> None:
        """Fill ``out`` (n, d, k) with the values of n rows; see ``contract``."""
        sums = padded_empty(out, len(out), chain.widths[0], chain.widths[-2]) if self.last_layer_after_mean else out
        _accumulate(chain, self, x, b, weights, sums)
        if self.last_layer_after_mean:
            chain.maps[-1].forward(sums, out=out)


def best_order(chain: FeedForward, b: Values) -> ContractionOrder | Deviations | None:
    """Find the cheapest order for a background with the values ``b``; None if the backward pass is cheaper."""
    candidates: list[ContractionOrder | Deviations] = [*orders(chain, len(b[0]))]
    if chain.widths[-1] <= FEW_OUTPUTS or not candidates:
        return None
    if len(chain.nonlinearities) > 1:
        candidates.append(best_deviations(chain, b))
    best = min(candidates, key=lambda order: order.cost)
    return best if best.cost < backward_order(chain, len(b[0])).cost else None


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
    chain: FeedForward, order: ContractionOrder | Deviations, x: Values, b: Values, weights: Tensor | None = None
) -> Tensor | None:
    """Compute the values, (n, d, k); None if they are not all finite.

    Args:
        chain: The chain of the function.
        order: One of ``orders``, or ``best_deviations``.
        x: Values of the rows on the tape of the function.
        b: Values of the background rows.
        weights: (b,), weights of the background rows, which sum to 1; None for equal weights.
    """
    weights = b[0].new_full((len(b[0]),), 1 / len(b[0])) if weights is None else weights
    out = x[0].new_empty(len(x[0]), chain.widths[0], chain.widths[-1])
    for rows in batches(len(out), order.rows_per_block(chain, b)):
        order.fill(chain, select_rows(x, rows), b, weights, out[rows])
        if not torch.isfinite(out[rows].sum()):
            return None
    return out


def _block_sizes(widths: list[int], order: ContractionOrder, b: Tensor) -> tuple[int, int]:
    """Compute the number of rows, and of background rows, in one block."""
    d, outputs = widths[0], widths[-2 if order.last_layer_after_mean else -1]
    row_size = d * (outputs + widths[-1])
    pair_size = (
        d * max(widths[1 : order.meeting_layer + 1]) + outputs * max(widths[order.meeting_layer : -1])
        if order.meeting_layer
        else d + outputs
    )
    n_background = min(len(b), max(1, BLOCK_BYTES // (pair_size * b.element_size())))
    n_rows = max(1, BLOCK_BYTES // ((row_size + n_background * pair_size) * b.element_size()))
    return n_rows, n_background


def _accumulate(
    chain: FeedForward, order: ContractionOrder, x: Values, b: Values, weights: Tensor, sums: Tensor
) -> None:
    """Fill ``sums`` (n, d, outputs) with the weighted sums over the background, for one block of rows."""
    _, n_background = _block_sizes(chain.widths, order, b[0])
    for background in batches(len(b[0]), n_background):
        part, beta = select_rows(b, background), int(background.start > 0)
        delta = (x[0].unsqueeze(1) - part[0]) * weights[background].unsqueeze(1)
        pairs = pair_values(x, part)
        all_slopes = [slopes(nonlinearity, pairs) for nonlinearity in chain.nonlinearities]
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
