"""Features ranked: the tables are read, every method measures, and where one underrates there is a warning."""

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.analysis.ranking import methods as importances
from shapae.analysis.ranking.methods import permutation
from shapae.analysis.ranking.result import SURE, GlobalRanking
from shapae.analysis.ranking.task import Fit, RankingTask
from shapae.errors import DataError, ModelError, RankingWarning, UnknownName
from shapae.heads import ReconstructionError
from shapae.heads.checks import check_finite_scores, check_score
from shapae.heads.score import Score
from shapae.models.autoencoder import Autoencoder, as_autoencoder
from shapae.models.unwrapping import full_precision, template_tensor
from shapae.tables.background import read_background
from shapae.tables.background import sample as draw
from shapae.tables.groups import correlated_clusters
from shapae.tables.players import players
from shapae.tables.table import Table, check_n_features, read_table, resolve_feature_names
from shapae.utils.context import eval_mode, preserve_rng

# So many rows are the background where there is none.
BACKGROUND = 100
# From fewer rows many pairs of features would correlate by chance.
ENOUGH = 30


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
    """How much each feature matters to an autoencoder over all rows, by several methods.

    Args:
        model: Trained; it comes back as it was.
        X: (n, d), rows that the model was not trained on, if there are any: those that it was are rebuilt too well.
        background: (b, d), what features are replaced from, where a method needs that; None for 100 rows drawn of
            ``X``.
        methods: Of ``shapae.importances.names()``, or one quantity that a method measures, as "weights:gedeon"; None
            for all that this model allows, and "retraining" if there is a ``fit``.
        fit: ``(model, rows) -> model`` trains the model that it is handed, a copy, and returns it. It calls it as
            ``model(rows)``, with rows (m, d) as the model takes them; a few epochs do. See ``importances.retraining``.
        folder: Retraining keeps the result of each feature here, whole, and takes from here what an earlier call has
            left, with the same rows, model, groups, repeats and seed. Give another one to another ``fit``.
        groups: From names to features, each in one group at most, which are replaced together.
        repeats: How often what is random is done: shuffles, background rows of each row, trainings.
        sample: So many of the rows are used, drawn by the seed; None for all.
        seed: Of all that is drawn.
        n_jobs: Number of workers, as in joblib.
        progress: True or False: show a bar for what is done feature by feature; None for one where somebody can see it.

    Returns:
        One line for each group, and each feature that is in none. Where permutation underrates features that
        correlate with others there is a ``RankingWarning``.

    Raises:
        DataError: A table is not one of finite numbers, or ``groups``, ``repeats`` or ``sample`` are not as described.
        ModelError: The model is random in eval mode, mixes rows or returns NaN; or it does not allow a method that was
            asked for.
        UnknownName: There is no such method, or it does not measure such a thing.

    >>> import torch, shapae
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU(), torch.nn.Linear(2, 4))
    >>> ranking = shapae.rank_features(model, torch.randn(20, 4), methods=["permutation", "weights:gedeon"])
    >>> list(ranking.table)
    ['permutation:error', 'permutation:reconstruction', 'weights:gedeon']
    """
    start, wanted = time.perf_counter(), _wanted(methods, fit)
    tables = _read(model, X, background, sample, seed)
    among = players(groups or {}, tables.names, disjoint=True)
    case = RankingTask(
        *(tables.autoencoder, tables.rows, tables.background, among.positions),
        repeats=_positive(repeats, "repeats"),
        seed=seed,
        n_jobs=n_jobs,
        progress=progress,
        fit=fit,
        folder=None if folder is None else Path(folder),
    )
    with _at_work(case, tables.names):
        found, left_out = _measured(case, wanted, asked=methods is not None)
        raw, errors = (_frame(found, among.names, which) for which in (0, 1))
        alike = [] if groups or len(case.rows) < ENOUGH else correlated_clusters(case.rows.cpu().numpy())
        clusters = _called(alike, tables.names)
        together = _together(case, alike, clusters) if alike and "permutation" in wanted else None
    _warn_of_underrated(together)
    made_by: dict[str, Any] = {"rows": len(case.rows), "b": len(case.background), "repeats": repeats, "seed": seed}
    made_by["seconds"] = round(time.perf_counter() - start, 3)
    return GlobalRanking(raw, errors, clusters, together, left_out, made_by)


def _wanted(methods: Sequence[str] | None, fit: Fit | None) -> dict[str, list[str]]:
    """The columns that are wanted of each method.

    Raises:
        DataError: None are.
        UnknownName: There is no such method, or it does not measure such a thing.
    """
    if methods is None:
        methods = [name for name in importances.names() if name != "retraining" or fit is not None]
    if not methods:
        raise DataError(f"methods must be some of {importances.names()}, or None for all, got {methods!r}.")
    wanted: dict[str, list[str]] = {}
    for each in [methods] if isinstance(methods, str) else methods:
        name, _, column = each.partition(":")
        method = importances.named(name)
        if column and column not in method.QUANTITIES:
            raise UnknownName(f"quantity of {name}", column, list(method.QUANTITIES))
        chosen = wanted.setdefault(name, [])
        chosen += [column for column in ([column] if column else method.DEFAULT) if column not in chosen]
    return wanted


