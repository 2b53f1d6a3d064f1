"""Attributions of all outputs of a chain if most slopes depend on the row alone, as the slopes of ReLU do.

Between a row and a background row on the same side of a kink, the slope is the slope at the row itself. Write the
slopes of a nonlinearity as C + E, with the slopes C at the row itself. Then many entries of the deviations E are 0, and
in

    phi' = mean over b of A_end (C_L + E_L) A_L ... (C_2 + E_2) A_2 (C_1 + E_1) A_1 diag(x - b)

all background rows share the factors between two E. These factors are multiplied out once for a row, into one matrix
for each *path* from one E to a later E. A pair adds only the paths through two or more E. It needs only the rows and
columns of their matrices where E is not 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from shapae.deepshap.feedforward.chain import MEMORY_COST, FeedForward
from shapae.deepshap.feedforward.factors import Pairs, pair_rows, slopes
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.tracing.tape import Values

# Memory passes of one sparse product: to gather its factors, to scale them and to scatter the result.
SPARSE_PASSES = 5
# Fixed cost of one nonlinearity of one pair, in multiplications: the calls of torch take this long at any size.
CALL_COST = 2**22
# Number of background rows from which the fraction of zeros in E is estimated.
SAMPLE_ROWS = 16

# Matrices from the features and from each earlier nonlinearity; None for a path through a C of 0.
Paths = list[Tensor | None]
# Indices and values of the nonzero entries of a vector.
Sparse = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Deviations:
    """An order of the factors of the product of a chain; ``contraction.ContractionOrder`` is another kind of order.

    Attributes:
        cost: Number of multiplications for each row, including ``MEMORY_COST``.
        centred: For each nonlinearity, whether C are the slopes at the row itself. Otherwise C is 0, and E are all
            slopes.
    """

    cost: float
    centred: tuple[bool, ...]

    def rows_per_block(self, chain: FeedForward, terms: int) -> int:
        """Return the number of rows in one block."""
        return 1

    def fill(self, chain: FeedForward, factors: Pairs, out: Tensor) -> None:
        """Fill ``out`` (1, d, k) with the values of one row; see ``contraction.Order``."""
        all_slopes = _slopes(chain, factors)
        centres = [own[0, 0] * centred for (own, _), centred in zip(all_slopes, self.centred, strict=True)]
        deviations = [slope[0] - centre for (_, slope), centre in zip(all_slopes, centres, strict=True)]
        paths, delta = _paths(chain, centres, self.centred), factors.features()[0]
        sums = [
            e.new_zeros(e.shape[1], out.shape[1]) if direct is None else direct * (e.mT @ delta)
            for (direct, *_), e in zip(paths, deviations, strict=True)
        ]
        for pair in zip(delta, *(_nonzero(e) for e in deviations), strict=True):
            _add_pair(paths, sums, *pair)
        chain.maps[-1].forward(_sum_paths(chain, centres, sums, delta.sum(dim=0)).mT, out=out[0])


def _slopes(chain: FeedForward, pairs: Pairs) -> list[tuple[Tensor, Tensor]]:
    """Compute, for each nonlinearity, the slopes at the rows (n, 1, width) and of all pairs (n, b, width)."""
    at_rows = {slot: Pair(value.unsqueeze(1), value.unsqueeze(1)) for slot, value in pairs.x.items()}
    own, all_pairs = slopes(chain.nonlinearities, at_rows), pairs.slopes(chain.nonlinearities)
    return [
        (each.expand(len(pairs.x[0]), 1, width), slope.expand(*pairs.shape, width))
        for each, slope, width in zip(own, all_pairs, chain.widths[1:-1], strict=True)
    ]


def _paths(chain: FeedForward, centres: Sequence[Tensor], centred: Sequence[bool]) -> list[Paths]:
    """Compute the matrices to each nonlinearity through all C between, (width, width of the source)."""
    paths: list[Paths] = [[chain.maps[0].dense]]
    for affine, centre, nonzero in zip(chain.maps[1:-1], centres, centred, strict=False):
        longer = [
            affine.forward_columns(centre.unsqueeze(1) * path) if nonzero and path is not None else None
            for path in paths[-1]
        ]
        paths.append([*longer, affine.dense])
    if chain.skip is not None:
        direct, skip = paths[-1][0], chain.skip.dense
        paths[-1][0] = skip if direct is None else direct + skip
    return paths


def _nonzero(e: Tensor) -> list[Sparse]:
    """Find the nonzero entries of ``e`` (b, width) for each background row."""
    rows, columns = e.nonzero(as_tuple=True)
    sizes = rows.bincount(minlength=len(e)).tolist()
    return list(zip(torch.split(columns, sizes), torch.split(e[rows, columns], sizes), strict=True))


def _add_pair(paths: list[Paths], sums: list[Tensor], delta: Tensor, *deviations: Sparse) -> None:
    """Add, for one pair, to the sum of each nonlinearity (width, d) the paths through its E and an earlier E.

    Each E scales the small matrices between two of them, not the paths, which have d columns.
    """
    arriving: list[Tensor] = []  # sums of the paths to the nonzero entries of each E, (entries, d)
    for (direct, *matrices), total, (columns, e) in zip(paths, sums, deviations, strict=True):
        crossings = [
            (_between(matrix, columns, source).mul_(e_source), part)
            for matrix, (source, e_source), part in zip(matrices, deviations, arriving, strict=False)
            if matrix is not None
        ]
        if total is sums[-1]:
            for between, part in crossings:
                _add_product(total, columns, between.mul_(e.unsqueeze(1)), part.mul_(delta))
            return
        parts = [between @ part for between, part in crossings]
        if parts:
            total.index_add_(0, columns, (reduce(add, parts) * e.unsqueeze(1)).mul_(delta))
        arriving.append(reduce(add, parts if direct is None else [direct.index_select(0, columns), *parts]))


def _between(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Copy some rows and columns of a matrix."""
    return (matrix if len(rows) == len(matrix) else matrix.index_select(0, rows)).index_select(1, columns)


