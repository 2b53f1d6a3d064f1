"""Groups of features that are one thing: the columns of one attribute, genes that go together, gene sets.

Groups are a dict, from the name of each to the names of its features:

>>> import pandas as pd
>>> X = pd.DataFrame({"colour_red": [1, 0, 0], "colour_blue": [0, 1, 1], "weight": [2.5, 1.0, 3.0]})
>>> one_hot(X)
{'colour': ['colour_red', 'colour_blue']}

``explanation.grouped(groups)`` adds up the values of their features. ``Explainer(..., groups=groups)`` makes each group
one player, where the backend can: all of its features come and go together. The two differ wherever a feature's effect
depends on features outside of its group in more than pairs.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapae.errors import DataError, TooLarge
from shapae.tables.table import Table, read_table
from shapae.utils.memory import batches, format_bytes, parse_bytes
from shapae.utils.text import enumerate_names

__all__ = ["cluster_features", "one_hot", "read_gmt"]

# Bytes of the correlations that are computed at once.
BLOCK_BYTES = 2**26


def one_hot(X: Any, *, separator: str = "_") -> dict[str, list[str]]:
    """Columns that say one thing, as "colour_red" and "colour_blue" do: of which each row has exactly one.

    They begin with the same words up to a ``separator``, hold 0 and 1 only, and each row sums to 1. Where names are no
    help, write the groups down: ``{"colour": ["red", "blue"]}``.

    Args:
        X: (n, d), any table that has names.
        separator: Ends the common beginning.

    Returns:
        Groups of two features or more.

    Raises:
        DataError: The columns have no names.
    """
    rows = _named(X)
    names = rows.names or []
    binary, left, groups = _binary(rows), set(names), {}
    beginnings = {beginning: None for name in names for beginning in _beginnings(name, separator)}
    for beginning in sorted(beginnings, key=len):
        at = [place for place, name in enumerate(names) if name in left and name.startswith(beginning + separator)]
        if len(at) > 1 and binary[at].all() and _sums_to_one(rows, at):
            groups[beginning] = [names[place] for place in at]
            left -= {*groups[beginning]}
    return groups


def _beginnings(name: str, separator: str) -> Iterator[str]:
    words = name.split(separator)
    return (separator.join(words[:count]) for count in range(1, len(words)))


def _binary(rows: Table) -> NDArray[Any]:
    """(d,): whether a column holds 0 and 1 only."""
    blocks = (rows.dense(block) for block in rows.blocks())
    return np.asarray(np.all([((part == 0) | (part == 1)).all(axis=0) for part in blocks], axis=0))


def _sums_to_one(rows: Table, columns: list[int]) -> bool:
    return all(bool((rows.dense(block)[:, columns].sum(axis=1) == 1).all()) for block in rows.blocks())


def _named(X: Any) -> Table:
    rows = read_table(X, "table")
    if rows.names is None:
        raise DataError("the columns must have names to be grouped; give a DataFrame, pd.DataFrame(X, columns=names).")
    return rows


def cluster_features(
    X: Any, *, threshold: float = 0.5, correlation: str = "spearman", memory: str | float = "1GB"
) -> dict[str, list[str]]:
    """Features that go together: clusters of average linkage, by the distance 1 - |correlation|.

    Args:
        X: (n, d), any table that has names.
        threshold: Two clusters are one if the absolute correlation of their features is at least this, on average.
        correlation: "spearman", of ranks, or "pearson".
        memory: Bound on what is held at once; the correlations of all pairs are.

    Returns:
        Groups of two features or more, each called "NAME and 3 more" after its first feature. A constant feature
        correlates with none.

    Raises:
        DataError: The columns have no names, or ``threshold`` or ``correlation`` is none.
        TooLarge: The correlations do not fit into ``memory``.

    Reference:
        Sokal and Michener, 1958, A statistical method for evaluating systematic relationships, as in scipy
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    rows = _named(X)
    if not 0 < threshold <= 1:
        raise DataError(f"threshold must be a correlation above 0 and at most 1, got {threshold!r}.")
    if len(rows) < 3 or rows.shape[1] < 2:
        raise DataError(f"correlations need 3 rows and 2 columns or more, got {len(rows)} and {rows.shape[1]}.")
    _check_correlations_fit(rows, parse_bytes(memory))
    distances = 1 - np.abs(_correlations(rows, correlation))
    tree = linkage(distances[np.triu_indices(len(distances), 1)].clip(0), "average")
    found = defaultdict(list)
    for name, cluster in zip(rows.names or [], fcluster(tree, 1 - threshold, "distance"), strict=True):
        found[cluster].append(name)
    return {f"{names[0]} and {len(names) - 1} more": names for names in found.values() if len(names) > 1}