@dataclass(frozen=True, eq=False)
class _Tables:
    """What came in, as the model takes it, and the names of the features."""

    autoencoder: Autoencoder
    rows: Tensor
    background: Tensor
    names: list[str]


def _read(model: nn.Module | Autoencoder, X: Any, background: Any, sample: int | None, seed: int) -> _Tables:
    autoencoder, table = full_precision(as_autoencoder(model)), read_table(X, "rows")
    compared = _drawn(table, BACKGROUND, seed) if background is None else _unweighted(background)
    names = resolve_feature_names(compared, table.names, "background")
    check_n_features(compared, table.shape[1], "background")
    some = table if sample is None else _drawn(table, _positive(sample, "sample"), seed)
    if len(some) < 2:
        raise DataError("one row can't be ranked by; give two rows or more.")
    rows = some.tensor(template_tensor(autoencoder, torch.from_numpy(table.dense(slice(1)))), "rows")
    names = names or [f"feature {feature}" for feature in range(rows.shape[1])]
    return _Tables(autoencoder, rows, compared.tensor(rows, "background"), names)


def _drawn(rows: Table, count: int, seed: int) -> Table:
    """So many of the rows, in their order; all of them, if there are fewer."""
    return draw(rows, min(count, len(rows)), seed=seed).rows


def _unweighted(background: Any) -> Table:
    given = read_background(background)
    if given.weights is not None:
        raise DataError(
            "the methods of rank_features know no weights; give a background without, shapae.background.sample(X, 100)."
        )
    return given.rows


def _positive(number: int, name: str) -> int:
    if number < 1:
        raise DataError(f"{name} must be at least 1, got {number!r}.")
    return number


@contextmanager
def _at_work(case: RankingTask, names: Sequence[str]) -> Iterator[None]:
    """The model is in eval mode; it was seen to give each row finite scores of its own."""
    with eval_mode(case.autoencoder), preserve_rng(case.rows), torch.inference_mode(False), torch.no_grad():
        score = Score(case.autoencoder, ReconstructionError(), names, case.rows[[0, -1]])
        check_score(score, case.rows[:64])
        for what, rows in {"rows": case.rows, "background rows": case.background}.items():
            scores = torch.cat([score(part) for part in torch.split(rows, case.batch_size)])
            check_finite_scores(score, rows, scores, what)
        yield


def _measured(
    case: RankingTask, wanted: Mapping[str, Sequence[str]], *, asked: bool
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Columns (p, 2) of importances and their standard errors; and the methods that the model does not allow.

    Raises:
        ModelError: They were ``asked`` for.
    """
    found, left_out = dict[str, NDArray[Any]](), dict[str, str]()
    for name, columns in wanted.items():
        try:
            measures = importances.named(name).measure(case, columns)
        except ModelError as error:
            if asked or name == "retraining":  # nobody gives a ``fit`` who does not want it
                raise
            left_out[name] = str(error)
            continue
        labels = [f"{name}:{column}" if column else name for column in columns]
        found.update(zip(labels, measures.swapaxes(0, 1), strict=True))
    return found, left_out


def _frame(found: Mapping[str, NDArray[Any]], names: Sequence[str], which: int) -> pd.DataFrame:
    columns = {label: measures[:, which] for label, measures in found.items()}
    return pd.DataFrame(columns, pd.Index(names, name="feature"))


def _called(clusters: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, list[str]]:
    return {f"{names[each[0]]} and {len(each) - 1} more": [names[j] for j in each] for each in clusters}


def _together(case: RankingTask, clusters: Sequence[Sequence[int]], called: Iterable[str]) -> pd.DataFrame:
    measures = permutation.joint_vs_separate(replace(case, players=tuple(map(tuple, clusters))))
    kinds = [f"{kind}{error}" for kind in ("alone", "together", "difference") for error in ("", "_error")]
    return pd.DataFrame(measures.reshape(len(clusters), 6), pd.Index(list(called), name="cluster"), kinds)


def _warn_of_underrated(together: pd.DataFrame | None) -> None:
    if together is None:
        return
    under = together[together["difference"] > SURE * together["difference_error"]]
    if len(under):
        first = under.sort_values("difference", ascending=False).iloc[0]
        warnings.warn(
            f"permutation underrates correlated features ({len(under)} clusters), which stand in for each other: "
            f"shuffled one by one, those of {first.name!r} raise the error by {first['alone']:.3g} in sum, and as one "
            f"by {first['together']:.3g}. See ranking.together; groups=ranking.clusters ranks them as one.",
            RankingWarning,
            stacklevel=3,
        )
