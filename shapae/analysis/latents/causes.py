"""The relation of latent units to known causes: covariates of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.analysis.latents.covariates import Covariate
from shapae.utils.random import generator

# Number of parts of the rows, each of which is predicted from the others; and minimum number of rows for that.
FOLDS, MIN_ROWS = 5, 10
# Penalties of ridge regression per row, one of which is chosen within each part: from none, in effect, to all.
PENALTIES = np.logspace(-8, 3, 12)
# Number of rows from which mutual information is estimated, drawn if there are more; and its nearest neighbours.
MAX_ROWS, NEIGHBOURS = 5000, 3
NO_UNITS, CONSTANT, SINGLE = "no unit is active", "the covariate is constant", "no two rows are in one group"
TOO_FEW = f"fewer than {MIN_ROWS} rows have a value"


@dataclass(frozen=True, eq=False)
class Causes:
    """Relations of m latent units to c covariates.

    Every R^2 is out of sample: 1 - sum of squared errors / sum of squared deviations, where each fifth of the rows is
    predicted by a ridge regression on the other rows, and deviations are from the mean of the other rows. So R^2 is
    about 0 for a covariate that has nothing to do with the latents, or slightly negative. The R^2 of groups is that of
    their indicators, sums over all groups.

    Attributes:
        table: One line per covariate: ``kind`` ("numbers" or "groups"), ``rows`` with a value, ``missing`` rows, which
            are left out, ``r2`` of the covariate from all active units together, and ``note``, the reason of a missing
            R^2.
        units: Lines (unit, covariate) for the active units: ``r2`` of the unit from the covariate, and
            ``mutual_information`` in nats.
        explained: Series over the active units: R^2 of the unit from all covariates together.
        groups: Lines (covariate, group, unit) for all units: ``rows``, ``mean`` and ``mean_error``, its standard error
            over the rows; with a latent distribution also ``pooled_mean``, the average of the means weighted by the
            inverses of their variances, and its error.

    Reference:
        For the weighted averages Lu, Kim and Soljacic, 2020, https://doi.org/10.1103/PhysRevX.10.031056. For mutual
        information Kraskov, Stoegbauer and Grassberger, 2004, https://arxiv.org/abs/cond-mat/0305641, and Ross, 2014,
        https://doi.org/10.1371/journal.pone.0087357.
    """

    table: pd.DataFrame
    units: pd.DataFrame
    explained: "pd.Series[float]"
    groups: pd.DataFrame


def relate(
    latents: pd.DataFrame,
    log_variances: NDArray[Any] | None,
    covariates: Sequence[Covariate],
    *,
    active: Sequence[str],
    seed: int,
) -> Causes:
    """Relate latents to covariates.

    Args:
        latents: n rows, m columns with names of units.
        log_variances: (n, m), or None.
        covariates: Covariates of the n rows.
        active: Names of the active units.
        seed: Random seed.
    """
    used = latents[list(active)].to_numpy(np.float64)
    table = pd.DataFrame(
        [_describe(each, used, seed) for each in covariates],
        pd.Index([each.name for each in covariates], name="covariate"),
        ["kind", "rows", "missing", "r2", "note"],
    )
    links = {
        each.name: pd.DataFrame(
            {"r2": _of_units(used, [each], seed), "mutual_information": mutual_information(used, each, seed)},
            pd.Index(active, name="unit"),
        )
        for each in covariates
    }
    units = pd.concat(links, names=["covariate"]).swaplevel()
    order = pd.MultiIndex.from_product([active, list(links)], names=["unit", "covariate"])
    explained = pd.Series(_of_units(used, covariates, seed), pd.Index(active, name="unit"), name="r2")
    return Causes(table, units.reindex(order), explained, _group_means(latents, log_variances, covariates))


def _describe(covariate: Covariate, latents: NDArray[Any], seed: int) -> dict[str, Any]:
    rows = int(covariate.known.sum())
    note = _obstacle(covariate) or ("" if latents.shape[1] else NO_UNITS)
    chosen = np.flatnonzero(covariate.known)
    r2 = np.nan if note else cross_validated_r2(latents[chosen], covariate.columns(chosen), seed, pooled=True)[0]
    kind = "numbers" if covariate.groups is None else "groups"
    return {"kind": kind, "rows": rows, "missing": len(covariate.values) - rows, "r2": r2, "note": note}


def _obstacle(covariate: Covariate) -> str:
    """Return the reason why a covariate is related to nothing; empty if there is none."""
    if covariate.known.sum() < MIN_ROWS:
        return TOO_FEW
    if covariate.groups is not None and len(covariate.groups) == covariate.known.sum():
        return SINGLE
    return "" if covariate.varies else CONSTANT


def _of_units(latents: NDArray[Any], covariates: Sequence[Covariate], seed: int) -> NDArray[Any]:
    """Compute R^2 of each unit, (a,), from all covariates that vary, over rows with all values; NaN without any."""
    varying = [each for each in covariates if not _obstacle(each)]
    rows = np.flatnonzero(np.all([each.known for each in varying], axis=0)) if varying else np.empty(0, int)
    if len(rows) < MIN_ROWS or not latents.shape[1]:
        return np.full(latents.shape[1], np.nan)
    return cross_validated_r2(np.hstack([each.columns(rows) for each in varying]), latents[rows], seed)


def cross_validated_r2(inputs: NDArray[Any], targets: NDArray[Any], seed: int, *, pooled: bool = False) -> NDArray[Any]:
    """Compute R^2 out of sample, by ridge regression.

    Args:
        inputs: (r, p), r >= ``MIN_ROWS``.
        targets: (r, q).
        seed: Random seed of the parts.
        pooled: Whether the squares are summed over all targets.

    Returns:
        (q,), or (1,) if pooled; NaN for constant targets.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold

    errors, deviations = np.zeros(targets.shape[1]), np.zeros(targets.shape[1])
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(inputs):
        scale = inputs[train].std(axis=0)
        standard = (inputs - inputs[train].mean(axis=0)) / np.where(scale > 0, scale, 1)
        center = targets[train].mean(axis=0)
        model = RidgeCV(len(train) * PENALTIES, alpha_per_target=not pooled).fit(
            standard[train], targets[train] - center
        )
        predicted = np.reshape(model.predict(standard[test]), (len(test), -1))
        errors += np.square(targets[test] - center - predicted).sum(axis=0)
        deviations += np.square(targets[test] - center).sum(axis=0)
    if pooled:
        errors, deviations = errors.sum(keepdims=True), deviations.sum(keepdims=True)
    return np.asarray(1 - errors / np.where(deviations > 0, deviations, np.nan))


