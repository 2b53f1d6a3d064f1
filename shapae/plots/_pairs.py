"""Shared parts of the plots of pairs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from shapae.errors import DataError
from shapae.explainer.interactions import Interactions
from shapae.plots._figure import escape
from shapae.plots._results import remedy
from shapae.utils.constraints import check_argument
from shapae.utils.kinds import Integer


@dataclass(frozen=True, eq=False)
class ShownPairs:
    """Interactions of m features, strongly interacting features side by side.

    Attributes:
        names: m names, escaped.
        mean: (m, m), mean over the rows: main effects on the diagonal, whole interactions beside it.
        size: (m, m), mean of the absolute numbers.
    """

    names: list[str]
    mean: NDArray[Any]
    size: NDArray[Any]

    @classmethod
    def of(cls, interactions: Interactions, row: int | None, most: int) -> "ShownPairs":
        """Take one row, or the mean of all, and the ``most`` features with the largest interactions.

        Raises:
            DataError: There is no such row, or ``most`` is less than two.
        """
        if not isinstance(interactions, Interactions):
            raise DataError(f"this plot takes Interactions, got {type(interactions).__name__}. {remedy(interactions)}")
        n, m = interactions.data.shape
        if row is not None:
            check_argument("row", row, Integer(-n, n - 1), ", or None")
        check_argument("max_display", most, Integer(2))
        parts = (interactions.values if row is None else interactions.values[[row]]) * (2 - np.eye(m))
        size = np.abs(parts).mean(axis=0)
        strength = size * (1 - np.eye(m))
        largest = np.argsort(-strength.sum(axis=0), kind="stable")[:most]
        order = largest[_side_by_side(strength[np.ix_(largest, largest)])]
        names = [escape(interactions.feature_names[feature]) for feature in order]
        return cls(names, parts.mean(axis=0)[np.ix_(order, order)], size[np.ix_(order, order)])


def _side_by_side(strength: NDArray[Any]) -> NDArray[Any]:
    """Order m features so that those with large interactions are neighbours: (m,)."""
    distance = (strength.max() - strength) * (1 - np.eye(len(strength)))
    return np.asarray(leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True)))
