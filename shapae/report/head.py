"""The part of the report about one explanation: scores, importances, a picture of all rows, rows to pick."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.errors import DataError
from shapae.explainer.explanation import Explanation
from shapae.explainer.export import ExplanationArrays
from shapae.explainer.importance import Importance
from shapae.report.bars import Bar, Dots, dots, histogram, size_bars, value_range
from shapae.report.downloads import Download, csv_link
from shapae.report.facts import describe, groups_of
from shapae.report.outputs import Outputs, describe_outputs
from shapae.report.rows import TABLES, RawErrors, Story, as_data, row_names, stories
from shapae.report.words import clean, count, join, percent, places, show, show_error

# Numbers of features in the bars and in the picture of all rows, of dots for each feature, and of the worst rows.
BARS, LINES, DOTTED, WORST = 20, 15, 200, 10


@dataclass(frozen=True, eq=False)
class Line:
    """A feature in the list of the most important ones.

    Attributes:
        name: Its name.
        bar: Its mean |value|, with the standard error over the rows.
        size: Mean |value| in words.
        error: Standard error in words.
        effect: The direction of its mean value in words.
    """

    name: str
    bar: Bar
    size: str
    error: str
    effect: str


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of all rows of one output.

    Attributes:
        path: Picture of their distribution; empty for a single row.
        low: Smallest score.
        high: Largest score.
        median: Median score.
        base: Mean of the base values.
        mark: Place of the base value in the picture; empty if it is outside.
        worst: (row, score, times the base value, features that raise it most) of the largest scores.
        download: All scores.
    """

    path: str
    low: str
    high: str
    median: str
    base: str
    mark: str
    worst: list[tuple[str, str, str, str]]
    download: Download


@dataclass(frozen=True, eq=False)
class Head:
    """One explanation, ready to be shown.

    Attributes:
        title: Name of the score.
        names: d names of features, as they are shown.
        parts: Arrays of the explanation.
        facts: Pairs of a label and a text.
        groups: Groups of features; see ``groups_of``.
        lines: The most important features.
        share: Share of the first ten features in the sum of all importances, in words.
        download: Importances of all features.
        scores: Scores; None for several outputs.
        summary: (feature, dots) of the most important features; empty for several outputs, or one row.
        ends: Smallest and largest value in ``summary``, in words.
        dotted: Number of rows in ``summary``.
        told: Rows that can be picked; empty for several outputs.
        data: The same, for the script.
        outputs: Outputs beside features; None for one output.
    """

    title: str
    names: list[str]
    parts: ExplanationArrays
    facts: list[tuple[str, str]]
    groups: list[tuple[str, int, str]]
    lines: list[Line]
    share: str
    download: Download
    scores: Scores | None = None
    summary: list[tuple[str, Dots]] = field(default_factory=list)
    ends: tuple[str, str] = ("", "")
    dotted: int = 0
    told: list[Story] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    outputs: Outputs | None = None

    def fact(self, label: str) -> str:
        """Return the text of a label in ``facts``; empty if it has none."""
        return dict(self.facts).get(label, "")

    @property
    def tables(self) -> list[Story]:
        """The rows that are shown as tables, which need no script."""
        return self.told[:TABLES]

    @property
    def clipped(self) -> int:
        """Number of dots at the edge of the picture of all rows."""
        return sum(line.clipped for _, line in self.summary)


def arrays_of(explanation: Explanation) -> ExplanationArrays:
    """Take the arrays of an explanation.

    Raises:
        DataError: It has no rows, features or outputs; or numbers that are NaN or infinite.
    """
    parts = ExplanationArrays.of(explanation)
    n, d, k = parts.values.shape
    if not parts.values.size:
        raise DataError(
            f"this explanation has {n} rows, {d} features and {k} outputs, so there is nothing to report on. Choose at "
            f"least one of each."
        )
    for name in ("values", "scores", "base_values"):
        array = getattr(parts, name)
        if not np.isfinite([array.min(), array.max()]).all():
            raise DataError(f"the {name.replace('_', ' ')} of this explanation hold NaN or infinite numbers.")
    return parts