def mutual_information(latents: NDArray[Any], covariate: Covariate, seed: int) -> NDArray[Any]:
    """Estimate the mutual information of each unit and a covariate in nats, (a,); NaN if it can't be related.

    Args:
        latents: (n, a).
        covariate: Of n rows.
        seed: Random seed, of the rows that are drawn and of the noise that breaks ties.
    """
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    if _obstacle(covariate) or not latents.shape[1]:
        return np.full(latents.shape[1], np.nan)
    rows = np.flatnonzero(covariate.known)
    if len(rows) > MAX_ROWS:
        rows = np.sort(generator(seed).choice(rows, MAX_ROWS, replace=False))
    if covariate.groups is not None and len(np.unique(covariate.values[rows])) == len(rows):
        return np.full(latents.shape[1], np.nan)
    estimate = mutual_info_regression if covariate.groups is None else mutual_info_classif
    settings = {"discrete_features": False, "n_neighbors": NEIGHBOURS, "random_state": seed}
    return np.asarray(estimate(latents[rows], covariate.standard[rows], **settings))


def _group_means(
    latents: pd.DataFrame, log_variances: NDArray[Any] | None, covariates: Sequence[Covariate]
) -> pd.DataFrame:
    columns = ["rows", "mean", "mean_error"] + ([] if log_variances is None else ["pooled_mean", "pooled_error"])
    units = pd.Index(latents.columns, name="unit")
    means, numbers = {}, latents.to_numpy(np.float64)
    for each in covariates:
        for place, group in enumerate(each.groups or []):
            chosen = each.values == place
            variances = None if log_variances is None else np.exp(log_variances[chosen].astype(np.float64))
            means[each.name, group] = pd.DataFrame(_average(numbers[chosen], variances), units)
    if not means:
        index = pd.MultiIndex.from_arrays([[]] * 3, names=["covariate", "group", "unit"])
        return pd.DataFrame(np.empty((0, len(columns))), index, columns)
    return pd.concat(means, names=["covariate", "group"])


def _average(means: NDArray[Any], variances: NDArray[Any] | None) -> dict[str, Any]:
    """Average latents (r, m) over the rows of a group, r >= 1, also with weights 1 / ``variances`` (r, m)."""
    rows = len(means)
    error = means.std(axis=0, ddof=1) / rows**0.5 if rows > 1 else np.full(means.shape[1], np.nan)
    plain = {"rows": rows, "mean": means.mean(axis=0), "mean_error": error}
    if variances is None:
        return plain
    weight = (1 / variances).sum(axis=0)
    return plain | {"pooled_mean": (means / variances).sum(axis=0) / weight, "pooled_error": weight**-0.5}
