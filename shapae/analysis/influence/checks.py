"""Checks of influences: the sanity check, data cleaning, and relations to losses, latents and labels."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from shapae import plots
from shapae.errors import DataError
from shapae.utils.kinds import Integer, written
from shapae.utils.text import enumerate_names

# Relative rounding error of an influence, within which copies of a row have the same.
ROUNDING = 1e-5


def own_ranks(values: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """Rank each row itself among the influences of all training rows on it: (n,).

    Copies of the row have the same rank as the row. Rows that are no training rows have NaN.

    Args:
        values: (n, m).
        places: (n,), positions of the rows among the training rows, or -1.
    """
    own = np.where(places < 0, np.nan, np.take_along_axis(values, places.clip(0)[:, None], axis=1)[:, 0])
    margin = ROUNDING * np.abs(values).max(axis=1)
    return np.where(np.isnan(own), np.nan, 1 + (values > (own + margin)[:, None]).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Cleaning:
    """A search for planted rows, from the training row that is most suspicious to the one that is least.

    Attributes:
        curves: Fraction of the planted rows that are found (m + 1 lines, indexed by the fraction of the training rows
            is checked), one column for each order: "self influence" and "loss", the largest first; "mean influence" on
            all other rows, the smallest first; and "best", the planted rows first.
    """

    curves: pd.DataFrame

    def __repr__(self) -> str:
        areas = ", ".join(f"{name} {area:.3f}" for name, area in self.areas.items())
        return f"Cleaning of {len(self.curves) - 1} training rows, areas: {areas}"

    @property
    def areas(self) -> "pd.Series[float]":
        """Area under each curve: 0.5 for a random order."""
        return pd.Series({name: np.trapezoid(curve, self.curves.index) for name, curve in self.curves.items()})

    @property
    def area(self) -> float:
        """Area under the curve of the self influence."""
        return float(self.areas["self influence"])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the curves; see ``shapae.plots.cleaning``."""
        return plots.cleaning(self.curves, ax=ax)


def mean_on_others(values: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """Average the influence of each training row over all rows but itself: (m,); 0 where there is no other row.

    Args:
        values: (n, m).
        places: (n,), see ``own_ranks``.
    """
    others = np.arange(values.shape[1]) != places[:, None]
    return np.asarray((values * others).sum(axis=0) / others.sum(axis=0).clip(1))


def clean(orders: Mapping[str, NDArray[Any]], planted: Any, names: pd.Index) -> Cleaning:
    """Search for planted rows; see ``Influence.cleaning``.

    Args:
        orders: From the name of each order to (m,) numbers, by which the training rows are checked, the smallest first.
        planted: m booleans, or names or positions of training rows.
        names: m names of the training rows.

    Raises:
        DataError: ``planted`` is neither, or names no row, or all of them.
    """
    is_planted = _as_mask(planted, names)
    if not 0 < is_planted.sum() < len(is_planted):
        raise DataError(
            f"between 1 and {len(names) - 1} of the {len(names)} training rows must be planted, got "
            f"{int(is_planted.sum())}."
        )
    keys = {**orders, "best": ~is_planted}
    found = {name: is_planted[np.argsort(key, kind="stable")].cumsum() for name, key in keys.items()}
    curves = {name: np.concatenate([[0], counts]) / is_planted.sum() for name, counts in found.items()}
    return Cleaning(pd.DataFrame(curves, pd.Index(np.linspace(0, 1, len(names) + 1), name="fraction checked")))


def _as_mask(planted: Any, names: pd.Index) -> NDArray[Any]:
    array = np.asarray(planted)
    if array.dtype == bool and array.shape == (len(names),):
        return array
    given, known = _as_names(planted, {*names}), {*names}
    unknown = [str(each) for each in given if not _is_name(each, known)]
    if unknown or not names.is_unique:
        wrong = (
            f"there are no training rows {enumerate_names(unknown, 'name')}" if unknown else "some names are repeated"
        )
        raise DataError(f"{wrong}. Give a boolean for each of the {len(names)} training rows, or names of them.")
    wanted = {*given}
    return np.array([each in wanted for each in names])


def _is_name(each: Any, known: set[Any]) -> bool:
    """Return whether there is such a name; True is not 1."""
    return isinstance(each, Hashable) and not isinstance(each, bool | np.bool_) and each in known


def _as_names(planted: Any, known: set[Any]) -> list[Any]:
    """List names; a tuple that is a name itself is one."""
    if isinstance(planted, np.ndarray | Tensor):
        planted = pd.Index(np.asarray(planted).ravel())  # numbers and dates as they are in an index
    is_name = isinstance(planted, str | bytes) or (isinstance(planted, tuple) and planted in known)
    return [planted] if is_name or not isinstance(planted, Iterable) else list(planted)


def fit_losses(self_influence: NDArray[Any], losses: NDArray[Any]) -> "pd.Series[float]":
    """Regress the self influence of the training rows on their losses: slope, intercept, R^2 and rank correlation.

    Raises:
        DataError: There are fewer than 3 training rows, or all losses are equal.
    """
    from scipy.stats import linregress, spearmanr

    if len(losses) < 3 or np.ptp(losses) == 0:
        raise DataError(f"a regression needs 3 training rows or more with different losses, got {len(losses)}.")
    line = linregress(losses, self_influence)
    rank = spearmanr(losses, self_influence).statistic
    return pd.Series({"slope": line.slope, "intercept": line.intercept, "r_squared": line.rvalue**2, "rank": rank})


def by_distance(values: NDArray[Any], distances: NDArray[Any], bins: int) -> pd.DataFrame:
    """Average influences over pairs of rows whose latents have similar distances; see ``Influence.by_distance``.

    Raises:
        DataError: ``bins`` is not between 2 and the number of pairs.
    """
    if not Integer(2, values.size).accepts(bins):
        raise DataError(f"bins must be between 2 and the {values.size} pairs of rows, got {written(bins)}.")
    pairs = pd.DataFrame({"influence": values.ravel(), "size": np.abs(values).ravel()})
    groups = pairs.groupby(
        pd.qcut(pd.Series(distances.ravel(), name="distance"), bins, duplicates="drop"), observed=True
    )
    return pd.DataFrame({
        "pairs": groups.size(),
        "mean influence": groups["influence"].mean(),
        "mean |influence|": groups["size"].mean(),
    })


def by_label(values: NDArray[Any], labels: NDArray[Any], train_labels: NDArray[Any], k: int) -> pd.DataFrame:
    """Compare training rows of the same label with others; see ``Influence.by_label``."""
    same = labels[:, None] == train_labels
    best = np.argsort(-values, axis=1, kind="stable")[:, :k]
    lines = {}
    for label in pd.unique(labels):
        rows = labels == label
        inside, counts = same[rows], rows.sum()
        lines[label] = {
            "rows": counts,
            "same label": values[rows][inside].mean() if inside.any() else np.nan,
            "other labels": values[rows][~inside].mean() if not inside.all() else np.nan,
            "same among proponents": np.take_along_axis(inside, best[rows], axis=1).mean(),
            "same among all": inside.mean(),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("label")


def check_labels(labels: Sequence[Any], count: int, noun: str) -> NDArray[Any]:
    """Check that there is one label for each row.

    Raises:
        DataError: There is not, or some are missing.
    """
    array = np.asarray(labels, dtype=object)
    if array.shape != (count,) or pd.isna(array).any():
        raise DataError(f"there must be one label for each of the {count} {noun}, and none missing, got {array.shape}.")
    return array
