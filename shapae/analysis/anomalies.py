"""Explanations of anomalies: the features with large reconstruction errors, and the other features' contributions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import nn

from shapae import plots
from shapae.errors import DataError
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.heads import ErrorFromOthers, FeatureError, ReconstructionError
from shapae.tables.table import read_table


@dataclass(frozen=True, eq=False)
class Anomalies:
    """The m rows with the largest reconstruction errors, in descending order.

    Attributes:
        rows: (m,). Positions of the anomalies in the table.
        explanation: Explanation of their reconstruction errors: (m, d).
        feature_errors: m x d. Error of each feature itself, not attributed to any other feature.
        worst: (m, w). Positions of the w features with the largest errors in each row, in descending order.
        others: Attributions of the errors of these features to the other features: (m, d, w), or (m, d) if w is 1.
            Positive values contribute to the error, negative values offset it; the feature itself has 0.
    """

    rows: NDArray[Any]
    explanation: Explanation
    feature_errors: pd.DataFrame
    worst: NDArray[Any]
    others: Explanation

    @property
    def table(self) -> pd.DataFrame:
        """One line for each anomaly and each of its worst features: the error, and the features that cause it.

        Columns: ``error``; ``part`` of the sum of the row's errors; ``value`` of the feature itself in the explanation
        of the row's error; ``contributing`` and ``offsetting``, the three other features with the largest positive and
        negative values, as text.
        """
        lines = [self._line(row, rank) for row in range(len(self.rows)) for rank in range(self.worst.shape[1])]
        return pd.DataFrame(lines).set_index(["row", "feature"])

    def _line(self, row: int, rank: int) -> dict[str, Any]:
        feature = int(self.worst[row, rank])
        errors, values = (
            self.feature_errors.to_numpy()[row],
            self.others.values.reshape(*self.explanation.shape, -1)[row, :, rank],
        )
        return {
            "row": self.feature_errors.index[row],
            "feature": self._names[feature],
            "error": errors[feature],
            "part": errors[feature] / errors.sum(),
            "value": self.explanation.values[row, feature],
            "contributing": self._largest(values),
            "offsetting": self._largest(-values),
        }

    def _largest(self, values: NDArray[Any]) -> str:
        """Join the names of the three largest values, if positive."""
        order = np.argsort(-values, kind="stable")[:3]
        return ", ".join(self._names[feature] for feature in order if values[feature] > 0)

    @property
    def _names(self) -> Sequence[str]:
        return list(self.explanation.feature_names)

    def waterfall(self, place: int = 0, *, max_display: int = 15, ax: Axes | None = None) -> Axes:
        """Draw the attributions from the mean error of the background to the error of one anomaly.

        Args:
            place: Position of the anomaly in ``rows``; 0 is the largest error.
            max_display: Maximum number of features.
            ax: Axes to draw on; None for a new figure.

        Returns:
            The Axes; nothing is shown or saved.
        """
        return plots.waterfall(self.explanation[place], max_display=max_display, ax=ax)


def explain_anomalies(explainer: Explainer, X: Any, top: int = 10, *, worst: int = 5) -> Anomalies:
    """Explain the rows with the largest reconstruction errors.

    Args:
        explainer: Explainer of the reconstruction error, with any loss.
        X: (n, d), with the columns of the background. All rows are scored, ``top`` rows are explained.
        top: Number of anomalies.
        worst: Number of features with the largest errors per anomaly.

    Raises:
        DataError: The explainer has another head, groups or source="latent"; or ``top`` or ``worst`` is less than 1.
            For errors of the table see ``Explainer.__call__``.

    Reference:
        Antwarg et al., 2021, section 3, https://arxiv.org/abs/1903.02407
    """
    loss = _check_explainer(explainer)
    if top < 1 or worst < 1:
        raise DataError(f"top and worst must be at least 1, got {top} and {worst}.")
    table = read_table(X, "rows")
    rows = np.argsort(-explainer.scores(table), kind="stable")[:top]
    sorted_rows = np.sort(rows)
    anomalies = table.of(sorted_rows).of(np.searchsorted(sorted_rows, rows))
    explanation = explainer(anomalies)
    errors = explainer.with_head(FeatureError(loss=loss)).scores(anomalies)
    names = pd.Index(rows if anomalies.row_names is None else anomalies.row_names, name="row")
    return Anomalies(
        rows,
        explanation,
        pd.DataFrame(errors, names, list(explanation.feature_names)),
        np.argsort(-errors, axis=1, kind="stable")[:, :worst],
        explainer.with_head(ErrorFromOthers(worst, loss))(anomalies),
    )


def _check_explainer(explainer: Explainer) -> str | nn.Module:
    """Check that the explainer attributes the reconstruction error to features.

    Returns:
        Its loss, or "mse" if its loss has no errors of single features.

    Raises:
        DataError: It explains another head, groups or latents.
    """
    head = explainer._score.head
    if not isinstance(head, ReconstructionError) or explainer.groups or explainer._score.source != "input":
        groups = " and groups" if explainer.groups else ""
        raise DataError(
            f"explain_anomalies got an Explainer with head {explainer.head!r}{groups} and source "
            f"{explainer._score.source!r}. It takes attributions of the reconstruction error to features. Pass "
            f"Explainer(model, background, head='reconstruction_error')."
        )
    return head.loss if getattr(head.loss, "by_feature", True) else "mse"
