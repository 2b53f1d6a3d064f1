"""Backgrounds: what rows are compared with, and how much each row of it counts.

Any table is a background, the whole of it. These functions make smaller ones, and ones that count rows by weight:

>>> import numpy as np
>>> from shapae import background
>>> X = np.random.default_rng(0).normal(size=(50, 3))
>>> background.kmeans(X, 4)
Background of 4 rows: 4 centres of k-means of 50 rows, seed 0, by the sizes of their clusters
"""

import numbers
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from torch import Tensor

from shapae.errors import DataError, TooLarge, UnknownName
from shapae.tables.anndata import is_anndata
from shapae.tables.table import Table, index_names, read_table
from shapae.utils.memory import format_bytes
from shapae.utils.text import enumerate_names

__all__ = ["Background", "contrast", "kmeans", "sample", "stratified", "weighted"]


@dataclass(frozen=True, eq=False)
class Background:
    """What rows are compared with. ``shapae.background`` has functions that make it.

    Attributes:
        rows: b of them.
        weights: (b,), float64, positive, 1 on average: how much each counts. None where all count the same.
        origin: How it was made, in words; None for a table as it came.
    """

    rows: Table
    weights: NDArray[Any] | None = None
    origin: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Background of {len(self)} rows: {self.origin or 'as they came'}"


def read_background(background: Any) -> Background:
    """``background`` itself if it is one already; otherwise all of the table that it is.

    Raises:
        DataError: It is no table that can be explained.
    """
    if isinstance(background, numbers.Integral):
        raise DataError(
            f"the background must be a table, got {background}; draw so many rows of one with "
            f"shapae.background.sample(X, {background})."
        )
    return background if isinstance(background, Background) else Background(read_table(background, "background"))


def tensors(background: Background, like: Tensor, memory: float) -> tuple[Tensor, Tensor | None]:
    """The rows of ``background`` and its weights.

    Args:
        background: b rows.
        like: Its dtype and device are those of the tensors.
        memory: Bytes that the rows may take.

    Returns:
        (b, d); and (b,), or None where all rows count the same.

    Raises:
        DataError: Some numbers are too large for the dtype.
        TooLarge: The rows take more than ``memory``.
    """
    (b, d), weights = background.rows.shape, background.weights
    taken = b * d * like.element_size()
    if taken > memory:
        raise TooLarge(
            f"the background of {b} rows takes {format_bytes(taken)}, and may take memory='{format_bytes(memory)}'; "
            f"draw some of "
            f"them, shapae.background.sample(X, 100), or allow memory='{format_bytes(4 * taken)}'."
        )
    return background.rows.tensor(like, "background"), None if weights is None else torch.tensor(weights).to(like)


def weighted(X: Any, weights: Any) -> Background:
    """All rows of ``X``, each of which counts so much.

    With weights, standard errors are not known.

    Args:
        X: (b, d), any table.
        weights: (b,), positive. Only their proportions matter.

    Raises:
        DataError: There are not b of them, or some are not positive numbers.
    """
    rows = read_table(X, "background")
    return Background(rows, _weights(weights, len(rows)), f"{len(rows)} rows with weights")


def _weights(weights: Any, b: int) -> NDArray[Any]:
    array = np.asarray(weights)
    if array.shape != (b,) or array.dtype.kind not in "fiub":
        raise DataError(
            f"the weights must be one number for each of the {b} background rows, got {array.dtype} of shape "
            f"{array.shape}."
        )
    bad = np.flatnonzero(~((array > 0) & np.isfinite(array))).tolist()
    if len(bad) == b:
        raise DataError("the weights must be positive numbers, but none of them is.")
    if bad:
        raise DataError(
            f"the weights must be positive numbers, but those of {enumerate_names(bad, 'row')} are zero, negative "
            f"or not finite; "
            f"leave rows out that should not count."
        )
    shares = array / array.max()  # of large numbers the sum may overflow
    return np.asarray(shares / shares.mean(), dtype=np.float64)


def sample(X: Any, count: int, *, seed: int = 0) -> Background:
    """Rows of ``X``, drawn without replacement, in their order.

    Args:
        X: (n, d), any table.
        count: How many, at most n.
        seed: Of the draws.

    Raises:
        DataError: There are not so many.
    """
    rows = read_table(X, "background")
    n = len(rows)
    _check_count(count, n)
    chosen = np.sort(np.random.default_rng(seed).choice(n, count, replace=False))
    return Background(rows.of(chosen), origin=f"{count} of {n} rows, drawn with seed {seed}")


def _check_count(count: int, n: int) -> None:
    if not 1 <= count <= n:
        raise DataError(
            f"from {n} rows 1 to {n} can be drawn, got {count}; for all of them, give the table itself as background."
        )


