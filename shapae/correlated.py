"""Features that say the same: duplicates, and what is nearly one."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shapae.utils.memory import cut
from shapae.utils.moments import Array

# Bytes of the correlations that are computed at once.
AT_ONCE = 2**26


def correlated(rows: Array, least: float = 0.9) -> list[list[int]]:
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
    pairs = [_pairs(unit, part, least) for part in cut(d, max(1, AT_ONCE // (8 * d)))]
    first, second = np.concatenate(pairs, axis=1)
    _, cluster = connected_components(coo_array((np.ones(len(first)), (first, second)), (d, d)), directed=False)
    found: dict[int, list[int]] = {}
    for feature, place in enumerate(cluster):
        found.setdefault(int(place), []).append(feature)
    return [features for features in found.values() if len(features) > 1]


def _pairs(unit: Array, part: slice, least: float) -> Array:
    """(2, ...): pairs of features whose first one is in ``part``."""
    first, second = np.nonzero(np.abs(unit[:, part].T @ unit) >= least)
    return np.stack([first + part.start, second])
