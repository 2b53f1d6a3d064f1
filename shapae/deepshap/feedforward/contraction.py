"""All outputs of a feed-forward chain at once.

For a row x and background rows b, with the matrices A of the chain and the slopes D of its bends, the values are

    phi[i, k] = mean over b of (x - b)_i (A_1' D_1 A_2' D_2 ... D_L A_end')[i, k],

a product that can be carried out from the features (*left*), from the outputs (*right*), or from both sides up to where
they meet. The sum over b is taken as soon as all that depends on b is in: A_end can wait until then.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shapae.deepshap.feedforward.chain import TRAFFIC, FeedForward, padded_empty, pair_values, slopes
from shapae.deepshap.feedforward.deviations import Deviations, best_deviations
from shapae.deepshap.tracing.tape import Values, select_rows
from shapae.utils.memory import batches

# Bytes of what is computed at once, so that it stays in a cache.
BLOCK_BYTES = 2**23
# So few outputs are explained pair by pair anyway, because the spread of the pairs says how sure the values are.
FEW_OUTPUTS = 4


@dataclass(frozen=True)
class ContractionOrder:
    """An order in which the product is carried out; ``Deviations`` are others.

    Attributes:
        cost: Multiplications for each row, with ``TRAFFIC``.
        meeting_layer: How many bends are passed from the side of the features.
        last_layer_after_mean: A_end waits until the sum over the background is taken; then the outputs are those of
            the last bend.
    """

    cost: float
    meeting_layer: int = 0
    last_layer_after_mean: bool = False

    def height(self, chain: FeedForward, b: Values) -> int:
        """How many rows are computed at once."""
        return _block_sizes(chain.widths, self, b[0])[0]

    def fill(self, chain: FeedForward, x: Values, b: Values, shares: Tensor, out: Tensor) -> None:
        """Fill ``out`` (n, d, k) with the values of so many rows; see ``contract``."""
        sums = padded_empty(out, len(out), chain.widths[0], chain.widths[-2]) if self.last_layer_after_mean else out
        _sum_up(chain, self, x, b, shares, sums)
        if self.last_layer_after_mean:
            chain.maps[-1].forward(sums, out=out)


def best_order(chain: FeedForward, b: Values) -> ContractionOrder | Deviations | None:
    """The best order for a background, whose values on the tape are ``b``; None if it is better to walk."""
    found: list[ContractionOrder | Deviations] = [*orders(chain, len(b[0]))]
    if chain.widths[-1] <= FEW_OUTPUTS or not found:
        return None
    if len(chain.nonlinearities) > 1:
        found.append(best_deviations(chain, b))
    best = min(found, key=lambda order: order.cost)
    return best if best.cost < backward_order(chain, len(b[0])).cost else None


def backward_order(chain: FeedForward, b: int) -> ContractionOrder:
    """From the outputs all the way: what the walk does."""
    widths = chain.widths
    products = sum(each.multiplications for each in chain.maps[:-1])
    return ContractionOrder(b * widths[-1] * (products + TRAFFIC * sum(widths[:-1])))


def orders(chain: FeedForward, b: int) -> list[ContractionOrder]:
    """All others that are implemented, for a background of ``b`` rows."""
    widths, bends = chain.widths, len(chain.nonlinearities)
    skip = chain.skip
    if skip is not None and (skip.diagonal is None or skip.target != chain.maps[-2].target):
        return []
    if bends == 1:
        end = chain.maps[-1].multiplications
        return [ContractionOrder(widths[0] * (b * widths[1] + end) + TRAFFIC * b * (widths[0] + widths[1]), 0, True)]
    when = [True] if skip else [True, False]
    return [_meeting_order(chain, b, meet, late) for meet in range(1, bends) for late in when]


def _meeting_order(chain: FeedForward, b: int, meet: int, late: bool) -> ContractionOrder:
    widths, products = chain.widths, [each.multiplications for each in chain.maps]
    d, outputs = widths[0], widths[-2 if late else -1]
    left = d * (sum(products[1:meet]) + TRAFFIC * sum(widths[1 : meet + 1]))
    right = outputs * (sum(products[meet : -2 if late else -1]) + TRAFFIC * sum(widths[meet:-1]))
    return ContractionOrder(b * (left + right + d * widths[meet] * outputs) + late * d * products[-1], meet, late)


def contract(
    chain: FeedForward, order: ContractionOrder | Deviations, x: Values, b: Values, shares: Tensor | None = None
) -> Tensor | None:
    """The values, (n, d, k); None if they are not all finite.

    Args:
        chain: Of the function.
        order: One of ``orders``, or ``best_deviations``.
        x: Values of the rows on the tape of the function.
        b: Values of the background rows.
        shares: (b,), of each background row in the mean; they sum to 1. None for equal ones.
    """
    shares = b[0].new_full((len(b[0]),), 1 / len(b[0])) if shares is None else shares
    out = x[0].new_empty(len(x[0]), chain.widths[0], chain.widths[-1])
    for few in batches(len(out), order.height(chain, b)):
        order.fill(chain, select_rows(x, few), b, shares, out[few])
        if not torch.isfinite(out[few].sum()):
            return None
    return out


def _block_sizes(widths: list[int], order: ContractionOrder, b: Tensor) -> tuple[int, int]:
    """How many rows, and how many background rows, are computed at once."""
    d, outputs = widths[0], widths[-2 if order.last_layer_after_mean else -1]
    row = d * (outputs + widths[-1])
    pair = (
        d * max(widths[1 : order.meeting_layer + 1]) + outputs * max(widths[order.meeting_layer : -1])
        if order.meeting_layer
        else d + outputs
    )
    width = min(len(b), max(1, BLOCK_BYTES // (pair * b.element_size())))
    return max(1, BLOCK_BYTES // ((row + width * pair) * b.element_size())), width


def _sum_up(chain: FeedForward, order: ContractionOrder, x: Values, b: Values, shares: Tensor, sums: Tensor) -> None:
    """Fill ``sums`` (n, d, outputs) for a few rows."""
    _, width = _block_sizes(chain.widths, order, b[0])
    for part in batches(len(b[0]), width):
        few, kept = select_rows(b, part), int(part.start > 0)
        delta = (x[0].unsqueeze(1) - few[0]) * shares[part].unsqueeze(1)
        pairs = pair_values(x, few)
        bends = [slopes(bend, pairs) for bend in chain.nonlinearities]
        if order.meeting_layer:
            left, right = _left(chain, order, delta, bends), _right(chain, order, bends)
            right = right.expand(len(left), -1, left.shape[2], -1)
            sums.baddbmm_(left.flatten(2), right.flatten(2).mT, beta=kept)
        else:
            sums.baddbmm_(delta.mT, bends[0], beta=kept)
        if chain.skip is not None and chain.skip.diagonal is not None:
            sums.diagonal(dim1=1, dim2=2).add_((delta * bends[-1]).sum(1) * chain.skip.diagonal)
    if not order.meeting_layer:
        sums *= chain.maps[0].transposed


def _left(chain: FeedForward, order: ContractionOrder, delta: Tensor, slopes: list[Tensor]) -> Tensor:
    """From the features, with all bends that are passed: (n, d, b, width)."""
    left = delta.mT.unsqueeze(3) * chain.maps[0].transposed.unsqueeze(1)
    left *= slopes[0].unsqueeze(1)
    for each, slope in zip(chain.maps[1 : order.meeting_layer], slopes[1 : order.meeting_layer], strict=True):
        left = each.forward(left)
        left *= slope.unsqueeze(1)
    return left


def _right(chain: FeedForward, order: ContractionOrder, slopes: list[Tensor]) -> Tensor:
    """From the outputs, (1 or n, outputs, 1 or b, width), without the bend where both sides meet."""
    at = len(slopes)
    right = chain.maps[-1].dense.unsqueeze(1)
    if order.last_layer_after_mean:
        at -= 1
        right = slopes[at].mT.unsqueeze(3) * chain.maps[at].dense.unsqueeze(1)
    while at > order.meeting_layer:
        at -= 1
        right = chain.maps[at].back(right * slopes[at].unsqueeze(1))
    return right