def _add_product(total: Tensor, rows: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to some rows of ``total``, or to all of them without another pass."""
    if len(rows) == len(total):
        total.addmm_(left, right)
    else:
        total.index_add_(0, rows, left @ right)


def _sum_paths(chain: FeedForward, centres: Sequence[Tensor], sums: Sequence[Tensor], delta: Tensor) -> Tensor:
    """Sum all paths past the last nonlinearity (width, d) over the background: through its C, and through its E."""
    total = sums[0].addcmul_(centres[0].unsqueeze(1), chain.maps[0].dense * delta)
    for affine, centre, own in zip(chain.maps[1:-1], centres[1:], sums[1:], strict=True):
        total = affine.forward_columns(total)
        if own is sums[-1] and chain.skip is not None:
            total = total + chain.skip.dense * delta
        total = own.addcmul_(centre.unsqueeze(1), total)
    return total


def best_deviations(chain: FeedForward, b: Values) -> Deviations:
    """Find the cheapest order of this kind for a background with the values ``b`` on the tape."""
    sample = {slot: value[:: max(1, len(value) // SAMPLE_ROWS)][:SAMPLE_ROWS] for slot, value in b.items()}
    sizes = [_nonzeros_per_pair(own, pairs) for own, pairs in _slopes(chain, pair_rows(sample, sample))]
    centred = (True,) * len(sizes)
    best = Deviations(_cost(chain, sizes, centred, len(b[0])), centred)
    for layer in range(len(sizes)):
        centred = (*best.centred[:layer], False, *best.centred[layer + 1 :])
        best = min(best, Deviations(_cost(chain, sizes, centred, len(b[0])), centred), key=lambda order: order.cost)
    return best


def _nonzeros_per_pair(own: Tensor, pairs: Tensor) -> tuple[float, float]:
    """Count the nonzero entries of E for a pair of two rows: with C = 0, and with the slopes at the row itself."""
    rows = len(own)
    return int(pairs.count_nonzero()) / rows**2, int((pairs - own).count_nonzero()) / max(1, rows * (rows - 1))


def _cost(chain: FeedForward, sizes: Sequence[tuple[float, float]], centred: Sequence[bool], b: int) -> float:
    d, *widths = chain.widths[:-1]
    size = [nonzeros[choice] for nonzeros, choice in zip(sizes, centred, strict=True)]
    pair = sum(CALL_COST + MEMORY_COST * SPARSE_PASSES * d * each for each in size)
    row = d * sum(affine.multiplications for affine in chain.maps)
    for layer in range(len(size)):
        for before in reversed(range(layer)):
            pair += size[layer] * (size[before] * d + MEMORY_COST * widths[before])
            if not centred[before]:  # no path passes a C of 0
                break
            row += widths[layer] * widths[before] * chain.widths[before]
    return b * pair + row
