"""Checks of an explanation: those on its own numbers, and those that its explainer computes on some rows."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from shapae.errors import AdditivityWarning, MemoryWarning, ShapaeError
from shapae.explainer.explainer import Explainer
from shapae.explainer.export import ExplanationArrays
from shapae.explainer.twins import make_twin
from shapae.report.explainers import SMALL_DIFFERENCE, as_table, explains_rows, rows_to_check
from shapae.report.words import clean, count, percent, show
from shapae.utils.context import ignored_warnings

# Number of the most important features that are compared.
TOP = 10
# Residuals and standard errors, as shares, that are nothing to look at; share of the top that must agree.
SMALL_RESIDUAL, SMALL_ERROR, AGREEING = 1e-3, 0.1, 0.7
# Backends that explain again: the first one that is not the explainer's own.
OTHERS = ("coalitions", "deep")
SHAPLEY = ("coalitions", "sampling", "exact")
GOOD, LOOK, UNKNOWN = "fine", "look", "not known"


@dataclass(frozen=True)
class Check:
    """A check and its result.

    Attributes:
        question: The question that it answers.
        verdict: "fine", "look" or "not known".
        answer: The numbers in words.
    """

    question: str
    verdict: str
    answer: str


def own_checks(parts: ExplanationArrays, made_by: dict[str, Any]) -> list[Check]:
    """Check the sums and the standard errors that an explanation has."""
    return [_sums(parts), _errors(parts, made_by)]


def _sums(parts: ExplanationArrays) -> Check:
    largest = float(abs(parts.residual).max())
    share = largest / (float(abs(parts.scores - parts.base_values).max()) or 1)
    verdict = GOOD if share <= SMALL_RESIDUAL else LOOK
    answer = (
        f"The largest residual (score − base value − sum of values) is {show(largest)}, {percent(share)} of the "
        f"largest difference between a score and its base value."
    )
    return Check("Do the values add up to the score?", verdict, answer)


def _errors(parts: ExplanationArrays, made_by: dict[str, Any]) -> Check:
    question = "How sure is each value?"
    errors = parts.errors.get("standard_errors")
    if errors is None or not np.isfinite(largest := float(errors.max())):
        return Check(question, UNKNOWN, "The standard errors of the values are not known.")
    share = largest / (max(float(parts.values.max()), -float(parts.values.min())) or 1)
    what = made_by.get("standard errors")
    answer = f"Standard errors{f' {clean(what)}' if what else ''} are {percent(share)} of the largest value at most."
    return Check(question, GOOD if share <= SMALL_ERROR else LOOK, answer)


def computed_checks(explainer: Explainer, parts: ExplanationArrays) -> list[Check]:
    """Explain some rows again: by the same backend, by another, with other backgrounds, and with a constant column.

    Args:
        explainer: The explainer of the explanation.
        parts: Arrays of the explanation.
    """
    if not explains_rows(explainer):
        reason = "not computed: for groups of features, and for latents as features, the rows are not in the report"
        return [Check("Do other methods and backgrounds agree?", UNKNOWN, reason)]
    again = _Again(explainer, parts)
    return [again.repeat(), again.other_backend(), again.halves(), again.constant()]


def unknown_checks() -> list[Check]:
    """Say that the checks of another head were not computed."""
    answer = "Not computed: they need the explainer of this head. Report on this explanation first."
    return [Check("Do other methods and backgrounds agree?", UNKNOWN, answer)]


def missing_checks() -> list[Check]:
    """Say which checks were not computed, and how to compute them."""
    answer = "Not computed. explanation.report(path, explainer=explainer) explains 30 rows again and tells."
    questions = ("Does another method agree?", "Does another background agree?", "Does a constant column get nothing?")
    return [Check(question, UNKNOWN, answer) for question in questions]


class _Again:
    """Some rows of an explanation, explained again in several ways."""

    def __init__(self, explainer: Explainer, parts: ExplanationArrays) -> None:
        self.explainer, self.parts, self.rows = explainer, parts, rows_to_check(parts)
        self.saved = explainer._saved()
        self.before = parts.values[self.rows]
        self.noun = count(len(self.rows), "row")

    def repeat(self) -> Check:
        """Explain by the same explainer."""
        found = self._values(self.explainer, self.parts.data[self.rows])
        share = float(abs(found - self.before).max()) / (float(abs(self.before).max()) or 1)
        answer = f"{self.noun} explained again: values differ by {percent(share)} of the largest value at most."
        return Check("Do the values come out again?", GOOD if share <= SMALL_DIFFERENCE else LOOK, answer)

    def other_backend(self) -> Check:
        """Explain by another backend."""
        question, own = "Does another method agree?", self.explainer.backend
        name = next(each for each in OTHERS if each != own and not (own in SHAPLEY and each in SHAPLEY))
        try:
            found = self._values(self._made(backend=name, tolerance=None), self.parts.data[self.rows])
        except ShapaeError as error:
            return Check(question, UNKNOWN, clean(f"backend={name!r} can't explain this score: {error}", 300))
        shared, top = _shared(self.before, found)
        rank = _correlation(self.before, found)
        answer = (
            f"By backend={name!r}, {shared} of the {top} most important features of {self.noun} are the same"
            f"{'' if np.isnan(rank) else f'; the rank correlation of all importances is {rank:.2f}'}."
        )
        return Check(question, GOOD if shared >= AGREEING * top else LOOK, answer)

    def halves(self) -> Check:
        """Explain with either half of the background."""
        question, background = "Does another background agree?", self.saved.arguments["background"]
        b = len(background)
        if b < 4:
            return Check(question, UNKNOWN, f"A background of {count(b, 'row')} can't be divided into halves.")
        order = np.random.default_rng(0).permutation(b)
        first, second = (
            self._values(self._made(background=_part(background, half)), self.parts.data[self.rows])
            for half in (np.sort(order[: b // 2]), np.sort(order[b // 2 :]))
        )
        shared, top = _shared(first, second)
        answer = (
            f"With either half of the background, {shared} of the {top} most important features of {self.noun} are the "
            f"same."
        )
        return Check(question, GOOD if shared >= AGREEING * top else LOOK, answer)

    def constant(self) -> Check:
        """Explain with the most important feature at one number, in the rows and in the background."""
        at = int(abs(self.before).mean(axis=(0, 2)).argmax())
        background = self.saved.arguments["background"]
        number = float(np.median(background.rows.values[:, at]))
        data, fixed = self.parts.data[self.rows].copy(), background.rows.values.copy()
        data[:, at] = fixed[:, at] = number
        constant = replace(background, rows=type(background.rows)(fixed, background.rows.names))
        found = abs(self._values(self._made(background=constant), data))
        share = float(found[:, at].max()) / (float(found.max()) or 1)
        answer = (
            f"Control: {clean(self.parts.features[at])} was set to {show(number)} in {self.noun} and in the background."
            f" It then gets {percent(share)} of the largest value at most."
        )
        return Check("Does a constant column get nothing?", GOOD if share <= SMALL_DIFFERENCE else LOOK, answer)

    def _made(self, **changes: Any) -> Explainer:
        """Make the explainer with other arguments."""
        return make_twin(Explainer, replace(self.saved, arguments=self.saved.arguments | changes))

    def _values(self, explainer: Explainer, data: NDArray[Any]) -> NDArray[Any]:
        with ignored_warnings(AdditivityWarning, MemoryWarning):
            return np.reshape(explainer(as_table(self.explainer, data)).values, self.before.shape)


def _part(background: Any, rows: NDArray[np.integer]) -> Any:
    """Take some rows of a background, with their weights."""
    weights = None if background.weights is None else background.weights[rows] / background.weights[rows].mean()
    return replace(background, rows=background.rows.of(rows), weights=weights)


def _sizes(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(abs(values).mean(axis=(0, 2)))


def _shared(one: NDArray[Any], other: NDArray[Any]) -> tuple[int, int]:
    """Count the most important features that two arrays (n, d, k) share, at most a third of all features."""
    top = min(TOP, -(-one.shape[1] // 3))
    tops = [{*np.argsort(-_sizes(values), kind="stable")[:top].tolist()} for values in (one, other)]
    return len(tops[0] & tops[1]), top


def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    sizes = _sizes(one), _sizes(other)
    if len(sizes[0]) < 3 or any(np.ptp(each) == 0 for each in sizes):
        return float("nan")
    return float(spearmanr(*sizes).statistic)
