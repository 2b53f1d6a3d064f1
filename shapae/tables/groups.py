"""Groups of features: one-hot columns of an attribute, correlated features, gene sets.

Groups are a dict of the name of each group and the names of its features:

>>> import pandas as pd
>>> X = pd.DataFrame({"colour_red": [1, 0, 0], "colour_blue": [0, 1, 1], "weight": [2.5, 1.0, 3.0]})
>>> one_hot(X)
{'colour': ['colour_red', 'colour_blue']}

``explanation.grouped(groups)`` adds up the values of the features of each group. ``Explainer(..., groups=groups)``
makes each group one player, if the backend supports it: all of its features join a coalition together. The two results
differ if three or more features interact, within and outside of a group.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapae.errors import DataError, TooLarge
from shapae.tables.table import Table, read_table
from shapae.utils.constraints import NAMES, check_argument, check_arguments
from shapae.utils.kinds import Number
from shapae.utils.memory import batches, format_bytes, parse_bytes
from shapae.utils.text import enumerate_names, one_line

__all__ = ["cluster_features", "one_hot", "read_gmt"]

T = TypeVar("T")
# Bytes of a block of correlations in ``correlated_clusters``, which never holds all d * d of them.
BLOCK_BYTES = 2**26


def one_hot(X: Any, *, separator: str = "_") -> dict[str, list[str]]:
    """Group the one-hot columns of each attribute, such as "colour_red" and "colour_blue".

    One-hot columns have a common prefix up to a ``separator``, hold 0 and 1 only, and sum to 1 in each row. If columns
    have no common prefix, write the groups by hand: ``{"colour": ["red", "blue"]}``.

    Args:
        X: (n, d), any table that has names.
        separator: End of the common prefix.

    Returns:
        Groups of two features or more. A group that would be called as a feature outside of all groups is called
        "colour (group)".

    Raises:
        DataError: The columns have no names.
    """
    check_arguments(separator=separator)
    table = _read_named_table(X)
    names = table.names or []
    binary, ungrouped, groups = _is_binary(table), set(names), {}
    prefixes = {prefix: None for name in names for prefix in _prefixes(name, separator)}
    for prefix in sorted(prefixes, key=len):
        columns = [j for j, name in enumerate(names) if name in ungrouped and name.startswith(prefix + separator)]
        if len(columns) > 1 and binary[columns].all() and _sums_to_one(table, columns):
            groups[prefix] = [names[column] for column in columns]
            ungrouped -= {*groups[prefix]}
    return _rename(groups, names)


def _rename(groups: Mapping[str, list[str]], features: Sequence[str]) -> dict[str, list[str]]:
    """Rename each group that is called as a feature outside of all groups, because the names of players must differ."""
    outside, renamed = {*features}.difference(*groups.values()), {}
    for name, members in groups.items():
        free = name
        while free in outside or free in renamed or (free != name and free in groups):
            free += " (group)"
        renamed[free] = members
    return renamed


def _prefixes(name: str, separator: str) -> Iterator[str]:
    words = name.split(separator)
    return filter(None, (separator.join(words[:count]) for count in range(1, len(words))))


def _is_binary(table: Table) -> NDArray[Any]:
    """(d,): whether each column holds 0 and 1 only."""
    blocks = (table.dense(block) for block in table.blocks())
    return np.asarray(np.all([((rows == 0) | (rows == 1)).all(axis=0) for rows in blocks], axis=0))


def _sums_to_one(table: Table, columns: list[int]) -> bool:
    return all(bool((table.dense(block)[:, columns].sum(axis=1) == 1).all()) for block in table.blocks())


def _read_named_table(X: Any) -> Table:
    table = read_table(X, "table")
    if table.names is None:
        raise DataError("the columns must have names to be grouped. Give a DataFrame, pd.DataFrame(X, columns=names).")
    return table


def cluster_features(
    X: Any, *, threshold: float = 0.5, correlation: str = "spearman", memory: str | float = "1GB"
) -> dict[str, list[str]]:
    """Group correlated features: clusters of average linkage, by the distance 1 - |correlation|.

    Args:
        X: (n, d), any table that has names.
        threshold: Minimum mean absolute correlation at which two clusters are joined.
        correlation: "spearman", of ranks, or "pearson".
        memory: Maximum memory; the correlations of all pairs are held at once.

    Returns:
        Groups of two features or more, each called "NAME and 3 more" after its first feature; see also ``one_hot``. A
        constant feature is in no group.

    Raises:
        DataError: The columns have no names, or ``threshold`` or ``correlation`` is not as described.
        TooLarge: The correlations do not fit into ``memory``.

    Reference:
        Sokal and Michener, 1958, A statistical method for evaluating systematic relationships, as in scipy
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    check_arguments(correlation=correlation, memory=memory)
    check_argument("threshold", threshold, Number(above=0, most=1))
    table = _read_named_table(X)
    if len(table) < 3 or table.shape[1] < 2:
        raise DataError(f"correlations need 3 rows and 2 columns or more, got {len(table)} and {table.shape[1]}.")
    _check_correlations_fit(table, parse_bytes(memory))
    distances = 1 - np.abs(_correlations(table, correlation))
    tree = linkage(distances[np.triu_indices(len(distances), 1)].clip(0), "average")
    clusters = _members(fcluster(tree, 1 - threshold, "distance"), table.names or [])
    return _rename({f"{names[0]} and {len(names) - 1} more": names for names in clusters}, table.names or [])