def _check_correlations_fit(rows: Table, memory: float) -> None:
    n, d = rows.shape
    taken = 8 * (2 * n * d + 4 * d * d)
    if taken > memory:
        raise TooLarge(
            f"the correlations of {d} features over {n} rows take {format_bytes(taken)}, and may take "
            f"memory='{format_bytes(memory)}'; give fewer rows or features, or allow "
            f"memory='{format_bytes(1.01 * taken)}'."
        )


def _correlations(rows: Table, kind: str) -> NDArray[Any]:
    """(d, d), float64; those of a constant feature are 0.

    Raises:
        DataError: ``kind`` is neither "spearman" nor "pearson".
    """
    from scipy.stats import rankdata

    if kind not in ("spearman", "pearson"):
        raise DataError(f"correlation must be 'spearman' or 'pearson', got {kind!r}.")
    table = rows.dense(slice(None)).astype(np.float64)
    table = rankdata(table, axis=0) if kind == "spearman" else table
    varies = np.ptp(table, axis=0) > 0
    table -= table.mean(axis=0)
    table /= np.where(varies, np.linalg.norm(table, axis=0), np.inf)
    return np.asarray(table.T @ table)


def correlated_clusters(rows: NDArray[Any], least: float = 0.9) -> list[list[int]]:
    """Clusters of features, each of which correlates with another one of its cluster.

    Args:
        rows: (n, d).
        least: Absolute value of Pearson's correlation.

    Returns:
        Positions of two features or more each; no feature is in two. A constant feature is in none.
    """
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    size = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(np.ptp(rows, axis=0) > 0, size, np.inf)
    d = rows.shape[1]
    pairs = [_pairs(unit, part, least) for part in batches(d, max(1, BLOCK_BYTES // (8 * d)))]
    first, second = np.concatenate(pairs, axis=1)
    _, cluster = connected_components(coo_array((np.ones(len(first)), (first, second)), (d, d)), directed=False)
    found: dict[int, list[int]] = {}
    for feature, place in enumerate(cluster):
        found.setdefault(int(place), []).append(feature)
    return [features for features in found.values() if len(features) > 1]


def _pairs(unit: NDArray[Any], part: slice, least: float) -> NDArray[Any]:
    """(2, ...): pairs of features whose first one is in ``part``."""
    first, second = np.nonzero(np.abs(unit[:, part].T @ unit) >= least)
    return np.stack([first + part.start, second])


def read_gmt(path: str | Path, features: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Gene sets from a GMT file: one on each line, its name, a description and its genes, with tabs between.

    A gene may be in several sets, and is then in each of the groups. ``explanation.grouped`` counts its value in all of
    them, so that the values of the sets no longer add up, and says how much is missing in ``residual``; as players of
    ``Explainer(groups=...)`` such sets are refused.

    Args:
        path: Of the file.
        features: The names of genes that there are; others are left out, and so are sets without any. None for all.

    Raises:
        DataError: A line is no gene set, a name comes twice, or no gene is among ``features``.
    """
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = line.rstrip("\t").split("\t")
        if len(rest) < 2:
            raise DataError(f"line {number} of {path} is no gene set: name, description and genes, with tabs between.")
        if name in sets:
            raise DataError(f"line {number} of {path} has the name of an earlier set, {name!r}.")
        sets[name] = list(dict.fromkeys(gene for gene in rest[1:] if gene))
    if features is None:
        return sets
    there = set(features)
    kept = {name: [gene for gene in genes if gene in there] for name, genes in sets.items()}
    kept = {name: genes for name, genes in kept.items() if genes}
    if not kept:
        genes = [gene for members in sets.values() for gene in members]
        raise DataError(
            f"no gene of {path} is among the features: it has {enumerate_names(genes, 'gene')}; the features are "
            f"{enumerate_names(list(features), 'feature')}."
        )
    return kept