def describe_head(explanation: Explanation, most_bytes: int, raw_errors: RawErrors | None) -> Head:
    """Prepare one explanation.

    Args:
        explanation: Of one output or several.
        most_bytes: Largest number of bytes of its tables to download.
        raw_errors: Function for the raw errors of rows; None if they are not known.

    Raises:
        DataError: See ``arrays_of``.
    """
    parts, importance = arrays_of(explanation), Importance.of(explanation)
    features = [clean(name) for name in parts.features]
    n, _, k = parts.values.shape
    sizes = importance.mean_abs.mean(axis=1)
    order = np.argsort(-sizes, kind="stable")
    common: dict[str, Any] = {
        "title": clean(parts.outputs[0]) if k == 1 else _title(explanation.made_by.get("head"), k),
        "names": features,
        "parts": parts,
        "facts": describe(explanation.made_by, parts),
        "groups": groups_of(explanation.made_by),
        "lines": _lines(importance, features, order),
        "share": percent(float(sizes[order[:10]].sum() / (sizes.sum() or 1))),
        "download": csv_link(_importances(importance, order), "importances.csv", most_bytes // (2 if k == 1 else 1)),
    }
    if k > 1:
        return Head(**common, outputs=describe_outputs(importance, parts.scores, features))
    names = row_names(parts.rows, n)
    told = stories(parts, names, features, raw_errors)
    summary, ends, dotted = _summary(parts, features, order) if n > 1 else ([], ("", ""), 0)
    scores = _scores(parts, names, told, features, most_bytes // 2)
    return Head(
        **common, scores=scores, summary=summary, ends=ends, dotted=dotted, told=told, data=as_data(told, features)
    )


def _title(head: Any, k: int) -> str:
    """Name the score of several outputs: by the name of its head, or by the class of a head with settings."""
    return f"{clean(str(head).partition('(')[0])}, {count(k, 'output')}" if head else count(k, "output")


def _importances(importance: Importance, order: NDArray[np.integer]) -> pd.DataFrame:
    return importance.table if len(importance.output_names) == 1 else importance.table.iloc[order]


def _lines(importance: Importance, features: list[str], order: NDArray[np.integer]) -> list[Line]:
    """List the most important features, averaged over the outputs."""
    top, alone = order[:BARS], len(importance.output_names) == 1
    sizes = importance.mean_abs[top].mean(axis=1)
    errors = importance.mean_abs_error[top, 0] if alone else np.full(len(top), np.nan)
    return [
        Line(
            features[at],
            bar,
            show(size),
            show_error(float(error), float(size)),
            _effect(importance.mean[at, 0], importance.mean_error[at, 0]) if alone else "",
        )
        for at, bar, size, error in zip(top, size_bars(sizes, errors), sizes, errors, strict=True)
    ]


def _effect(mean: float, error: float) -> str:
    """Say in which direction a feature moves the score on average, if two standard errors are surely on one side."""
    if not abs(mean) > 2 * np.nan_to_num(error):
        return "no sure direction"
    return f"{'raises' if mean > 0 else 'lowers'} it by {show(abs(mean))}"


def _scores(
    parts: ExplanationArrays, names: list[str], told: list[Story], features: list[str], most_bytes: int
) -> Scores:
    scores, base = parts.scores[:, 0].astype(float), float(parts.base_values[:, 0].mean())
    path, low, high = histogram(scores) if len(scores) > 1 else ("", scores[0], scores[0])
    mark = places([(base - low) / (high - low) * 100])[0] if low <= base <= high and high > low else ""
    order = np.argsort(-scores, kind="stable")
    table = pd.DataFrame({"score": scores, "base value": parts.base_values[:, 0]}, pd.Index(names, name="row"))
    worst = [
        (story.name, show(story.score), show(story.score / base) if base > 0 else "", _raising(story, features))
        for story in told[:WORST]
    ]
    download = csv_link(table.iloc[order], "scores.csv", most_bytes)
    ends = (show(low), show(high), show(float(np.median(scores))), show(base))
    return Scores(path, *ends, mark, worst, download)


def _raising(story: Story, features: list[str]) -> str:
    return join([features[at] for at, value, *_ in story.items if value > 0][:3]) or "no feature"


def _summary(
    parts: ExplanationArrays, features: list[str], order: NDArray[np.integer]
) -> tuple[list[tuple[str, Dots]], tuple[str, str], int]:
    """Draw the values of many rows for the most important features: dots, the ends of the axis, number of rows."""
    n, top = len(parts.values), order[:LINES]
    rows = np.sort(np.random.default_rng(0).choice(n, min(n, DOTTED), replace=False))
    values, data = parts.values[np.ix_(rows, top)][..., 0].astype(float), parts.data[np.ix_(rows, top)].astype(float)
    ends = value_range(values)
    lines = [(features[at], dots(values[:, line], data[:, line], ends)) for line, at in enumerate(top)]
    return lines, (show(ends[0]), show(ends[1])), len(rows)