def _members(clusters: NDArray[Any], features: Sequence[T]) -> list[list[T]]:
    """List the features of each cluster of two features or more, in order of their first features."""
    members: dict[int, list[T]] = defaultdict(list)
    for feature, cluster in zip(features, clusters.tolist(), strict=True):
        members[cluster].append(feature)
    return [features for features in members.values() if len(features) > 1]


def _check_correlations_fit(table: Table, memory: float) -> None:
    n, d = table.shape
    size = 8 * (2 * n * d + 4 * d * d)
    if size > memory:
        raise TooLarge(
            f"the correlations of {d} features over {n} rows take {format_bytes(size)}, but "
            f"memory='{format_bytes(memory)}' is allowed. Give fewer rows or features, or allow "
            f"memory='{format_bytes(1.01 * size)}'."
        )


def _correlations(table: Table, kind: str) -> NDArray[Any]:
    """(d, d), float64; 0 for constant features."""
    from scipy.stats import rankdata

    columns = table.dense(slice(None)).astype(np.float64)
    columns = _standardize(rankdata(columns, axis=0) if kind == "spearman" else columns)
    return np.asarray(columns.T @ columns)


def _standardize(columns: NDArray[Any]) -> NDArray[Any]:
    """Shift and scale columns in place, to mean 0 and norm 1; constant columns become 0."""
    varies = np.ptp(columns, axis=0) > 0
    columns -= columns.mean(axis=0)
    columns /= np.where(varies, np.linalg.norm(columns, axis=0), np.inf)
    return columns


def correlated_clusters(rows: NDArray[Any], threshold: float = 0.9) -> list[list[int]]:
    """Cluster correlated features: clusters of single linkage, by Pearson's correlation.

    Args:
        rows: (n, d).
        threshold: Minimum absolute correlation of a feature with another feature of its cluster.

    Returns:
        Positions of the features of each cluster, two or more. No two clusters share features, and a constant feature
        is in no cluster.
    """
    columns, d = _standardize(rows.astype(np.float64)), rows.shape[1]
    blocks = batches(d, max(1, BLOCK_BYTES // (8 * d)))
    first, second = np.concatenate([_correlated_pairs(columns, block, threshold) for block in blocks], axis=1)
    _, clusters = connected_components(coo_array((np.ones(len(first)), (first, second)), (d, d)), directed=False)
    return _members(clusters, range(d))


def _correlated_pairs(columns: NDArray[Any], block: slice, threshold: float) -> NDArray[Any]:
    """(2, ...): correlated pairs of features, the first of which is in ``block``."""
    first, second = np.nonzero(np.abs(columns[:, block].T @ columns) >= threshold)
    return np.stack([first + block.start, second])


def read_gmt(path: str | Path, features: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Read gene sets from a GMT file: on each line a name, a description and genes, separated by tabs.

    A gene may be in several sets. ``explanation.grouped`` counts its value in each of them, so that the values of the
    sets no longer add up; ``residual`` is the difference. Overlapping sets can't be players of
    ``Explainer(groups=...)``.

    Args:
        path: Path of the file.
        features: Names of the genes to keep; sets without such genes are left out. None for all genes. A set that is
            called as one of ``features`` outside of all sets is called "NAME (group)".

    Raises:
        DataError: The file can't be read, a line is not a gene set, a name is repeated, or no gene is in ``features``.
    """
    check_arguments(path=path)
    if features is not None:
        check_argument("features", features, NAMES)
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        name, *rest = line.rstrip("\t").split("\t")
        if len(rest) < 2:
            raise DataError(
                f"line {number} of {path} is not a gene set. Expected name, description and genes, separated by tabs."
            )
        if name in sets:
            raise DataError(f"line {number} of {path} repeats the name of an earlier set, {name!r}.")
        sets[name] = list(dict.fromkeys(gene for gene in rest[1:] if gene))
    return sets if features is None else _select_genes(sets, features, path)


def _read_lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(f"can't read the gene sets in {path}: {one_line(error)}.") from error


def _select_genes(sets: dict[str, list[str]], features: Sequence[str], path: str | Path) -> dict[str, list[str]]:
    known = set(features)
    selected = {name: [gene for gene in genes if gene in known] for name, genes in sets.items()}
    selected = {name: genes for name, genes in selected.items() if genes}
    if not selected:
        genes = [gene for members in sets.values() for gene in members]
        raise DataError(
            f"no gene of {path} is among the features. The file has {enumerate_names(genes, 'gene')}; the features are "
            f"{enumerate_names(list(features), 'feature')}."
        )
    return _rename(selected, features)


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
