"""The result of ``explain_anomalies``: tables, sentences and pictures."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae import plots
from shapae.analysis.anomalies.readings import Readings
from shapae.analysis.anomalies.sentences import Fault, number, write_heading, write_sentence
from shapae.errors import WrongIndex
from shapae.explainer.explanation import Explanation
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import Described
from shapae.utils.kinds import Integer, written

# Columns of the table that only groups have.
OF_GROUPS = ("member", "category", "expected_category")
# Number of sentences in the text form.
SHOWN = 5


@dataclass(frozen=True, eq=False, repr=False)
class Anomalies(Described):
    """Some rows with large reconstruction errors, in descending order of their scores, or the rows that were chosen.

    p is the number of features, or of groups and the features outside of groups.

    Attributes:
        rows: (m,). Positions of the anomalies in the table.
        explanation: Explanation of their reconstruction errors: (m, p).
        feature_errors: m x p. Error of each feature itself, or of all features of a group, not attributed to any other
            feature: squares, if the loss of the explainer has no errors of single features.
        worst: (m, w). Positions of the w features or groups with the largest errors in each row, in descending order.
        others: Attributions of the errors of these features to the other features: (m, p, w), or (m, p) if w is 1.
            Positive values contribute to the error, negative values offset it; the feature itself has 0.
        readings: Readings and expected readings: m x d each.
        median: Median score of normal rows.
        limit: Number above which scores are anomalies; None without a threshold or a quantile.
        found: Number of rows above the limit, which is more than m if ``top`` is less; m without a limit.
        aside: m rows. Columns that were kept aside.
    """

    rows: NDArray[Any]
    explanation: Explanation
    feature_errors: pd.DataFrame
    worst: NDArray[Any]
    others: Explanation
    readings: Readings
    median: float
    limit: float | None
    found: int
    aside: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        first, sentences, more = self._texts()
        return "\n  ".join([first, *sentences, *more])

    def _description(self) -> Sequence[str]:
        first, sentences, more = self._texts()
        return [first, *sentences, *more, "next: .table, .sentences(), .plot(place), .waterfall(place)"]

    def _preview(self) -> pd.DataFrame:
        return self.table

    def _texts(self) -> tuple[str, list[str], list[str]]:
        """Write the first line, the first sentences, and the number of others."""
        rows = "row" if self.found == 1 else "rows"
        limit = "" if self.limit is None else f", {self.found} {rows} above {number(self.limit)}"
        noun = "anomaly" if len(self) == 1 else "anomalies"
        first = f"{len(self)} {noun}{limit}; the median score of normal rows is {number(self.median)}"
        more = [f"and {len(self) - SHOWN} more"] if len(self) > SHOWN else []
        sentences = [self._sentence(place) for place in range(min(SHOWN, len(self)))]
        return first, sentences, more

    @property
    def units(self) -> str:
        """Units of the readings: "table", or "model" if the preprocessing of the model can't be undone."""
        return self.readings.units

    @property
    def table(self) -> pd.DataFrame:
        """One line for each anomaly and each of its worst features, with the row and the feature as their index.

        Columns: those kept aside; ``score`` of the row; ``reading`` of the feature and ``expected`` reading, in
        ``units``; ``error``; ``part`` of the sum of the row's errors, NaN if some errors are negative;
        ``contribution``, the value of the feature itself in the explanation of the row's score; ``contributing`` and
        ``offsetting``, the three other features with the largest positive and negative values, as text. If there are
        groups, ``member`` is the feature of the group whose reading it is, and ``category`` and ``expected_category``
        are those of one-hot columns, otherwise None.
        """
        faults = [(row, fault) for row in range(len(self)) for fault in self._faults(row)]
        rows = np.array([row for row, _ in faults], dtype=np.intp)
        columns = {field.name: [getattr(fault, field.name) for _, fault in faults] for field in fields(Fault)}
        for name in ("contributing", "offsetting"):
            columns[name] = [", ".join(other for other, _ in pairs) for pairs in columns[name]]
        names = pd.MultiIndex.from_arrays(
            [self.feature_errors.index[rows], columns.pop("feature")], names=["row", "feature"]
        )
        scores = np.asarray(self.explanation.scores, dtype=np.float64)[rows]
        dropped = () if self.readings.has_groups else OF_GROUPS
        table = pd.DataFrame(
            {"score": scores, **{name: columns[name] for name in columns if name not in dropped}}, names
        )
        texts = {"contributing", "offsetting", *OF_GROUPS}
        kinds = {name: object if name in texts else np.float64 for name in table}
        aside = (
            self.aside.iloc[rows].set_axis(names).rename(columns=lambda name: _free(name, ["row", "feature", *table]))
        )
        return pd.concat([aside, table.astype(kinds)], axis=1)

    def sentences(self) -> list[str]:
        """Say in one plain sentence for each anomaly which readings were not expected, and what raised the error.

        A sentence names the features with at least a tenth of the error of the row, three at most; and then, for the
        worst of them, the other features that raised its error by a tenth of it, or offset a quarter of it.
        """
        return [self._sentence(place) for place in range(len(self))]

    def _sentence(self, place: int) -> str:
        who, score = self._who(place), float(self.explanation.scores[place])
        return write_sentence(who, score, self.median, self._faults(place), units=self.units)

    def _who(self, place: int) -> str:
        """Write the name of a row, and its cells that were kept aside."""
        name = str(self.feature_errors.index[place])
        aside = ", ".join(f"{column} {cell}" for column, cell in self.aside.iloc[place].items())
        return f"{name if name.lower().startswith('row') else f'row {name}'}{f' ({aside})' if aside else ''}"

    def _faults(self, row: int) -> list[Fault]:
        values = np.reshape(self.others.values, (*self.explanation.shape, self.worst.shape[1]))[row]
        return [self._fault(row, int(at), values[:, rank]) for rank, at in enumerate(self.worst[row])]

    def _fault(self, row: int, at: int, others: NDArray[Any]) -> Fault:
        errors, readings, name = self.feature_errors.to_numpy()[row], self.readings, self.feature_errors.columns[at]
        member = readings.member(row, name)
        return Fault(
            feature=name,
            reading=float(readings.reading[member].iloc[row]),
            expected=float(readings.expected[member].iloc[row]),
            member=member,
            category=readings.category(row, name),
            expected_category=readings.expected_category(row, name),
            error=float(errors[at]),
            part=_part(errors, at),
            contribution=float(self.explanation.values[row, at]),
            contributing=self._largest(others, at),
            offsetting=[(other, -value) for other, value in self._largest(-others, at)],
        )

    def _largest(self, values: NDArray[Any], itself: int) -> list[tuple[str, float]]:
        """Select the three largest values of other features, if positive, with their names."""
        largest = np.argsort(-values, kind="stable")[:4]
        order = [at for at in largest if at != itself][:3]  # rounding may leave it not 0
        return [(self.feature_errors.columns[at], float(values[at])) for at in order if values[at] > 0]

    def plot(self, place: int = 0, *, max_display: int = 10, ax: Axes | None = None) -> Axes:
        """Draw one anomaly: its readings beside the expected readings, its errors, and the contributions to its score.

        Args:
            place: Position of the anomaly in ``rows``.
            max_display: Maximum number of features.
            ax: Axes to draw on; None for a new figure.

        Returns:
            The Axes; nothing is shown or saved.

        Raises:
            WrongIndex: There is no such anomaly.
            DataError: ``max_display`` is less than 1.
        """
        check_arguments(max_display=max_display)
        check_optional(ax=ax)
        row, most = _check_place(place, len(self)), max_display
        errors, values = self.feature_errors.to_numpy()[row], self.explanation.values[row]
        shown = np.argsort(-np.maximum(_shares(errors), _shares(values)), kind="stable")[:most]
        features = pd.DataFrame([self._drawn(row, self.feature_errors.columns[at]) for at in shown])
        features = features.assign(error=errors[shown], contribution=values[shown]).set_index("feature")
        title = write_heading(self._who(row), float(self.explanation.scores[row]), self.median)
        return plots.anomaly(features, title=title, units=self.units, ax=ax)

    def _drawn(self, row: int, name: str) -> dict[str, Any]:
        """Describe the reading of one feature or group for ``plots.anomaly``."""
        readings = self.readings
        member = readings.member(row, name)
        low, _, high = readings.usual[member]
        reading, expected = (float(each[member].iloc[row]) for each in (readings.reading, readings.expected))
        texts = [number(each, reading - expected) for each in (reading, expected)]
        label = name if member == name else f"{name} ({member})"
        if name in readings.one_hot:
            label, texts = name, [str(readings.category(row, name)), str(readings.expected_category(row, name))]
        numbers = {"reading": reading, "expected": expected, "low": low, "high": high}
        return {"feature": label, **numbers, "reading_text": texts[0], "expected_text": texts[1]}

    def waterfall(self, place: int = 0, *, max_display: int = 15, ax: Axes | None = None) -> Axes:
        """Draw the attributions from the mean error of the background to the error of one anomaly.

        Args:
            place: Position of the anomaly in ``rows``; 0 is the largest error.
            max_display: Maximum number of features.
            ax: Axes to draw on; None for a new figure.

        Returns:
            The Axes; nothing is shown or saved.

        Raises:
            WrongIndex: There is no such anomaly.
            DataError: ``max_display`` is less than 1.
        """
        check_arguments(max_display=max_display)
        check_optional(ax=ax)
        return plots.waterfall(self.explanation[_check_place(place, len(self))], max_display=max_display, ax=ax)


def _check_place(place: int, count: int) -> int:
    if not Integer(-count, count - 1).accepts(place):
        raise WrongIndex(f"there are {count} anomalies, got the place {written(place)}. Places start at 0.")
    return place % count


def _shares(numbers: NDArray[Any]) -> NDArray[Any]:
    """Divide the sizes of numbers by their sum."""
    sizes = np.abs(np.asarray(numbers, dtype=np.float64))
    return sizes / (sizes.sum() or 1)


def _part(errors: NDArray[Any], at: int) -> float:
    """Compute the fraction of one error in the sum of the errors of a row; NaN if some of them are negative."""
    if (errors < 0).any():
        return float("nan")
    return float(errors[at] / (errors.sum() or 1))


def _free(name: str, taken: Collection[str]) -> str:
    """Rename a column that was kept aside if the table has its name already."""
    return f"{name} (aside)" if name in taken else name
