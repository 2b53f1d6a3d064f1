"""Why rows are anomalous: the features that rebuild badly, and what the others have to do with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae import plots
from shapae.errors import DataError
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.heads import ErrorFromOthers, FeatureError, ReconstructionError
from shapae.tables.table import read_table


@dataclass(frozen=True, eq=False)
class Anomalies:
    """The m rows with the largest reconstruction errors, the largest first.

    Attributes:
        rows: (m,). Their positions in the table.
        explanation: Of their reconstruction errors: (m, d).
        feature_errors: m x d. The error of each feature by itself, not attributed to any other.
        worst: (m, w). Positions of the w features that rebuild worst in each row, the worst first.
        others: What the other features do to the error of each of these: (m, d, w), or (m, d) of one. Positive values
            contribute to it, negative ones offset it; the feature itself has 0.
    """

    rows: NDArray[Any]
    explanation: Explanation
    feature_errors: pd.DataFrame
    worst: NDArray[Any]
    others: Explanation

    @property
    def table(self) -> pd.DataFrame:
        """One line for each row and each feature that rebuilds badly: its error, and what is behind it.

        Columns: ``error``; ``part`` of the row's sum of all features' errors; ``value`` of the feature itself in the
        explanation of the whole error; ``contributing`` and ``offsetting``, the three other features with the largest
        positive and negative values, as text.
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
        order = np.argsort(-values, kind="stable")[:3]
        return ", ".join(self._names[feature] for feature in order if values[feature] > 0)

    @property
    def _names(self) -> Sequence[str]:
        return list(self.explanation.feature_names)

    def waterfall(self, place: int = 0, *, max_display: int = 15, ax: Axes | None = None) -> Axes:
        """Draw how the features lead from the mean error of the background to that of one row.

        Args:
            place: Which of the anomalies, counted from the worst, 0.
            max_display: How many features.
            ax: Where to draw; None for a new figure.

        Returns:
            The Axes; nothing is shown or saved.
        """
        return plots.waterfall(self.explanation[place], max_display=max_display, ax=ax)


def explain_anomalies(explainer: Explainer, X: Any, top: int = 10, *, worst: int = 5) -> Anomalies:
    """Explain the rows with the largest reconstruction errors.

    Args:
        explainer: Of the reconstruction error, with any loss.
        X: (n, d), with the columns of the background. All rows are scored, ``top`` of them are explained.
        top: How many rows.
        worst: How many badly rebuilt features of each.

    Raises:
        DataError: The explainer is of another head, of groups or of latents, or ``top`` or ``worst`` is less than 1;
            for others see ``Explainer.__call__``.

    Reference:
        Antwarg et al., 2021, section 3, https://arxiv.org/abs/1903.02407
    """
    head = explainer.score.head
    if not isinstance(head, ReconstructionError) or explainer.groups or explainer.score.source != "input":
        raise DataError(
            f"explain_anomalies takes an Explainer of features with head='reconstruction_error', got head "
            f"{explainer.head!r}{' and groups' if explainer.groups else ''} and source {explainer.score.source!r}."
        )
    if top < 1 or worst < 1:
        raise DataError(f"top and worst must be at least 1, got {top} and {worst}.")
    loss = head.loss if getattr(head.loss, "by_feature", True) else "mse"
    table = read_table(X, "rows")
    rows = np.argsort(-explainer.scores(table), kind="stable")[:top]
    rising = np.sort(rows)
    some = table.of(rising).of(np.searchsorted(rising, rows))
    explanation = explainer(some)
    errors = explainer.with_head(FeatureError(loss=loss)).scores(some)
    names = pd.Index(rows if some.row_names is None else some.row_names, name="row")
    return Anomalies(
        rows,
        explanation,
        pd.DataFrame(errors, names, list(explanation.feature_names)),
        np.argsort(-errors, axis=1, kind="stable")[:, :worst],
        explainer.with_head(ErrorFromOthers(worst, loss))(some),
    )
