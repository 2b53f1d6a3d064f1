"""Choice and explanation of anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.analysis.anomalies.readings import feature_loss, read, weighted_quantiles, worst_of
from shapae.analysis.anomalies.result import Anomalies
from shapae.errors import DataError, ShapaeError, UnknownName
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.explainer.indexing import Axis, resolve
from shapae.heads import ErrorFromOthers, ReconstructionError
from shapae.tables import aside as kept
from shapae.tables.background import read_background
from shapae.tables.files import is_path
from shapae.tables.table import Table, read_table
from shapae.utils.constraints import check_argument, check_arguments, check_optional
from shapae.utils.kinds import Kind

# Number of anomalies if nothing else says how many.
TOP = 10


def explain_anomalies(
    explainer: Explainer,
    X: Any,
    top: int | None = None,
    *,
    worst: int = 5,
    rows: Any = None,
    threshold: float | None = None,
    quantile: float | None = None,
    normal: Any = None,
    keep_aside: Sequence[str] = (),
) -> Anomalies:
    """Explain the rows with the largest reconstruction errors, or chosen rows.

    At most one of ``rows``, ``threshold`` and ``quantile`` is given. If they choose no row, the result has no rows.

    Args:
        explainer: Explainer of the reconstruction error, with any loss. With groups, such as one-hot columns, errors
            and contributions are those of groups.
        X: (n, d), with the columns of the background, or the path of its file. All rows are scored.
        top: Number of anomalies, those with the largest scores. None: 10, or all rows above a threshold or quantile.
        worst: Number of features with the largest errors per anomaly.
        rows: Rows to explain, in this order: positions, names, or a mask, as in ``explanation[rows]``. Integers are
            positions, also if the names of the rows are integers.
        threshold: Rows whose scores are above this number are anomalies.
        quantile: Rows whose scores are above this quantile of the scores of normal rows are anomalies: 0.99 for scores
            that 1 % of normal rows exceed. That needs some hundred normal rows; the model should not have seen them.
        normal: (m, d). Normal rows, for ``quantile`` and the median score. None: the background of the explainer.
        keep_aside: Names of columns of ``X`` that are no features, such as time stamps, see
            ``shapae.tables.aside.keep_aside``. They come back in the table and in the sentences.

    Raises:
        DataError: The explainer has another head or source="latent"; or ``top``, ``worst``, a threshold or a quantile
            is not as described; or several of them choose rows; or a row is chosen twice. For errors of the tables see
            ``Explainer.__call__``.
        UnknownName: There is no such row, or no such column to keep aside.
        WrongIndex: ``rows`` are not positions, names or a mask.

    Reference:
        Antwarg et al., 2021, section 3, https://arxiv.org/abs/1903.02407
    """
    check_arguments(worst=worst, keep_aside=keep_aside)
    check_optional(top=top, threshold=threshold, quantile=quantile)
    _check_explainer(explainer)
    choice = _Choice(top, rows, threshold, quantile)
    features, aside = kept.keep_aside(X, keep_aside)
    table = read_table(features, f"rows in {X}" if is_path(X) and not is_path(features) else "rows")
    choice.check(table)
    scores, (median, limit) = explainer.scores(table), _normal_scores(explainer, normal, choice)
    places = choice.of(table, scores, limit)
    found = len(places) if limit is None else int((scores > limit).sum())
    parts = _explain(explainer, table, places, worst)
    return Anomalies(places, **parts, median=median, limit=limit, found=found, aside=aside.reindex(places))


@dataclass(frozen=True, eq=False)
class _Choice:
    """The rule that chooses the rows; see ``explain_anomalies``."""

    top: int | None
    rows: Any
    threshold: float | None
    quantile: float | None

    def __post_init__(self) -> None:
        given = {"rows": self.rows, "threshold": self.threshold, "quantile": self.quantile}
        given = {name: each for name, each in given.items() if each is not None}
        if len(given) > 1 or ("rows" in given and self.top is not None):
            names = [*given, *(["top"] if self.top is not None else [])]
            raise DataError(
                f"{' and '.join(f'{name}=' for name in names)} can't choose rows together. Give one of them."
            )

    def check(self, table: Table) -> None:
        """Check that chosen rows are in ``table``, before anything is computed."""
        if self.rows is not None:
            _find_rows(self.rows, table)

    def of(self, table: Table, scores: NDArray[Any], limit: float | None) -> NDArray[Any]:
        """Choose rows: (m,), positions."""
        if self.rows is not None:
            return _find_rows(self.rows, table)
        order = np.argsort(-scores, kind="stable")
        if limit is None:
            return order[: self.top or TOP]
        return order[scores[order] > limit][: self.top]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _written(value: Any) -> str:
    return str(value) if _is_number(value) else repr(value)


def _find_rows(rows: Any, table: Table) -> NDArray[Any]:
    """Find the positions of chosen rows.

    Raises:
        DataError: A row comes twice, or names are given for rows without names.
        UnknownName: There is no row with such a name.
    """
    axis = Axis("row", 0, len(table), table.row_names)
    try:
        index = resolve(list(rows) if isinstance(rows, tuple) else rows, {"row": axis})["row"]
    except UnknownName as error:
        if table.row_names is not None:
            raise
        raise DataError(
            f"the rows have no names, only positions from 0 to {len(table) - 1}, got {rows!r}. Give positions, or a "
            f"DataFrame with the names of the rows as its index."
        ) from error
    places = np.atleast_1d(np.arange(len(table))[index])
    repeated = pd.unique(places[pd.Series(places).duplicated()])
    if len(repeated):
        raise DataError(f"rows= chooses the positions {', '.join(map(str, repeated[:8]))} twice. Choose each row once.")
    return places


def _normal_scores(explainer: Explainer, normal: Any, choice: _Choice) -> tuple[float, float | None]:
    """Compute the median score of normal rows, and the limit above which scores are anomalies.

    Raises:
        ShapaeError: The normal rows can't be scored.
    """
    weights: Any = explainer._game.weights
    if normal is None:
        scores = explainer.scores(explainer.background)
    else:
        background = read_background(normal)
        try:
            scores, weights = explainer.scores(background.rows), background.weights
        except ShapaeError as error:
            error.add_note("(these are the normal rows)")
            raise
    if choice.quantile is None:
        return float(weighted_quantiles(scores, [0.5], weights)[0]), choice.threshold
    median, limit = weighted_quantiles(scores, [0.5, choice.quantile], weights).tolist()
    return median, limit


def _take(table: Table, places: NDArray[Any]) -> Table | None:
    """Copy rows in any order; None for no rows. Rows without names are called by their positions in the table."""
    if not len(places):
        return None
    order = np.sort(places)
    taken = table.of(order).of(np.searchsorted(order, places))
    return taken if taken.row_names is not None else replace(taken, row_names=places)


def _explain(explainer: Explainer, table: Table, places: NDArray[Any], worst: int) -> dict[str, Any]:
    """Explain the anomalies, and the errors of their worst features: parts of ``Anomalies``."""
    players, rows = explainer._game.players, _take(table, places)
    names = explainer._names or (None if players else table.names) or explainer.feature_names
    groups = None if players is None else players.player_of_feature()
    head = ErrorFromOthers(worst, feature_loss(explainer), groups)
    index = places if table.row_names is None else table.row_names[places]
    readings = read(explainer, rows, names, index)
    errors = readings.grouped_errors.rename_axis(index="row")
    features = [*errors.columns]
    if rows is None:
        explanation = _empty(explainer, features, explainer.output_names)
        others = _empty(explainer, features, head.output_names(names, min(worst, len(features))))
    else:
        explanation, others = explainer(rows), explainer.with_head(head)(rows)
    parts = {"explanation": explanation, "feature_errors": errors, "others": others, "readings": readings}
    return parts | {"worst": worst_of(explainer, rows, head)}


def _empty(explainer: Explainer, features: list[str], outputs: list[str]) -> Explanation:
    """Make an explanation of no rows."""
    scores = np.zeros((0, len(outputs)) if len(outputs) > 1 else 0)
    return Explanation(
        np.zeros((0, len(features), *scores.shape[1:])),
        scores,
        np.zeros((0, len(features))),
        feature_names=features,
        output_names=outputs if len(outputs) > 1 else outputs[0],
        scores=scores,
        made_by={"head": explainer.head, "backend": explainer.backend, "b": len(explainer.background)},
    )


def _check_explainer(explainer: Explainer) -> None:
    """Check that the explainer attributes the reconstruction error to features or groups of them.

    Raises:
        DataError: It is none, or explains another head, or latents.
    """
    check_argument("explainer", explainer, Kind(Explainer, "an Explainer"))
    head = explainer._score.head
    if not isinstance(head, ReconstructionError) or explainer._score.source != "input":
        raise DataError(
            f"explain_anomalies got an Explainer with head {explainer.head!r} and source {explainer._score.source!r}. "
            f"It takes attributions of the reconstruction error to features. Pass Explainer(model, background, "
            f"head='reconstruction_error')."
        )
