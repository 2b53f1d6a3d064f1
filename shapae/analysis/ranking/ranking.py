"""Global ranking of the features: read the tables, measure with every method, warn of underestimates."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.analysis.ranking import methods as importances
from shapae.analysis.ranking.methods import permutation
from shapae.analysis.ranking.result import SIGNIFICANCE, GlobalRanking
from shapae.analysis.ranking.task import Fit, RankingTask
from shapae.errors import DataError, ModelError, RankingWarning, ShapaeError, UnknownName
from shapae.heads import ReconstructionError
from shapae.heads.checks import check_finite_scores, check_fitted_names, check_score
from shapae.heads.nonfinite import first_in_rows
from shapae.heads.score import Score, make_score
from shapae.models.adapters import as_autoencoder
from shapae.models.autoencoder import Autoencoder
from shapae.tables.background import read_background
from shapae.tables.background import sample as draw
from shapae.tables.columns import numbered_features
from shapae.tables.groups import correlated_clusters
from shapae.tables.players import players
from shapae.tables.table import Table, check_n_features, read_table, resolve_feature_names
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.context import inference_state
from shapae.utils.memory import batched
from shapae.utils.text import enumerate_names

# Number of rows drawn as the background if none is given: the default of the command line, too.
BACKGROUND_ROWS = 100
# Minimum number of rows for a search of correlated features: with fewer, many pairs would correlate by chance.
MIN_ROWS = 30


def rank_features(
    model: nn.Module | Autoencoder,
    X: Any,
    *,
    background: Any = None,
    methods: Sequence[str] | None = None,
    fit: Fit | None = None,
    folder: Path | str | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    repeats: int = 5,
    sample: int | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> GlobalRanking:
    """Rank the features of an autoencoder by their importance over all rows, with several methods.

    Args:
        model: Trained model; left as it was.
        X: (n, d). Rows, preferably held out from training: training rows are reconstructed too well.
        background: (b, d). Rows whose values replace features; None for 100 rows drawn from ``X``.
        methods: Names in ``shapae.importances.names()``, or one quantity of a method, as "weights:gedeon"; None for
            all methods that apply to this model, and "retraining" if ``fit`` is given.
        fit: ``(model, rows) -> model`` trains the given copy of the model and returns it. It calls ``model(rows)``,
            with rows (m, d) as the model takes them; a few epochs suffice. See ``importances.retraining``.
        folder: Folder in which retraining caches the result of each feature. A later call with the same rows, model,
            groups, repeats and seed reads them. Use another folder for another ``fit``.
        groups: From names to features that are replaced together; each feature is in one group at most.
        repeats: Number of repetitions of each random step: shuffles, background rows per row, trainings.
        sample: Number of rows drawn from ``X``; None for all.
        seed: Random seed.
        n_jobs: Number of workers, as in joblib.
        progress: Whether progress bars are shown; None for bars in a terminal or a notebook only.

    Returns:
        One line for each group, and for each feature in no group. A ``RankingWarning`` is issued if permutation
        importance underestimates correlated features, and for each method that was asked for and fails: the others are
        kept, and ``left_out`` has the reason.

    Raises:
        DataError: A table has other than finite numbers, or ``groups``, ``repeats`` or ``sample`` is invalid.
        ModelError: The model is random in eval mode, mixes rows or returns NaN; or no method works, or the only one
            in ``methods`` does not apply to the model.
        UnknownName: There is no such method, or it has no such quantity.

    >>> import torch, shapae
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU(), torch.nn.Linear(2, 4))
    >>> ranking = shapae.rank_features(model, torch.randn(20, 4), methods=["permutation", "weights:gedeon"])
    >>> list(ranking.table)
    ['permutation:error', 'permutation:reconstruction', 'weights:gedeon']
    """
    check_arguments(repeats=repeats, seed=seed)
    check_optional(
        n_jobs=n_jobs, progress=progress, sample=sample, groups=groups, fit=fit, folder=folder, methods=methods
    )
    start, requested = time.perf_counter(), _requested_quantities(methods, fit)
    inputs = _read_inputs(model, X, background, sample, seed)
    if "retraining" in requested and fit is None:
        raise ModelError("retraining needs fit=, a function (model, rows) -> model that trains the model on the rows.")
    ranked = players(groups or {}, inputs.names, disjoint=True)
    task = RankingTask(
        *(inputs.autoencoder, inputs.rows, inputs.background, ranked.positions),
        repeats=repeats,
        seed=seed,
        n_jobs=n_jobs,
        progress=progress,
        fit=fit,
        folder=None if folder is None else Path(folder),
    )
    with inference_state(task.autoencoder, task.rows):
        score = _check_scores(task, inputs.names)
        check = partial(_check_measures, task, score, ranked.names)
        columns, left_out = _measure_all(task, requested, check, required=methods is not None)
        raw, errors = (_frame(columns, ranked.names, statistic) for statistic in (0, 1))
        clusters = [] if groups or len(task.rows) < MIN_ROWS else correlated_clusters(task.rows.cpu().numpy())
        members = _cluster_members(clusters, inputs.names)
        together = _joint_permutation(task, clusters, members) if clusters and "permutation" in requested else None
    _warn_of_underestimates(together)
    made_by: dict[str, Any] = {"rows": len(task.rows), "b": len(task.background), "repeats": repeats, "seed": seed}
    made_by["seconds"] = round(time.perf_counter() - start, 3)
    return GlobalRanking(raw, errors, members, together, left_out, made_by)


def _requested_quantities(methods: Sequence[str] | None, fit: Fit | None) -> dict[str, list[str]]:
    """List the quantities to be measured by each method.

    Raises:
        DataError: ``methods`` is empty.
        UnknownName: There is no such method, or it has no such quantity.
    """
    if methods is None:
        methods = [name for name in importances.names() if name != "retraining" or fit is not None]
    if len(methods) == 0:
        raise DataError(f"methods must be some of {importances.names()}, got {methods!r}. Pass methods=None for all.")
    requested: dict[str, list[str]] = {}
    for each in [methods] if isinstance(methods, str) else methods:
        name, _, quantity = each.partition(":")
        method = importances.named(name)
        if quantity and quantity not in method.QUANTITIES:
            raise UnknownName(f"quantity of {name}", quantity, list(method.QUANTITIES))
        listed = requested.setdefault(name, [])
        listed += [each for each in ([quantity] if quantity else method.DEFAULT) if each not in listed]
    return requested


@dataclass(frozen=True, eq=False)
class _Inputs:
    """Model and tables in one dtype on one device, and the names of the features."""

    autoencoder: Autoencoder
    rows: Tensor
    background: Tensor
    names: list[str]


def _read_inputs(model: nn.Module | Autoencoder, X: Any, background: Any, sample: int | None, seed: int) -> _Inputs:
    autoencoder, table = as_autoencoder(model), read_table(X, "rows")
    check_fitted_names(autoencoder, table, "rows")
    reference = _sample(table, BACKGROUND_ROWS, seed) if background is None else _read_unweighted(background)
    names = resolve_feature_names(reference, table.names, "background")
    check_n_features(reference, table.shape[1], "background")
    used = table if sample is None else _sample(table, sample, seed)
    if len(used) < 2:
        raise DataError(
            f"{len(used)} row is too few for a ranking. rank_features takes 2 rows or more. Pass a longer table as X, "
            f"and sample=None for all of its rows."
        )
    names = names or numbered_features(table.shape[1])
    score = make_score(autoencoder, ReconstructionError(), names, used.trial_rows())
    with torch.inference_mode(False):
        rows = used.tensor(score.original, "rows")
        return _Inputs(score.autoencoder, rows, reference.tensor(rows, "background"), names)


def _sample(table: Table, count: int, seed: int) -> Table:
    """Draw a sample of ``count`` rows in their order, or of all rows if there are fewer."""
    return draw(table, min(count, len(table)), seed=seed).rows


def _read_unweighted(background: Any) -> Table:
    read = read_background(background)
    if read.weights is not None:
        raise DataError(
            f"the background has weights for its {len(read)} rows. The methods of rank_features take a background "
            f"without weights. Pass background=shapae.background.sample(X, 100)."
        )
    return read.rows


def _check_scores(task: RankingTask, names: Sequence[str]) -> Score:
    """Check that each row has a finite reconstruction error of its own, and return this score."""
    score = Score(task.autoencoder, ReconstructionError(), names, task.rows[[0, -1]])
    check_score(score, task.rows[:64])
    for kind, rows in {"rows": task.rows, "background rows": task.background}.items():
        check_finite_scores(score, rows, batched(score, rows, task.batch_size), kind)
    return score


def _check_measures(
    task: RankingTask, score: Score, names: Sequence[str], method: str, measures: NDArray[Any]
) -> NDArray[Any]:
    """Check that the importances (p, q, 2) of a method are finite; a standard error may be unknown, and is NaN then.

    Raises:
        ModelError: Some are NaN or infinite.
    """
    bad = ~np.isfinite(measures[..., 0]) | np.isinf(measures[..., 1])
    if bad.any():
        at = np.flatnonzero(bad.any(axis=1)).tolist()
        baselines = torch.stack([task.background_mean, torch.zeros_like(task.background_mean)])
        others = torch.cat([baselines, task.background, task.rows])
        raise ModelError(
            f"the method {method!r} gives NaN or infinite importances of "
            f"{enumerate_names([names[each] for each in at], 'feature')}, although all rows have finite errors. "
            f"{first_in_rows(score, task.rows, others, task.player_of_feature)}"
        )
    return measures


def _measure_all(
    task: RankingTask,
    requested: Mapping[str, Sequence[str]],
    check: Callable[[str, NDArray[Any]], NDArray[Any]],
    *,
    required: bool,
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Measure all requested quantities.

    Args:
        task: Data and settings.
        requested: From methods to quantities.
        check: Check of the name of a method and its measures.
        required: Whether the methods were asked for by name, so that a failure is worth a warning.

    Returns:
        Columns (p, 2) of importances and their standard errors; and the methods left out, with the reasons.

    Raises:
        ModelError: No method works. The error of the only method is raised as it is.
    """
    columns, left_out = dict[str, NDArray[Any]](), dict[str, str]()
    for name, quantities in requested.items():
        try:
            measures = check(name, importances.named(name).measure(task, quantities))
        except Exception as error:  # of any kind: the other methods are kept
            if len(requested) == 1:
                raise
            left_out[name] = str(error) if isinstance(error, ShapaeError) else f"{type(error).__name__}: {error}"
            if required or name == "retraining" or not isinstance(error, ModelError):
                _warn_of_failure(name, left_out[name])
            continue
        labels = [f"{name}:{quantity}" if quantity else name for quantity in quantities]
        columns.update(zip(labels, measures.swapaxes(0, 1), strict=True))
    if not columns:
        reasons = " ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ModelError(f"none of the methods {[*left_out]} works. {reasons}")
    return columns, left_out


