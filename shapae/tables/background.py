"""Backgrounds: the rows with which explained rows are compared, and the weights of these rows.

Any table is a background, with all of its rows. These functions make smaller backgrounds, and weighted backgrounds:

>>> import numpy as np
>>> from shapae import background
>>> X = np.random.default_rng(0).normal(size=(50, 3))
>>> background.kmeans(X, 4)
Background of 4 rows: 4 centres of k-means of 50 rows, seed 0, by the sizes of their clusters
"""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from torch import Tensor

from shapae.errors import DataError, TooLarge, UnknownName
from shapae.tables.files import open_table
from shapae.tables.labels import check_same_rows, read_labels
from shapae.tables.stored import StoredRows
from shapae.tables.table import Table, read_table
from shapae.utils.constraints import check_arguments
from shapae.utils.context import ignored_warnings
from shapae.utils.memory import format_bytes
from shapae.utils.text import enumerate_names

# Bytes of rows in a file, in float64, up to which they are read as a whole for k-means.
LARGEST_CLUSTERED = 2**30
__all__ = ["Background", "contrast", "kmeans", "sample", "stratified", "weighted"]


@dataclass(frozen=True, eq=False)
class Background:
    """Rows with which explained rows are compared. Functions of ``shapae.background`` make it.

    Attributes:
        rows: (b, d).
        weights: (b,), float64, positive, 1 on average; None for equal weights.
        origin: Description of its origin; None for an unchanged table.
    """

    rows: Table
    weights: NDArray[Any] | None = None
    origin: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Background of {len(self)} rows: {self.origin or 'as they came'}"


def read_background(background: Any) -> Background:
    """Return ``background``, or make a background of all rows of a table.

    Raises:
        DataError: ``background`` is no table that can be explained.
    """
    if isinstance(background, numbers.Integral):
        raise DataError(
            f"the background must be a table, got {background}. Draw {background} rows of a table with "
            f"shapae.background.sample(X, {background})."
        )
    if isinstance(background, str) and background in __all__:
        raise DataError(
            f"the background must be a table, got {background!r}. Call the function of this name: "
            f"shapae.background.{background}(X, ...)."
        )
    return background if isinstance(background, Background) else Background(read_table(background, "background"))


def tensors(background: Background, like: Tensor, memory: float) -> tuple[Tensor, Tensor | None]:
    """Convert the rows and the weights of ``background`` to tensors.

    Args:
        background: b rows.
        like: Any tensor with the dtype and device of the result.
        memory: Maximum number of bytes of the rows.

    Returns:
        (b, d); and (b,), or None for equal weights.

    Raises:
        DataError: Some numbers are too large for the dtype.
        TooLarge: The rows take more than ``memory``.
    """
    (b, d), weights = background.rows.shape, background.weights
    size = b * d * like.element_size()
    if size > memory:
        raise TooLarge(
            f"the background of {b} rows takes {format_bytes(size)}, but memory='{format_bytes(memory)}' is allowed. "
            f"Draw a part of it, shapae.background.sample(X, 100), or allow memory='{format_bytes(4 * size)}'."
        )
    return background.rows.tensor(like, "background"), None if weights is None else torch.tensor(weights).to(like)


def weighted(X: Any, weights: Any) -> Background:
    """Make a background of all rows of ``X``, with weights.

    Standard errors are not known for weighted backgrounds.

    Args:
        X: (b, d), any table.
        weights: (b,), positive. Only their proportions matter. The names of a Series must be those of the rows.

    Raises:
        DataError: There are not b weights, or some are not positive numbers, or they have other names than the rows.
    """
    X = open_table(X)
    rows = read_table(X, "background")
    check_same_rows(weights, X, rows, "the weights and the table", "Give weights.loc[X.index]")
    return Background(rows, _check_weights(weights, len(rows)), f"{len(rows)} rows with weights")


def _check_weights(weights: Any, b: int) -> NDArray[Any]:
    array = np.asarray(weights)
    if array.shape != (b,) or array.dtype.kind not in "fiub":
        raise DataError(
            f"the weights must be one number for each of the {b} background rows, got {array.dtype} of shape "
            f"{array.shape}."
        )
    bad = np.flatnonzero(~((array > 0) & np.isfinite(array))).tolist()
    if len(bad) == b:
        raise DataError(f"the weights must be positive numbers, but all {b} are zero, negative or not finite.")
    if bad:
        raise DataError(
            f"the weights must be positive numbers, but the weights of {enumerate_names(bad, 'row')} are zero, "
            f"negative or not finite. Leave rows out that should not count."
        )
    shares = array / array.max()  # the sum of large numbers may overflow
    return np.asarray(shares / shares.mean(), dtype=np.float64)


def sample(X: Any, count: int, *, seed: int = 0) -> Background:
    """Draw a random sample of the rows of ``X``, without replacement, in their order.

    Args:
        X: (n, d), any table.
        count: Number of rows, at most n.
        seed: Random seed.

    Raises:
        DataError: There are fewer than ``count`` rows.
    """
    check_arguments(count=count, seed=seed)
    rows = read_table(X, "background")
    n = len(rows)
    _check_count(count, n)
    chosen = np.sort(np.random.default_rng(seed).choice(n, count, replace=False))
    return Background(rows.of(chosen), origin=f"{count} of {n} rows, drawn with seed {seed}")