def stratified(X: Any, by: Any, count: int, *, seed: int = 0) -> Background:
    """Rows of ``X``, drawn so that each group has its share of them, to the nearest row.

    Args:
        X: (n, d), any table.
        by: n labels of groups; or, for an AnnData, the name of a column of its ``obs``.
        count: How many, at most n. Groups whose share is less than half of a row may have none.
        seed: Of the draws.

    Raises:
        DataError: There are not so many rows, or not one label for each.
        UnknownName: ``obs`` has no such column.
    """
    rows = read_table(X, "background")
    group, kinds = pd.factorize(_labels(X, rows, by))
    n = len(rows)
    _check_count(count, n)
    rng = np.random.default_rng(seed)
    shares = _shares(np.bincount(group), count)
    drawn = [rng.choice(np.flatnonzero(group == kind), share, replace=False) for kind, share in enumerate(shares)]
    origin = f"{count} of {n} rows, drawn from {len(kinds)} groups by their sizes, with seed {seed}"
    return Background(rows.of(np.sort(np.concatenate(drawn))), origin=origin)


def _shares(sizes: NDArray[Any], count: int) -> list[int]:
    """``count`` in proportion to ``sizes``: rounded down, and one more for those that lose most by it."""
    exact = sizes * count / sizes.sum()
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    return [int(share) for share in shares]


def kmeans(X: Any, k: int, *, seed: int = 0) -> Background:
    """The centres of ``k`` clusters of the rows of ``X``, each of which counts as many rows as its cluster has.

    They are not rounded to values that occur in ``X``, as shap's are; so for a score that is linear the values are
    exactly those against all of ``X``. A centre is a row that nobody has seen: where that matters, draw a ``sample``.

    Args:
        X: (n, d), any table.
        k: How many, at most n.
        seed: Of the first centres.

    Raises:
        DataError: There are not so many different rows.

    Reference:
        Lloyd, 1982, https://doi.org/10.1109/TIT.1982.1056489, as in scikit-learn
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = read_table(X, "background")
    n = len(rows)
    if not 1 <= k <= n:
        raise DataError(f"k-means finds 1 to {n} centres of {n} rows, got k={k}.")
    table = csr_array(rows.values) if issparse(rows.values) else rows.dense(slice(None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of rows that are the same: refused below
        cluster = KMeans(k, n_init=10, random_state=seed).fit(table).labels_
    sizes = np.bincount(cluster, minlength=k)
    if not sizes.all():
        raise DataError(f"there are only {np.count_nonzero(sizes)} different rows for k={k} centres; use fewer.")
    sums = csr_array((np.ones(n), (cluster, np.arange(n))), shape=(k, n)) @ table
    centres = (sums.toarray() if issparse(sums) else sums) / sizes[:, None]
    origin = f"{k} centres of k-means of {n} rows, seed {seed}, by the sizes of their clusters"
    return Background(Table(centres, rows.names), sizes / sizes.mean(), origin)


def contrast(X: Any, labels: Any, rows: Any, against: Any = None) -> tuple[Table, Background]:
    """One group of rows against another: what makes B cells different from the rest.

    Args:
        X: (n, d), any table.
        labels: n of them; or, for an AnnData, the name of a column of its ``obs``.
        rows: Label of the rows to explain.
        against: Label of those to compare them with; None for all others.

    Returns:
        The rows of the one group, and the background of the other: ``Explainer(model, background)(rows)``.

    Raises:
        DataError: There is not one label for each row, or there are no others.
        UnknownName: There are no rows with such a label.
    """
    table = read_table(X, "rows")
    of = _labels(X, table, labels)
    known = [str(label) for label in pd.unique(of)]
    chosen = [_chosen(of, label, known) for label in ([rows] if against is None else [rows, against])]
    others = ~chosen[0] if against is None else chosen[1]
    if not others.any() or against == rows:
        raise DataError(f"there is nothing to compare {rows!r} with: give another label as against=.")
    origin = f"rows of {'all other labels than ' + repr(rows) if against is None else repr(against)}"
    background = Background(table.of(np.flatnonzero(others)), origin=origin)
    return table.of(np.flatnonzero(chosen[0])), background


def _chosen(labels: NDArray[Any], label: Any, known: list[str]) -> NDArray[Any]:
    chosen = np.asarray(labels == label)
    if not chosen.any():
        raise UnknownName("label", label, known)
    return chosen


def _labels(X: Any, rows: Table, by: Any) -> NDArray[Any]:
    if isinstance(by, str):
        by = _column(X, by)
    names = index_names(by.index) if isinstance(by, pd.Series) else None
    if names is not None and rows.row_names is not None and not np.array_equal(names, rows.row_names):
        raise DataError("the labels have other names of rows than the table; give labels.loc[X.index].")
    labels = np.asarray(by, dtype=object)
    if labels.shape != (len(rows),):
        raise DataError(f"there must be one label for each of the {len(rows)} rows, got shape {labels.shape}.")
    missing = np.flatnonzero(pd.isna(labels)).tolist()
    if missing:
        raise DataError(
            f"the labels of {enumerate_names(missing, 'row')} are missing; leave these rows out, or name them."
        )
    return labels


def _column(X: Any, name: str) -> Any:
    if not is_anndata(X):
        raise DataError(
            f"{name!r} would be a column of the obs of an AnnData, but the table is a {type(X).__name__}; give the "
            f"labels themselves, one for each row."
        )
    if name not in X.obs:
        raise UnknownName("column of obs", name, list(X.obs))
    return X.obs[name]
