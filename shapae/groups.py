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

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shapae.data import Rows, read_rows
from shapae.errors import DataError, TooLarge
from shapae.utils.memory import read_bytes, spell
from shapae.utils.moments import Array
from shapae.utils.text import some

Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class Players:
    """Groups and the features that are in none of them, the groups first.

    Attributes:
        names: p unique names.
        members: (2, m), for each member of a player its feature and the player.
    """

    names: list[str]
    members: Array

    def __len__(self) -> int:
        return len(self.names)

    @property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """For each player the positions of its features."""
        features, of = self.members
        return tuple(tuple(features[of == player].tolist()) for player in range(len(self)))

    def of_features(self) -> Tensor:
        """(d,): the player of each feature, where each has one."""
        return torch.from_numpy(self.members[1, np.argsort(self.members[0])])

    def sums(self, values: Array, axis: int = 1) -> Array:
        """Sums over the features of each player, along ``axis``: d becomes p."""
        parts = torch.from_numpy(np.take(values, self.members[0], axis))
        shape = [*values.shape[:axis], len(self), *values.shape[axis + 1 :]]
        return parts.new_zeros(shape).index_add_(axis, torch.tensor(self.members[1]), parts).numpy()

    def means(self, data: Array, axis: int = 1) -> Array:
        """Means over the features of each player, along ``axis``: d becomes p."""
        sizes = np.bincount(self.members[1], minlength=len(self)).astype(data.dtype)
        sizes = sizes.reshape(-1, *[1] * (data.ndim - 1 - axis))
        return np.asarray(self.sums(data, axis) / sizes)


def players(groups: Groups, features: Sequence[str], *, disjoint: bool) -> Players:
    """The players of ``features``: the groups, and the features that are in none of them.

    Args:
        groups: From names to names of features.
        features: d unique names.
        disjoint: No feature may be in two groups.

    Raises:
        DataError: A group is empty, or names a feature twice or one that is not there; or groups overlap.
    """
    _refuse_groups(groups, set(features))
    if disjoint:
        _refuse_overlap(groups)
    grouped = {member for members in groups.values() for member in members}
    alone = [feature for feature in features if feature not in grouped]
    names = [*map(str, groups), *alone]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"groups must have other names than the features outside of them, and than each other; rename "
            f"{some(twice, 'group')}."
        )
    place = {feature: at for at, feature in enumerate(features)}
    parts = [*groups.values(), *([feature] for feature in alone)]
    pairs = [(place[member], player) for player, members in enumerate(parts) for member in members]
    return Players(names, np.array(pairs).T.copy())


def _refuse_groups(groups: Groups, features: set[str]) -> None:
    if not isinstance(groups, Mapping):
        raise DataError(
            f"groups must be a dict from names to lists of features, got {type(groups).__name__}; "
            f"write {{'colour': ['colour_red', 'colour_blue']}}."
        )
    for name, members in groups.items():
        if isinstance(members, str) or not len(members):
            raise DataError(f"the group {name!r} must be a list of one feature or more, got {members!r}.")
        if len({*members}) < len(members):
            raise DataError(f"the group {name!r} names a feature twice: {list(members)}.")
    unknown = [
        f"{member} (in {name})" for name, members in groups.items() for member in members if member not in features
    ]
    if unknown:
        raise DataError(f"groups name features that are not there: {', '.join(unknown)}.")


def _refuse_overlap(groups: Groups) -> None:
    of = defaultdict(list)
    for name, members in groups.items():
        for member in members:
            of[member].append(str(name))
    shared = [f"{member} (in {' and '.join(names)})" for member, names in of.items() if len(names) > 1]
    if shared:
        raise DataError(
            f"a feature can be in one player only, but groups share {some(shared, 'feature')}; take features out, or "
            f"add up values that may be counted twice, with explanation.grouped(groups)."
        )


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


def _binary(rows: Rows) -> Array:
    """(d,): whether a column holds 0 and 1 only."""
    blocks = (rows.dense(block) for block in rows.blocks())
    return np.asarray(np.all([((part == 0) | (part == 1)).all(axis=0) for part in blocks], axis=0))


def _sums_to_one(rows: Rows, columns: list[int]) -> bool:
    return all(bool((rows.dense(block)[:, columns].sum(axis=1) == 1).all()) for block in rows.blocks())


def _named(X: Any) -> Rows:
    rows = read_rows(X, "table")
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
    _refuse_correlations(rows, read_bytes(memory))
    distances = 1 - np.abs(_correlations(rows, correlation))
    tree = linkage(distances[np.triu_indices(len(distances), 1)].clip(0), "average")
    found = defaultdict(list)
    for name, cluster in zip(rows.names or [], fcluster(tree, 1 - threshold, "distance"), strict=True):
        found[cluster].append(name)
    return {f"{names[0]} and {len(names) - 1} more": names for names in found.values() if len(names) > 1}


def _refuse_correlations(rows: Rows, memory: float) -> None:
    n, d = rows.shape
    taken = 8 * (2 * n * d + 4 * d * d)
    if taken > memory:
        raise TooLarge(
            f"the correlations of {d} features over {n} rows take {spell(taken)}, and may take "
            f"memory='{spell(memory)}'; give fewer rows or features, or allow memory='{spell(1.01 * taken)}'."
        )


def _correlations(rows: Rows, kind: str) -> Array:
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
            f"no gene of {path} is among the features: it has {some(genes, 'gene')}; the features are "
            f"{some(list(features), 'feature')}."
        )
    return kept