def _check_count(count: int, n: int) -> None:
    if not 1 <= count <= n:
        raise DataError(
            f"from {n} rows 1 to {n} can be drawn, got {count}. For all rows, give the table itself as background."
        )


def stratified(X: Any, count: int, *, by: Any, seed: int = 0) -> Background:
    """Draw a stratified sample of the rows of ``X``: each group has its share, to the nearest row.

    Args:
        X: (n, d), any table.
        count: Number of rows, at most n. Groups whose share is less than half of a row may have no row.
        by: n labels of groups; or, for an AnnData, the name of a column of its ``obs``.
        seed: Random seed.

    Raises:
        DataError: There are fewer than ``count`` rows, or not one label for each row.
        UnknownName: ``obs`` has no such column.
    """
    check_arguments(count=count, seed=seed)
    X = open_table(X)
    rows = read_table(X, "background")
    group, kinds = pd.factorize(read_labels(X, rows, by))
    n = len(rows)
    _check_count(count, n)
    rng = np.random.default_rng(seed)
    shares = _shares(np.bincount(group), count)
    chosen = [rng.choice(np.flatnonzero(group == kind), share, replace=False) for kind, share in enumerate(shares)]
    origin = f"{count} of {n} rows, drawn from {len(kinds)} groups by their sizes, with seed {seed}"
    return Background(rows.of(np.sort(np.concatenate(chosen))), origin=origin)


def _shares(sizes: NDArray[Any], count: int) -> list[int]:
    """Share ``count`` in proportion to ``sizes``: rounded down, plus 1 for the largest remainders."""
    exact = sizes * count / sizes.sum()
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    return [int(share) for share in shares]


def kmeans(X: Any, k: int, *, seed: int = 0) -> Background:
    """Make a background of the centres of ``k`` clusters of the rows of ``X``, weighted by the sizes of the clusters.

    Centres are not rounded to values in ``X``, unlike in shap, so that the values of a linear score equal the values
    against all of ``X``. A centre is not an observed row: if that matters, draw a ``sample``.

    Args:
        X: (n, d), any table.
        k: Number of clusters, at most n.
        seed: Random seed of the first centres.

    Raises:
        DataError: There are fewer than ``k`` different rows.
        TooLarge: The rows are in a file, and take more than 1 GiB.

    Reference:
        Lloyd, 1982, https://doi.org/10.1109/TIT.1982.1056489, as in scikit-learn
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    check_arguments(k=k, seed=seed)
    rows = read_table(X, "background")
    n, size = len(rows), 8 * math.prod(rows.shape)
    if isinstance(rows.values, StoredRows) and size > LARGEST_CLUSTERED:
        raise TooLarge(
            f"k-means holds all rows at once, but these {n} rows take {format_bytes(size)}. Draw some of them first: "
            f"shapae.background.kmeans(shapae.background.sample(X, 10_000).rows, {k})."
        )
    if not 1 <= k <= n:
        raise DataError(f"k-means finds 1 to {n} centres of {n} rows, got k={k}.")
    data = csr_array(rows.values) if issparse(rows.values) else rows.dense(slice(None))
    with ignored_warnings(ConvergenceWarning):  # about equal rows, which are an error below
        cluster = KMeans(k, n_init=10, random_state=seed).fit(data).labels_
    sizes = np.bincount(cluster, minlength=k)
    if not sizes.all():
        different = np.count_nonzero(sizes)
        raise DataError(f"there are only {different} different rows for k={k} centres. Use k={different} or fewer.")
    sums = csr_array((np.ones(n), (cluster, np.arange(n))), shape=(k, n)) @ data
    centres = (sums.toarray() if issparse(sums) else sums) / sizes[:, None]
    origin = f"{k} centres of k-means of {n} rows, seed {seed}, by the sizes of their clusters"
    return Background(Table(centres, rows.names), sizes / sizes.mean(), origin)


def contrast(X: Any, rows: Any, against: Any = None, *, by: Any) -> tuple[Table, Background]:
    """Split ``X`` into one group of rows, to explain, and another group as background: B cells against all others.

    Args:
        X: (n, d), any table.
        rows: Label of the rows to explain.
        against: Label of the background; None for all rows with other labels.
        by: n labels of groups; or, for an AnnData, the name of a column of its ``obs``.

    Returns:
        The rows and the background, for ``Explainer(model, background)(rows)``.

    Raises:
        DataError: There is not one label for each row, or the background is empty.
        UnknownName: There are no rows with such a label.
    """
    X = open_table(X)
    table = read_table(X, "rows")
    labels = read_labels(X, table, by)
    explained = _has_label(labels, rows)
    others = ~explained if against is None else _has_label(labels, against)
    if not others.any() or against == rows:
        raise DataError(f"there are no rows to compare {rows!r} with. Give another label as against=.")
    origin = f"rows of {'all other labels than ' + repr(rows) if against is None else repr(against)}"
    background = Background(table.of(np.flatnonzero(others)), origin=origin)
    return table.of(np.flatnonzero(explained)), background


def _has_label(labels: NDArray[Any], label: Any) -> NDArray[Any]:
    has_label = np.asarray(labels == label)
    if not has_label.any():
        raise UnknownName("label", label, [str(each) for each in pd.unique(labels)])
    return has_label


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
