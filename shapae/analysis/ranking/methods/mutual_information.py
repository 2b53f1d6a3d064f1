"""What a feature and the latents say about each other."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import mutual_info_regression

from shapae.analysis.ranking.task import Player, RankingTask, map_players

QUANTITIES = DEFAULT = ("",)
# Each pair of a feature and a latent takes milliseconds.
LATENTS = 20
# scikit-learn estimates from so many neighbours.
NEIGHBOURS = 3


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """Mutual information between the feature and each latent, in nats, summed over the latents that vary most.

    These are 20 at most. What the latents have in common is counted several times. The model is asked for its latents
    only, so that a feature counts which it does not use, if it goes with others that it does. Of the features of one
    player the one counts that knows most about a latent: so much they know at least together. The estimates are never
    negative, and those of independent columns a bit above 0.

    The standard errors are those of estimates from ``repeats`` separate parts of the rows; NaN where these would have 4
    rows or fewer.

    Raises:
        ModelError: It is not known how the model encodes.

    Reference:
        Kraskov, Stoegbauer and Grassberger, 2004, https://arxiv.org/abs/cond-mat/0305641; for the standard errors
        Holmes and Nemenman, 2019, https://arxiv.org/abs/1903.09280
    """
    latents = case.latents.double().cpu().numpy()
    varied = np.argsort(-latents.var(axis=0), kind="stable")[:LATENTS]
    kept = latents[:, varied][:, latents[:, varied].var(axis=0) > 0]
    return map_players(case, partial(_of_player, latents=kept), "mutual_information")


def _of_player(case: RankingTask, player: Player, *, latents: NDArray[Any]) -> NDArray[Any]:
    columns = case.rows[:, list(player)].double().cpu().numpy()
    order = np.random.default_rng(case.seed).permutation(len(columns))
    parts = np.array_split(order, case.repeats)
    error = np.nan
    if len(parts) > 1 and min(map(len, parts)) > NEIGHBOURS + 1:
        found = [_summed(columns[part], latents[part], case.seed) for part in parts]
        error = np.std(found, ddof=1) / np.sqrt(len(parts))
    return np.array([[_summed(columns, latents, case.seed), error]])


def _summed(columns: NDArray[Any], latents: NDArray[Any], seed: int) -> float:
    """Summed over the latents, of the best of ``columns`` for each; constant ones say nothing."""
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    if not columns.size or len(columns) <= NEIGHBOURS:
        return 0.0
    settings = {"n_neighbors": NEIGHBOURS, "random_state": seed}
    return float(sum(mutual_info_regression(columns, latent, **settings).max() for latent in latents.T))
