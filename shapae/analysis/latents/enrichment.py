"""Enrichment of sets of features, such as pathways, among the features that drive each latent unit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.errors import DataError
from shapae.tables.files import is_path
from shapae.tables.groups import read_gmt
from shapae.utils.constraints import MEMBERS, check_argument, check_arguments
from shapae.utils.memory import batches
from shapae.utils.random import generator
from shapae.utils.text import enumerate_names

# Bytes of the permuted ranks that are held at once.
HELD_BYTES = 2**26


def enrich(
    importances: pd.DataFrame, gene_sets: Mapping[str, Sequence[str]] | str | Path, *, permutations: int, seed: int
) -> pd.DataFrame:
    """Test whether the features of each set have higher or lower importances for each unit than other features.

    The statistic is the sum of the ranks of the features of the set among all features, by importance (the
    rank-sum test of Wilcoxon, or Mann and Whitney). Its null distribution comes from permuted features: sets of the
    same size, drawn at random. p = (1 + number of permutations with a statistic as far from its mean or farther) / (1 +
    permutations), two-sided; q is p adjusted for all tests of the call by Benjamini and Hochberg.

    Permuted features are not correlated as the features of a set are. Genes of one set that rise and fall together are
    found more easily than p says (Wu and Smyth, 2012, https://doi.org/10.1093/nar/gks461).

    Args:
        importances: d features x a units: signed, or sizes.
        gene_sets: From names to features, or the path of a GMT file. Features that the table lacks are left out, and
            sets that then have no features, or all of them.
        permutations: Number of permutations.
        seed: Random seed.

    Returns:
        Lines (unit, set), the smallest p of each unit first: ``score`` between -1 and 1, the probability that a feature
        of the set has a higher importance than another feature, minus the probability that it has a lower one;
        ``z``, the normal approximation; ``p``; ``q``; ``features`` of the set in the table, and its whole ``size``.

    Raises:
        DataError: There are no such sets, or ``permutations`` is less than 1.

    Reference:
        Mann and Whitney, 1947; for p-values of permutations Phipson and Smyth, 2010, https://arxiv.org/abs/1603.05766;
        Benjamini and Hochberg, 1995
    """
    from scipy.stats import false_discovery_control, rankdata

    check_arguments(permutations=permutations)
    sets = _read_sets(gene_sets)
    members = _membership(sets, [str(name) for name in importances.index])
    d, sizes = len(importances), members.sum(axis=1)
    tested = np.flatnonzero((sizes > 0) & (sizes < d))
    members, sizes = members[tested], sizes[tested]
    ranks = rankdata(importances.to_numpy(np.float64), axis=0) - (d + 1) / 2
    sums = members.astype(np.float64) @ ranks
    p = (1 + _count_extremes(ranks, np.abs(sums), sizes, permutations=permutations, seed=seed)) / (1 + permutations)
    variances = (sizes * (d - sizes) / (d * max(d - 1, 1)))[:, None] * np.square(ranks).sum(axis=0)
    columns = {
        "score": sums * (2 / (sizes * (d - sizes)))[:, None],
        "z": sums / np.sqrt(np.where(variances > 0, variances, np.inf)),
        "p": p,
        "q": np.reshape(false_discovery_control(p, axis=None), p.shape),
        "features": np.broadcast_to(sizes[:, None], p.shape),
        "size": np.broadcast_to(np.array([len(genes) for genes in sets.values()])[tested, None], p.shape),
    }
    names = np.array([*sets], dtype=object)[tested]
    index = pd.MultiIndex.from_product([importances.columns, names], names=["unit", "set"])
    table = pd.DataFrame({name: column.T.ravel() for name, column in columns.items()}, index)
    return table.iloc[np.lexsort((-np.abs(table["z"]), table["p"], np.repeat(range(p.shape[1]), len(names))))]


def _read_sets(gene_sets: Any) -> dict[str, list[str]]:
    if is_path(gene_sets):
        return read_gmt(gene_sets)
    if not isinstance(gene_sets, Mapping) or not gene_sets:
        raise DataError(
            f"gene_sets must be the path of a GMT file, or a dict from names of sets to names of features, got "
            f"{'an empty one' if isinstance(gene_sets, Mapping) else type(gene_sets).__name__}. Give "
            f"{{'B cells': ['CD79A', 'MS4A1']}}."
        )
    for name, genes in gene_sets.items():
        check_argument(f"the set {name!r}", genes, MEMBERS)
    return {str(name): list(dict.fromkeys(map(str, genes))) for name, genes in gene_sets.items()}


def _membership(sets: Mapping[str, Sequence[str]], features: Sequence[str]) -> NDArray[Any]:
    """Tell for each set whether it has each feature: (s, d), bool.

    Raises:
        DataError: No set has some features of the table, but not all.
    """
    place = {name: position for position, name in enumerate(features)}
    members = np.zeros((len(sets), len(features)), dtype=bool)
    for row, genes in zip(members, sets.values(), strict=True):
        row[[place[gene] for gene in genes if gene in place]] = True
    if not (members.any(axis=1) & ~members.all(axis=1)).any():
        genes = [gene for each in sets.values() for gene in each]
        raise DataError(
            f"no set has some features of the table, but not all of them. The sets have "
            f"{enumerate_names(genes, 'feature')}; the table has {enumerate_names(features, 'feature')}."
        )
    return members


def _count_extremes(
    ranks: NDArray[Any], sums: NDArray[Any], sizes: NDArray[Any], *, permutations: int, seed: int
) -> NDArray[Any]:
    """Count the permutations in which the sum of the ranks of a random set of the same size is as large or larger.

    The first s features of one permutation are a random set of each size s, so that cumulated sums serve all sets.

    Args:
        ranks: (d, a), centred; multiples of a half, whose sums are exact.
        sums: (s, a), absolute.
        sizes: (s,).
        permutations: Number of permutations.
        seed: Random seed.

    Returns:
        (s, a).
    """
    counts, rng = np.zeros(sums.shape, dtype=int), generator(seed)
    most = int(sizes.max())
    for block in batches(permutations, max(1, HELD_BYTES // (8 * ranks.size))):
        count = block.stop - block.start
        orders = rng.permuted(np.tile(np.arange(len(ranks)), (count, 1)), axis=1)[:, :most]
        drawn = np.abs(np.cumsum(ranks[orders], axis=1))
        for position, size in enumerate(sizes):
            counts[position] += (drawn[:, size - 1] >= sums[position]).sum(axis=0)
    return counts
