"""The stories of single rows: steps from the base value to the score, raw errors of the features, and a sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.explainer.export import ExplanationArrays
from shapae.report.bars import Bar, steps
from shapae.report.words import clean, count, drawn, join, show

# From rows (m, d) to the raw errors (m, d) of their features.
RawErrors = Callable[[NDArray[Any]], NDArray[Any]]
# Numbers of rows in the picker and as tables, and number of features of a row: the rest are one step.
PICKED, TABLES, STEPS = 80, 5, 12
# Number of features in a sentence for each direction, and the smallest share of the way that they have.
NAMED, SHARE = 3, 0.03


@dataclass(frozen=True, eq=False)
class Story:
    """One row, explained.

    Attributes:
        name: Name of the row.
        score: Its score.
        base: The base value.
        sentence: The story in words.
        items: (feature, value, number in the row, raw error) of the largest values, largest first. The raw error is NaN
            if it is not known.
        rest: Number of all other features, and the sum of their values.
        bars: Steps for the items, and one for the rest.
        start: Place of the base value.
    """

    name: str
    score: float
    base: float
    sentence: str
    items: list[tuple[int, float, float, float]]
    rest: tuple[int, float]
    bars: list[Bar]
    start: str

    @property
    def has_raw_errors(self) -> bool:
        """Whether the raw errors are known."""
        return not np.isnan(self.items[0][3])


def row_names(rows: Any, n: int) -> list[str]:
    """Name n rows, by their names or by their positions."""
    return [f"row {row}" for row in range(n)] if rows is None else [clean(name) for name in pd.Index(rows)]


def stories(
    parts: ExplanationArrays, names: list[str], features: list[str], raw_errors: RawErrors | None
) -> list[Story]:
    """Tell the stories of the rows with the largest scores, the largest first.

    Args:
        parts: Of one output.
        names: n names of rows.
        features: d names of features, as they are shown.
        raw_errors: Function for the raw errors; None if they are not known.
    """
    worst = np.argsort(-parts.scores[:, 0], kind="stable")[:PICKED]
    data = parts.data[worst]
    errors = None if raw_errors is None else raw_errors(data).reshape(data.shape)
    return [
        _story(parts, row, names[row], features=features, errors=None if errors is None else errors[place])
        for place, row in enumerate(worst.tolist())
    ]


def _story(parts: ExplanationArrays, row: int, name: str, *, features: list[str], errors: NDArray[Any] | None) -> Story:
    values, data = parts.values[row, :, 0].astype(float), parts.data[row].astype(float)
    order = np.argsort(-abs(values), kind="stable")
    top = order[:STEPS].tolist()
    rest, base, score = float(values[order[STEPS:]].sum()), float(parts.base_values[row, 0]), parts.scores[row, 0]
    few = len(order) > STEPS
    bars, start = steps(base, np.array([*values[top], *([rest] if few else [])]))
    items = [(at, float(values[at]), float(data[at]), np.nan if errors is None else float(errors[at])) for at in top]
    sentence = _sentence(name, float(score), base, [(features[at], value, number) for at, value, number, _ in items])
    if errors is not None:
        sentence += _raw_sentence(errors, features)
    return Story(name, float(score), base, sentence, items, (len(order) - len(top), rest), bars, start)


def _sentence(name: str, score: float, base: float, items: list[tuple[str, float, float]]) -> str:
    times = f", {show(score / base)} times" if base > 0 and score > 0 else " beside"
    way = sum(abs(value) for _, value, _ in items)
    parts = []
    for sign, verb in ((1, "raised"), (-1, "lowered")):
        named = [
            f"{feature} (which is {show(number)}) by {show(abs(value))}"
            for feature, value, number in items
            if sign * value > SHARE * way
        ][:NAMED]
        if named:
            parts.append(f"It was {verb} most by {join(named)}.")
    return " ".join([f"{name} has the score {show(score)}{times} the base value {show(base)}.", *parts])


def _raw_sentence(errors: NDArray[Any], features: list[str]) -> str:
    largest = [at for at in np.argsort(-errors, kind="stable")[:NAMED].tolist() if errors[at] > 0]
    named = [f"{features[at]} ({show(float(errors[at]))})" for at in largest]
    verb = "error is that" if len(named) == 1 else "errors are those"
    return f" The largest raw {verb} of {join(named)}." if named else ""


def as_data(told: list[Story], features: list[str]) -> dict[str, Any]:
    """Convert stories to what JSON holds, for the picker: names of features once, numbers in six digits."""
    used = sorted({at for story in told for at, *_ in story.items})
    position = {at: place for place, at in enumerate(used)}
    return {
        "features": [features[at] for at in used],
        "raw": any(story.has_raw_errors for story in told),
        "rows": [
            {
                "name": story.name,
                "score": drawn(story.score),
                "base": drawn(story.base),
                "sentence": story.sentence,
                "items": [[position[at], *map(drawn, numbers)] for at, *numbers in story.items],
                "rest": [story.rest[0], drawn(story.rest[1])],
            }
            for story in told
        ],
    }


def rest_name(number: int) -> str:
    """Name the step of all other features."""
    return count(number, "other feature")
