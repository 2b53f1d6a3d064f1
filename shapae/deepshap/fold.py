"""All outputs of a feed-forward chain at once.

For a row x and background rows b, with the matrices A of the chain and the slopes D of its bends, the values are

    phi[i, k] = mean over b of (x - b)_i (A_1' D_1 A_2' D_2 ... D_L A_end')[i, k],

a product that can be carried out from the features (*left*), from the outputs (*right*), or from both sides up to where
they meet. The sum over b is taken as soon as all that depends on b is in: A_end can wait until then.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shapae.deepshap.chain import Chain
from shapae.deepshap.rules import rule_for
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import merged, total
from shapae.deepshap.tape import Step, Values

# Bytes of what is computed at once, so that it stays in a cache.
BLOCK = 2**23
# So many multiplications in a matrix product take as long as one pass over one number.
TRAFFIC = 8
# So few outputs are explained pair by pair anyway, because the spread of the pairs says how sure the values are.
FEW = 4


@dataclass(frozen=True)
class Order:
    """An order in which the product is carried out.

    Attributes:
        cost: Multiplications for each row, with ``TRAFFIC``.
        meet: How many bends are passed from the side of the features.
        late: A_end waits until the sum over the background is taken; then the outputs are those of the last bend.
    """

    cost: float
    meet: int = 0
    late: bool = False


def cheapest(chain: Chain, b: int) -> Order | None:
    """The best order for a background of ``b`` rows; None if it is better to walk."""
    walk = walking(chain, b)
    if _widths(chain)[-1] <= FEW:
        return None
    best = min([walk, *orders(chain, b)], key=lambda order: order.cost)
    return None if best is walk else best


def walking(chain: Chain, b: int) -> Order:
    """From the outputs all the way: what the walk does."""
    widths = _widths(chain)
    products = sum(each.multiplications for each in chain.maps[:-1])
    return Order(b * widths[-1] * (products + TRAFFIC * sum(widths[:-1])))


def orders(chain: Chain, b: int) -> list[Order]:
    """All others that are implemented, for a background of ``b`` rows."""
    widths, bends = _widths(chain), len(chain.bends)
    skip = chain.skip
    if skip is not None and (skip.diagonal is None or skip.target != chain.maps[-2].target):
        return []
    if bends == 1:
        end = chain.maps[-1].multiplications
        return [Order(widths[0] * (b * widths[1] + end) + TRAFFIC * b * (widths[0] + widths[1]), 0, True)]
    when = [True] if skip else [True, False]
    return [_meeting(chain, b, meet, late) for meet in range(1, bends) for late in when]


def _meeting(chain: Chain, b: int, meet: int, late: bool) -> Order:
    widths, products = _widths(chain), [each.multiplications for each in chain.maps]
    d, outputs = widths[0], widths[-2 if late else -1]
    left = d * (sum(products[1:meet]) + TRAFFIC * sum(widths[1 : meet + 1]))
    right = outputs * (sum(products[meet : -2 if late else -1]) + TRAFFIC * sum(widths[meet:-1]))
    return Order(b * (left + right + d * widths[meet] * outputs) + late * d * products[-1], meet, late)


def _widths(chain: Chain) -> list[int]:
    return [chain.maps[0].sizes[1], *(each.sizes[0] for each in chain.maps)]


def folded(chain: Chain, order: Order, x: Values, b: Values) -> Tensor | None:
    """The values, (n, d, k); None if they are not all finite.

    Args:
        chain: Of the function.
        order: One of ``orders``.
        x: Values of the rows on the tape of the function.
        b: Values of the background rows.
    """
    widths = _widths(chain)
    out = x[0].new_empty(len(x[0]), widths[0], widths[-1])
    height, width = _block(widths, order, len(b[0]), out.element_size())
    room = x[0].new_empty(height, widths[0], widths[-2]) if order.late else out
    for start in range(0, len(out), height):
        part = out[start : start + height]
        sums = room[: len(part)] if order.late else part
        _sum_up(chain, order, {slot: value[start : start + height] for slot, value in x.items()}, b, width, sums)
        if order.late:
            chain.maps[-1].forward(sums, out=part)
        if not torch.isfinite(part.sum()):
            return None
    return out


def _block(widths: list[int], order: Order, b: int, itemsize: int) -> tuple[int, int]:
    """How many rows, and how many background rows, are computed at once."""
    d, outputs = widths[0], widths[-2 if order.late else -1]
    row = d * (outputs + widths[-1])
    pair = d * max(widths[1 : order.meet + 1]) + outputs * max(widths[order.meet : -1]) if order.meet else d + outputs
    width = min(b, max(1, BLOCK // (pair * itemsize)))
    return max(1, BLOCK // ((row + width * pair) * itemsize)), width


def _sum_up(chain: Chain, order: Order, x: Values, b: Values, width: int, sums: Tensor) -> None:
    """Fill ``sums`` (n, d, outputs) for a few rows, with so many background rows at a time."""
    sums.zero_()
    for start in range(0, len(b[0]), width):
        few = {slot: value[start : start + width] for slot, value in b.items()}
        delta = (x[0].unsqueeze(1) - few[0]) / len(b[0])
        slopes = [_slopes(bend, x, few) for bend in chain.bends]
        if order.meet:
            left, right = _left(chain, order, delta, slopes), _right(chain, order, slopes)
            right = right.expand(len(left), -1, left.shape[2], -1)
            sums.baddbmm_(left.flatten(2), right.flatten(2).mT)
        else:
            sums.baddbmm_(delta.mT, slopes[0])
        if chain.skip is not None and chain.skip.diagonal is not None:
            sums.diagonal(dim1=1, dim2=2).add_((delta * slopes[-1]).sum(1) * chain.skip.diagonal)
    if not order.meet:
        sums *= chain.maps[0].transposed


def _slopes(bend: Step | None, x: Values, b: Values) -> Tensor:
    """(n, b, width): of a bend between rows and background rows; (1, 1, 1) where there is none."""
    if bend is None:
        return x[0].new_ones(1, 1, 1)
    rule, slot = rule_for(bend.op, bend.kinds), bend.live[0]
    assert rule is not None
    out, into = (Pair(x[each][None, :, None], b[each][None, None]) for each in (bend.slot, slot))
    ones = torch.ones_like(out.x[:1, :1])
    parts = rule(bend, [ones], out, [into for _ in bend.live])
    slopes = total(merged([term for terms in parts for term in terms]))[0]
    return slopes.expand(len(x[0]), len(b[0]), *slopes.shape[2:]).flatten(2)


def _left(chain: Chain, order: Order, delta: Tensor, slopes: list[Tensor]) -> Tensor:
    """From the features, with all bends that are passed: (n, d, b, width)."""
    left = delta.mT.unsqueeze(3) * chain.maps[0].transposed.unsqueeze(1)
    left *= slopes[0].unsqueeze(1)
    for each, slope in zip(chain.maps[1 : order.meet], slopes[1 : order.meet], strict=True):
        left = each.forward(left)
        left *= slope.unsqueeze(1)
    return left


def _right(chain: Chain, order: Order, slopes: list[Tensor]) -> Tensor:
    """From the outputs, (1 or n, outputs, 1 or b, width), without the bend where both sides meet."""
    at = len(slopes)
    right = chain.maps[-1].dense.unsqueeze(1)
    if order.late:
        at -= 1
        right = slopes[at].mT.unsqueeze(3) * chain.maps[at].dense.unsqueeze(1)
    while at > order.meet:
        at -= 1
        right = chain.maps[at].back(right * slopes[at].unsqueeze(1))
    return right