def _warn_of_failure(name: str, reason: str) -> None:
    warnings.warn(
        f"the method {name!r} is left out of the ranking, as it fails: {reason}", RankingWarning, stacklevel=4
    )


def _frame(columns: Mapping[str, NDArray[Any]], names: Sequence[str], statistic: int) -> pd.DataFrame:
    """Tabulate the importances (statistic 0) or their standard errors (statistic 1)."""
    selected = {label: measures[:, statistic] for label, measures in columns.items()}
    return pd.DataFrame(selected, pd.Index(names, name="feature"))


def _cluster_members(clusters: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, list[str]]:
    """Map the name of each cluster to the names of its features."""
    return {f"{names[each[0]]} and {len(each) - 1} more": [names[j] for j in each] for each in clusters}


def _joint_permutation(task: RankingTask, clusters: Sequence[Sequence[int]], names: Iterable[str]) -> pd.DataFrame:
    """Tabulate the importances of clusters permuted one feature at a time and jointly."""
    measures = permutation.joint_vs_separate(replace(task, players=tuple(map(tuple, clusters))))
    columns = [f"{kind}{error}" for kind in ("alone", "together", "difference") for error in ("", "_error")]
    return pd.DataFrame(measures.reshape(len(clusters), 6), pd.Index(list(names), name="cluster"), columns)


def _warn_of_underestimates(together: pd.DataFrame | None) -> None:
    if together is None:
        return
    underestimated = together[together["difference"] > SIGNIFICANCE * together["difference_error"]]
    if len(underestimated):
        worst = underestimated.sort_values("difference", ascending=False).iloc[0]
        warnings.warn(
            f"permutation importance underestimates correlated features in {len(underestimated)} of {len(together)} "
            f"clusters. For the cluster {worst.name!r}, permuting the features one at a time raises the error by "
            f"{worst['alone']:.3g} in total; permuting them jointly raises it by {worst['together']:.3g}. See "
            f"ranking.together for all clusters. Pass groups=ranking.clusters to rank each cluster as one feature.",
            RankingWarning,
            stacklevel=3,
        )
