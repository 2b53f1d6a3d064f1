"""Explainers of the explanations in a report: whether they fit, and the raw errors that they tell."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.analysis.anomalies.readings import feature_loss
from shapae.errors import DataError, ShapaeError
from shapae.explainer.explainer import Explainer
from shapae.explainer.export import ExplanationArrays
from shapae.heads import FeatureError, ReconstructionError
from shapae.report.rows import RawErrors
from shapae.report.words import clean, count
from shapae.utils.constraints import check_argument
from shapae.utils.kinds import Kind

# Largest number of rows that are scored or explained again, and differences, as shares, that are nothing to look at.
ROWS, SMALL_DIFFERENCE = 30, 0.01


def check_explainer(explainer: Any, parts: ExplanationArrays, made_by: dict[str, Any]) -> None:
    """Check that an explainer is the one of an explanation, before any work.

    Raises:
        DataError: It is another object; or it has other features, another head or other scores.
    """
    check_argument("explainer", explainer, Kind(Explainer, "the Explainer of this explanation, or None"))
    if not explains_rows(explainer):
        return
    if len(parts.features) != explainer.background.shape[1] or explainer._names not in (None, parts.features):
        raise DataError(
            f"this explanation is of {count(len(parts.features), 'feature')}, and the explainer has "
            f"{explainer.background.shape[1]}, or others. Report on the explanation of all features, "
            f"explainer(X).report(path, explainer=explainer)."
        )
    head, outputs = made_by.get("head", explainer.head), explainer._score.outputs(parts.features)
    if head != explainer.head or outputs != parts.outputs:
        raise DataError(
            f"this explanation is of {clean(head)!r}, and the explainer of {clean(explainer.head)!r}, or of other "
            f"outputs. Give the explainer of the explanation: explainer.with_head({clean(head)!r})."
        )
    _check_scores(explainer, parts)


def _check_scores(explainer: Explainer, parts: ExplanationArrays) -> None:
    rows = rows_to_check(parts)
    want = parts.scores[rows]
    found = np.reshape(explainer.scores(as_table(explainer, parts.data[rows])), want.shape)
    difference = float(abs(found - want).max())
    if difference > SMALL_DIFFERENCE * float(abs(parts.scores).max()):
        raise DataError(
            f"the explainer has other scores than this explanation, by up to {difference:.3g}: it is of another "
            f"model or of other rows. Explain the rows again, explanation = explainer(X), or leave out explainer=."
        )


def explainer_of_other(explainer: Explainer, parts: ExplanationArrays, made_by: dict[str, Any]) -> Explainer | None:
    """Make the explainer of an explanation of another head; None if its record does not tell which."""
    try:
        other = explainer.with_head(str(made_by.get("head")))
        check_explainer(other, parts, made_by)
    except ShapaeError:
        return None
    return other


def explains_rows(explainer: Explainer) -> bool:
    """Return whether the data of its explanations are rows, which can be explained again."""
    return explainer.groups is None and explainer._score.source == "input"


def rows_to_check(parts: ExplanationArrays) -> NDArray[np.integer]:
    """Choose some rows, evenly."""
    return np.unique(np.linspace(0, len(parts.data) - 1, ROWS).astype(int))


def as_table(explainer: Explainer, data: NDArray[Any]) -> Any:
    """Give rows the names of the columns, if the explainer asks for them."""
    return data if explainer._names is None else pd.DataFrame(data, columns=explainer._names)


def raw_errors_of(explainer: Explainer) -> RawErrors | None:
    """Return the function from rows to the losses of their features; None for groups, or without a reconstruction."""
    if not explains_rows(explainer):
        return None
    loss = feature_loss(explainer) if isinstance(explainer._score.head, ReconstructionError) else "mse"
    try:
        score = explainer._score_of(FeatureError(loss=loss))
    except ShapaeError:
        return None
    return score.predict if len(score.outputs()) == explainer.background.shape[1] else None
