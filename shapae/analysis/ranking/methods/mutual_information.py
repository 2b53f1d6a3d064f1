"""Mutual information between a feature and the latents."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import mutual_info_regression

from shapae.analysis.ranking.task import Player, RankingTask, map_players

QUANTITIES = DEFAULT = ("",)
# Maximum number of latents, those of largest variance: each pair of a feature and a latent takes milliseconds.
MAX_LATENTS = 20
# Number of nearest neighbours in the estimate: scikit-learn's default.
NEIGHBOURS = 3


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Measure the mutual information between the feature and each latent, in nats, summed over the latents.

    Only the 20 latents of largest variance are used. Information shared by several latents is counted repeatedly. The
    model is only run to encode, so a feature that it does not use has mutual information if it correlates with used
    features. For each latent, a player counts as its best feature: a lower bound of the joint information. The
    estimates are never negative, and slightly above 0 for independent columns.

    The standard errors are estimated from ``repeats`` disjoint parts of the rows; NaN if a part has 4 rows or fewer.

    Raises:
        ModelError: The model has no known encoder.

    Reference:
        Kraskov, Stoegbauer and Grassberger, 2004, https://arxiv.org/abs/cond-mat/0305641; for the standard errors
        Holmes and Nemenman, 2019, https://arxiv.org/abs/1903.09280
    """
    latents = task.latents.double().cpu().numpy()
    order = np.argsort(-latents.var(axis=0), kind="stable")[:MAX_LATENTS]
    varying = latents[:, order][:, latents[:, order].var(axis=0) > 0]
    return map_players(task, partial(_estimate_with_error, latents=varying), "mutual_information")


def _estimate_with_error(task: RankingTask, player: Player, *, latents: NDArray[Any]) -> NDArray[Any]:
    columns = task.rows[:, list(player)].double().cpu().numpy()
    order = np.random.default_rng(task.seed).permutation(len(columns))
    parts = np.array_split(order, task.repeats)
    error = np.nan
    if len(parts) > 1 and min(map(len, parts)) > NEIGHBOURS + 1:
        estimates = [_estimate(columns[part], latents[part], task.seed) for part in parts]
        error = np.std(estimates, ddof=1) / np.sqrt(len(parts))
    return np.array([[_estimate(columns, latents, task.seed), error]])


def _estimate(columns: NDArray[Any], latents: NDArray[Any], seed: int) -> float:
    """Sum the mutual information of the best column over the latents; constant columns have none."""
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    if not columns.size or len(columns) <= NEIGHBOURS:
        return 0.0
    settings = {"n_neighbors": NEIGHBOURS, "random_state": seed}
    return float(sum(mutual_info_regression(columns, latent, **settings).max() for latent in latents.T))
