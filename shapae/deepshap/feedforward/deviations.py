"""All outputs of a chain most of whose slopes are the row's own, as those of ReLU are.

Between a row and a background row on the same side of a kink, the slope is that of the row itself. So where the slopes
of a bend are C + E, with the row's own slopes C, many numbers of E are 0, and in

    phi' = mean over b of A_end (C_L + E_L) A_L ... (C_2 + E_2) A_2 (C_1 + E_1) A_1 diag(x - b)

what lies between two E is the same for all background rows: it is multiplied out once for a row. For each pair there is
left what goes through two E or more, and of the matrices between them the rows and columns where these are not 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from shapae.deepshap.feedforward.chain import TRAFFIC, FeedForward, pair_values, slopes
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.tracing.tape import Values

# As many passes as it takes to pick numbers, to scale them and to put them back; and as many multiplications as what is
# called for each bend of a pair takes, whatever its size.
PASSES, CALL_COST = 6, 2**22
# So many rows of the background say how many numbers of E are 0.
SAMPLE = 16

# From the features, and from each bend before; None where a C on the way is 0.
Ways = list[Tensor | None]
# What is not 0: where, and what is there.
Sparse = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Deviations:
    """An order in which the product of a chain is carried out; ``fold.ContractionOrder`` are others.

    Attributes:
        cost: Multiplications for each row, with ``TRAFFIC``.
        centred: For each bend, whether C are the row's own slopes, or 0, so that E are all of the slopes.
    """

    cost: float
    centred: tuple[bool, ...]

    def height(self, chain: FeedForward, b: Values) -> int:
        """How many rows are computed at once."""
        return 1

    def fill(self, chain: FeedForward, x: Values, b: Values, shares: Tensor, out: Tensor) -> None:
        """Fill ``out`` (1, d, k) with the values of one row; see ``fold.contract``."""
        every = _slopes(chain, x, b)
        centres = [own[0, 0] * here for (own, _), here in zip(every, self.centred, strict=True)]
        deviations = [slope[0] - centre for (_, slope), centre in zip(every, centres, strict=True)]
        ways, delta = _ways(chain, centres, self.centred), (x[0] - b[0]) * shares.unsqueeze(1)
        sums = [
            e.new_zeros(e.shape[1], out.shape[1]) if straight is None else straight * (e.mT @ delta)
            for (straight, *_), e in zip(ways, deviations, strict=True)
        ]
        for pair in zip(delta, *(_nonzero(e) for e in deviations), strict=True):
            _add_crossed(ways, sums, *pair)
        chain.maps[-1].forward(_all_ways(chain, centres, sums, delta.sum(dim=0)).mT, out=out[0])


def _slopes(chain: FeedForward, x: Values, b: Values) -> list[tuple[Tensor, Tensor]]:
    """For each bend the slopes of rows with themselves (n, 1, width), and with background rows (n, b, width)."""
    itself, pairs = {slot: Pair(value.unsqueeze(1), value.unsqueeze(1)) for slot, value in x.items()}, pair_values(x, b)
    shape, bends = (len(x[0]), len(b[0])), zip(chain.nonlinearities, chain.widths[1:-1], strict=True)
    return [
        (slopes(bend, itself).expand(shape[0], 1, width), slopes(bend, pairs).expand(*shape, width))
        for bend, width in bends
    ]


def _ways(chain: FeedForward, centres: Sequence[Tensor], centred: Sequence[bool]) -> list[Ways]:
    """The matrices to each bend, by way of all C between, (width, width there)."""
    ways: list[Ways] = [[chain.maps[0].dense]]
    for each, centre, here in zip(chain.maps[1:-1], centres, centred, strict=False):
        passed = [each.after(centre.unsqueeze(1) * way) if here and way is not None else None for way in ways[-1]]
        ways.append([*passed, each.dense])
    if chain.skip is not None:
        straight, skip = ways[-1][0], chain.skip.dense
        ways[-1][0] = skip if straight is None else straight + skip
    return ways


def _nonzero(e: Tensor) -> list[Sparse]:
    """For each background row what is not 0 in ``e`` (b, width)."""
    pairs, where = e.nonzero(as_tuple=True)
    sizes = pairs.bincount(minlength=len(e)).tolist()
    return list(zip(torch.split(where, sizes), torch.split(e[pairs, where], sizes), strict=True))


def _add_crossed(ways: list[Ways], sums: list[Tensor], delta: Tensor, *picked: Sparse) -> None:
    """Add to the sum of each bend (width, d) what goes through its E and one before."""
    before: list[Sparse] = []  # what went through the E of each bend
    for (straight, *links), found, (here, e) in zip(ways, sums, picked, strict=True):
        parts = [
            link.index_select(0, here).index_select(1, there) @ part
            for link, (there, part) in zip(links, before, strict=True)
            if link is not None
        ]
        if parts:
            parts = [reduce(add, parts).mul_(e.unsqueeze(1))]
            found.index_add_(0, here, parts[0] * delta)
        if found is not sums[-1]:
            parts += [] if straight is None else [straight.index_select(0, here).mul_(e.unsqueeze(1))]
            before.append((here, reduce(add, parts)))


def _all_ways(chain: FeedForward, centres: Sequence[Tensor], sums: Sequence[Tensor], delta: Tensor) -> Tensor:
    """From the features past the last bend (width, d), summed over the background: through its C, and through its E."""
    passed = sums[0].addcmul_(centres[0].unsqueeze(1), chain.maps[0].dense * delta)
    for each, centre, found in zip(chain.maps[1:-1], centres[1:], sums[1:], strict=True):
        passed = each.after(passed)
        if found is sums[-1] and chain.skip is not None:
            passed = passed + chain.skip.dense * delta
        passed = found.addcmul_(centre.unsqueeze(1), passed)
    return passed


def best_deviations(chain: FeedForward, b: Values) -> Deviations:
    """The best order of this kind for a background, whose values on the tape are ``b``."""
    few = {slot: value[:: max(1, len(value) // SAMPLE)][:SAMPLE] for slot, value in b.items()}
    sizes = [_sizes(own, every) for own, every in _slopes(chain, few, few)]
    centred = (True,) * len(sizes)
    best = Deviations(_cost(chain, sizes, centred, len(b[0])), centred)
    for place in range(len(sizes)):
        centred = (*best.centred[:place], False, *best.centred[place + 1 :])
        best = min(best, Deviations(_cost(chain, sizes, centred, len(b[0])), centred), key=lambda each: each.cost)
    return best


def _sizes(own: Tensor, every: Tensor) -> tuple[float, float]:
    """How many numbers of E are not 0 for a pair of two rows, with C = 0 and with the row's own slopes."""
    rows = len(own)
    return int(every.count_nonzero()) / rows**2, int((every - own).count_nonzero()) / max(1, rows * (rows - 1))


def _cost(chain: FeedForward, sizes: Sequence[tuple[float, float]], centred: Sequence[bool], b: int) -> float:
    d, *widths = chain.widths[:-1]
    size = [each[here] for each, here in zip(sizes, centred, strict=True)]
    pair = sum(CALL_COST + TRAFFIC * PASSES * d * each for each in size)
    row = d * sum(each.multiplications for each in chain.maps)
    for bend in range(len(size)):
        for before in reversed(range(bend)):
            pair += size[bend] * (size[before] * d + TRAFFIC * widths[before])
            if not centred[before]:  # nothing comes past it, then
                break
            row += widths[bend] * widths[before] * chain.widths[before]
    return b * pair + row
