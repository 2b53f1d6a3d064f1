"""Plain sentences about anomalies."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, isnan, log10

# Share of the error of a row that a feature needs to be in its sentence, and number of such features.
SHARE, MOST = 0.1, 3
# Share of the error of a feature that another feature must contribute or offset to be in the sentence.
RAISED, OFFSET = 0.1, 0.25
# Size of a number, as a fraction of a difference, below which it is written as 0.
NOTHING = 1e-4


@dataclass(frozen=True, eq=False)
class Fault:
    """One of the worst features of an anomaly, or a group of features.

    Attributes:
        feature: Its name.
        reading: Number in the row; of ``member``, for a group.
        expected: Number that the model expected there.
        member: The feature that stands for a group; the feature itself otherwise.
        category: Active category of one-hot columns; None for others.
        expected_category: Expected category of one-hot columns.
        error: Error of the feature, or of all features of the group.
        part: Fraction of the error of the row; NaN if errors are negative.
        contribution: Attribution of the error of the row to the feature.
        contributing: The three other features that contribute most to the error of the feature, and their positive
            attributions.
        offsetting: The three other features that offset most of it, and their negative attributions.
    """

    feature: str
    reading: float
    expected: float
    member: str
    category: str | None
    expected_category: str | None
    error: float
    part: float
    contribution: float
    contributing: Sequence[tuple[str, float]]
    offsetting: Sequence[tuple[str, float]]


def write_sentence(who: str, score: float, median: float, faults: Sequence[Fault], *, units: str) -> str:
    """Say in one sentence why a row is an anomaly.

    Args:
        who: Name of the row.
        score: Its score.
        median: Median score of normal rows.
        faults: Its worst features, in descending order of their errors.
        units: See ``Readings``.
    """
    shown = [fault for fault in faults[:MOST] if fault.part >= SHARE] or [*faults[:1]]
    where = " (in the units of the model)" if units == "model" else ""
    readings = f"{_join([_reading(fault) for fault in shown])}{where}"
    its = "it" if len(shown) == 1 else f"the error of {shown[0].feature}"
    influence = _influence(shown[0], its)
    sentence = f"{write_heading(who, score, median)}: {'; '.join(filter(None, [readings, influence]))}"
    return " ".join(sentence.split())


def write_heading(who: str, score: float, median: float) -> str:
    """Say how large the score of a row is; see ``write_sentence`` for the arguments."""
    return " ".join(f"{who} scores {number(score)}{_times(score, median)}".split())


def _times(score: float, median: float) -> str:
    if median > 0:
        return f", {number(score / median)} times the median"
    return f" (the median is {number(median)})"


def _reading(fault: Fault) -> str:
    """Describe the reading of a fault beside the expected reading."""
    reading, expected = _numbers(fault)
    if fault.category is None:
        name = fault.feature if fault.member == fault.feature else f"{fault.member} of {fault.feature}"
        return f"{name} reads {reading}{' as' if reading == expected else f' where {expected} was'} expected"
    if fault.category != fault.expected_category:
        return f"{fault.feature} is {fault.category} where {fault.expected_category} was expected"
    degree = "" if reading == expected else f", but by {expected} instead of {reading}"
    return f"{fault.feature} is {fault.category} as expected{degree}"


def _numbers(fault: Fault) -> tuple[str, str]:
    """Write the reading and the expected reading in as many digits as show their difference."""
    step = fault.reading - fault.expected
    return number(fault.reading, step), number(fault.expected, step)


def _influence(fault: Fault, its: str) -> str:
    """Say which other features raised the error of a fault, and which offset much of it."""
    if len({*_numbers(fault)}) == 1:
        return ""
    raised = [name for name, value in fault.contributing if value >= RAISED * abs(fault.error)]
    offset = [name for name, value in fault.offsetting if -value >= OFFSET * abs(fault.error)]
    verbs = ((raised, "raised"), (offset, "offset"))
    return ", ".join(f"{_join(names)} {verb} {its}" for names, verb in verbs if names)


def _join(parts: Sequence[str]) -> str:
    """List parts in words.

    >>> _join(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def number(value: float, step: float = 0) -> str:
    """Write a number in two significant digits, or more: no digit before the point is rounded.

    Args:
        value: The number.
        step: Difference that two digits must show; numbers that are nothing beside it are 0.

    >>> number(7.1834, 4.1), number(1234.56), number(0.01234), number(1e-7), number(1e-7, 2), number(3)
    ('7.2', '1235', '0.012', '1e-07', '0', '3')
    """
    if not isfinite(value):
        return "NaN" if isnan(value) else f"{'-' if value < 0 else ''}infinity"
    step = abs(step) if isfinite(step) else 0
    if value == 0 or abs(value) < NOTHING * step:
        return "0"
    if not 1e-4 <= abs(value) < 1e15:
        return f"{value:.2g}"
    decimals = min(12, max(0, *(1 - floor(log10(size)) for size in (abs(value), step) if size)))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
