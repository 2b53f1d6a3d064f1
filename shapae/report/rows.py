"""The stories of single rows: steps from the base value to the score, and a sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from shapae.explainer.export import ExplanationArrays
from shapae.report.bars import Bar, steps
from shapae.report.words import clean, count, drawn, join, show

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
        items: (feature, value, number in the row) of the largest values, largest first.
        rest: Number of all other features, and the sum of their values.
        bars: Steps for the items, and one for the rest.
        start: Place of the base value.
    """

    name: str
    score: float
    base: float
    sentence: str
    items: list[tuple[int, float, float]]
    rest: tuple[int, float]
    bars: list[Bar]
    start: str


def row_names(rows: Any, n: int) -> list[str]:
    """Name n rows, by their names or by their positions."""
    return [f"row {row}" for row in range(n)] if rows is None else [clean(name) for name in pd.Index(rows)]


def stories(parts: ExplanationArrays, names: list[str], features: list[str]) -> list[Story]:
    """Tell the stories of the rows with the largest scores, the largest first.

    Args:
        parts: Of one output.
        names: n names of rows.
        features: d names of features, as they are shown.
    """
    worst = np.argsort(-parts.scores[:, 0], kind="stable")[:PICKED]
    return [_story(parts, int(row), names[row], features) for row in worst]


def _story(parts: ExplanationArrays, row: int, name: str, features: list[str]) -> Story:
    values, data = parts.values[row, :, 0].astype(float), parts.data[row].astype(float)
    order = np.argsort(-abs(values), kind="stable")
    top = order[:STEPS].tolist()
    rest, base, score = float(values[order[STEPS:]].sum()), float(parts.base_values[row, 0]), parts.scores[row, 0]
    few = len(order) > STEPS
    bars, start = steps(base, np.array([*values[top], *([rest] if few else [])]))
    items = [(at, float(values[at]), float(data[at])) for at in top]
    sentence = _sentence(name, float(score), base, [(features[at], value, number) for at, value, number in items])
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


def as_data(told: list[Story], features: list[str]) -> dict[str, Any]:
    """Convert stories to what JSON holds, for the picker: names of features once, numbers in six digits."""
    used = sorted({at for story in told for at, _, _ in story.items})
    position = {at: place for place, at in enumerate(used)}
    return {
        "features": [features[at] for at in used],
        "rows": [
            {
                "name": story.name,
                "score": drawn(story.score),
                "base": drawn(story.base),
                "sentence": story.sentence,
                "items": [[position[at], drawn(value), drawn(number)] for at, value, number in story.items],
                "rest": [story.rest[0], drawn(story.rest[1])],
            }
            for story in told
        ],
    }


def rest_name(number: int) -> str:
    """Name the step of all other features."""
    return count(number, "other feature")
