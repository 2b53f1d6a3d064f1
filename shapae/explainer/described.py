"""Text forms of explanations, of parts of them, of results of their arithmetic, and of their cohorts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import shap
from numpy.typing import NDArray

from shapae.explainer.record import lines_on_errors
from shapae.utils.described import Described, as_html, as_text, count, largest, made, size_of_residual, some_rows

# Number of features in a table of a notebook.
MOST_FEATURES = 10
# Relative excess over a tolerance that rounding of the standard errors may cause.
ROUNDING = 1e-5


class DescribedExplanation(Described):
    """The text form of an explanation that has all axes of row, feature and output, or some of them."""

    def _description(self) -> Sequence[str]:
        each: Any = self
        values, errors, record = each.values, each.standard_errors, each.made_by
        has_rows = _has_rows(each)
        shown, sure = some_rows(values, errors) if has_rows else (values, errors)
        partly = f" (of {len(shown)} rows)" if has_rows and len(shown) < len(values) else ""
        names, sizes = _sizes(each, shown)
        of_outputs = " for any output" if _names(each.output_names) else ""
        return [
            f"Explanation of {_shape(each, has_rows=has_rows)}",
            made(record),
            *lines_on_errors(shown, sure, record),
            _missed_tolerance(shown, sure, record["tolerance"]) if has_rows and record.get("tolerance") else "",
            size_of_residual(some_rows(each.residual)[0] if np.ndim(each.residual) else each.residual),
            f"largest mean |value|{of_outputs}{partly}: {largest(names, sizes)}" if names and shown.size else "",
            "next: .top(), .to_frame(), .save(folder), shapae.plots.bar(explanation)" if shown.size else "",
        ]

    def _preview(self) -> Any:
        each: Any = self
        shown = some_rows(each.values)[0] if _has_rows(each) else each.values
        names, sizes = _sizes(each, shown)
        if not names or not shown.size:
            return None
        order = np.argsort(-np.nan_to_num(sizes, nan=-1), kind="stable")[:MOST_FEATURES]
        table = _averages(each, np.abs(shown))[order]
        outputs = _names(each.output_names) or [f"mean |value| for {each.output_names}"]
        return pd.DataFrame(table, [names[at] for at in order], outputs)


def _missed_tolerance(values: NDArray[Any], errors: NDArray[Any] | None, tolerance: float) -> str:
    """Say how many rows have standard errors above their tolerance, although all of the background was used."""
    if errors is None or not values.size:
        return ""
    allowed = tolerance * np.abs(values).reshape(len(values), -1).max(axis=1)
    missed = int((errors.reshape(len(values), -1).max(axis=1) > (1 + ROUNDING) * allowed).sum())
    return f"tolerance {tolerance:g}: not met by {missed} of {len(values)} rows" if missed else ""


class Derived(shap.Explanation):  # type: ignore[misc]  # shap has no type hints
    """Result of shap's arithmetic on an explanation, whose values no longer sum to a score."""

    def __copy__(self) -> "Derived":
        new: Derived = super().__copy__()
        new.__class__ = Derived  # shap makes one of its own class
        return new

    def _description(self) -> Sequence[str]:
        names, values = self.feature_names, np.asarray(self.values)
        steps = ".".join(step.name for step in self.op_history)
        known = values.ndim == 1 and isinstance(names, list | np.ndarray) and len(names) == len(values)
        return [
            f"Result of shape {values.shape} of arithmetic on an explanation{f': {steps}' if steps else ''}",
            f"largest: {largest(list(names), values)}" if known else "",
            "next: .values, .feature_names, or a plot of shap",
        ]

    def __repr__(self) -> str:
        return as_text(self._description())

    def _repr_html_(self) -> str:
        return as_html(repr(self))


class DescribedCohorts(shap.Cohorts):  # type: ignore[misc]
    """Cohorts of an explanation; shap's would ask each cohort for its HTML, and take it for an explanation."""

    def __getitem__(self, item: Any) -> "DescribedCohorts":
        return as_cohorts(super().__getitem__(item))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not there, such as the methods that notebooks ask for
            raise AttributeError(name)
        return as_cohorts(super().__getattr__(name))

    def __call__(self, *args: Any, **kwargs: Any) -> "DescribedCohorts":
        """Call the method that was asked for, of each cohort."""
        return as_cohorts(super().__call__(*args, **kwargs))

    def __repr__(self) -> str:
        sizes = [
            f"{name}: {each.shape}" if hasattr(each, "shape") else str(name) for name, each in self.cohorts.items()
        ]
        return as_text([count(len(sizes), "cohort"), *sizes])

    def _repr_html_(self) -> str:
        return as_html(repr(self))


def as_cohorts(cohorts: Any) -> DescribedCohorts:
    """Give cohorts of shap a text form."""
    cohorts.__class__ = DescribedCohorts
    described: DescribedCohorts = cohorts
    return described


def _names(names: Any) -> list[Any]:
    """List the names along an axis; an axis that was indexed away, or a single output, has none."""
    return [] if names is None or isinstance(names, str) else list(names)


def _has_rows(each: Any) -> bool:
    axes = sum(1 for names in (each.feature_names, each.output_names) if not isinstance(names, str))
    return bool(np.ndim(each.values) > axes)


def _shape(each: Any, *, has_rows: bool) -> str:
    rows = count(len(each.values), "row") if has_rows else "one row"
    parts = [rows if has_rows or each.row_names is None else f"row {each.row_names!s}"]
    for noun, names in (("feature", each.feature_names), ("output", each.output_names)):
        parts.append(f"the {noun} {names!r}" if isinstance(names, str) else count(len(names), noun))
    return ", ".join(parts)


def _averages(each: Any, sizes: NDArray[Any]) -> NDArray[Any]:
    """Average sizes over the rows: (d, k), or (d, 1)."""
    mean = sizes.mean(axis=0) if _has_rows(each) else sizes
    return np.asarray(mean).reshape(len(_names(each.feature_names)), -1)


def _sizes(each: Any, values: Any) -> tuple[list[Any], NDArray[Any]]:
    """Compute the largest mean |value| of each feature for any output; no names without an axis of features."""
    names = _names(each.feature_names)
    if not names or not np.size(values):
        return [], np.zeros(0)
    return names, _averages(each, np.abs(values)).max(axis=1)
