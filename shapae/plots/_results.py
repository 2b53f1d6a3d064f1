"""Results that plots take, and the plots of other results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import shap
from matplotlib.axes import Axes

from shapae.errors import DataError, UnknownName
from shapae.explainer.explanation import Explanation
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.importance import Importance
from shapae.explainer.interactions import Interactions
from shapae.utils.constraints import CONSTRAINTS
from shapae.utils.kinds import Kind


class Drawable:
    """Axes of matplotlib that are on a figure."""

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is Axes, and was not removed from its figure."""
        return isinstance(given, Axes) and given.get_figure() is not None

    def __str__(self) -> str:
        return "matplotlib Axes on a figure, such as plt.subplots()[1]"


@dataclass(frozen=True)
class Frame:
    """A DataFrame with some columns, all others of which are numbers.

    Attributes:
        words: The frame in words.
        columns: Names of columns that it must have.
        width: Number of its columns; None for one or more.
    """

    words: str
    columns: tuple[str, ...] = ()
    width: int | None = None

    def accepts(self, given: Any) -> bool:
        """Return whether ``given`` is such a DataFrame."""
        if not isinstance(given, pd.DataFrame) or not {*self.columns} <= {*given.columns} or given.empty:
            return False
        try:
            given.drop(columns=[*self.columns]).astype(float)
        except (TypeError, ValueError):
            return False
        return self.width in (None, given.shape[1])

    def __str__(self) -> str:
        return self.words


READINGS = ("reading", "expected", "low", "high", "error", "contribution", "reading_text", "expected_text")
# Constraints of arguments of plots, besides those of the table.
CONSTRAINTS |= {
    "ax": Drawable(),
    "clusters": Kind(Mapping, "a dict from names to lists of features"),
    "curves": Frame("a DataFrame of numbers, one column for each curve"),
    "costs": Frame("a DataFrame of two columns of numbers, time and error", width=2),
    "sure": Frame("a DataFrame of truth values"),
}
# Number of standard errors from zero beyond which a mean has a sure direction: two, about 95 % confidence.
SIGNIFICANCE = 2


def check_explanation(result: Any, takes: str = "an Explanation") -> None:
    """Check that a result is an explanation of rows, by shapae or by shap.

    Args:
        result: Any object.
        takes: Results that the plot takes, for the message.

    Raises:
        DataError: It is another one; the plot that takes it is named.
    """
    if not isinstance(result, shap.Explanation):
        raise DataError(f"this plot takes {takes}, got {type(result).__name__}. {remedy(result)}")


def check_grouped(result: Any) -> None:
    """Check that a result has averages over groups of rows.

    Raises:
        DataError: It is another one.
    """
    if not isinstance(result, GroupedImportance):
        rows = isinstance(result, Explanation)
        code = "shapae.GroupedImportance.of(explanation, labels)" if rows else "explainer.summarize(X, by=labels)"
        raise DataError(f"this plot takes averages over groups of rows: {code}. Got {type(result).__name__}.")


def remedy(result: Any) -> str:
    """Name the plot of a result."""
    if isinstance(result, GroupedImportance):
        one = [*result.labels, "label"][0]
        return f"Use shapae.plots.groups(grouped), or the Importance in one group: grouped[{one!r}]."
    if isinstance(result, Importance):
        holds = "An Importance holds averages, and no rows: use shapae.plots.bar(importance)"
        if len(result.output_names) == 1:
            return f"{holds}."
        return f"{holds[:-1]}, output={result.output_names[0]!r}), or shapae.plots.latents(importance) for all outputs."
    if isinstance(result, Interactions):
        return "Use shapae.plots.interactions(interactions), or shapae.plots.interaction_network(interactions)."
    if hasattr(result, "plot") and not isinstance(result, pd.DataFrame | pd.Series):  # a ranking, a comparison
        return "It has a plot of its own: .plot()."
    return "An Explanation is the result of shapae.Explainer(model, background)(X)."


def choose_output(names: Sequence[str], output: str | None, code: str) -> int:
    """Find the position of an output.

    Args:
        names: Names of all outputs.
        output: One of them; None if there is only one.
        code: Code that chooses the output ``{!r}``, for the message.

    Raises:
        DataError: There are several outputs, and none is chosen.
        UnknownName: There is no such output.
    """
    if output is not None and output not in names:
        raise UnknownName("output", output, list(names))
    if output is None and len(names) > 1:
        raise DataError(f"can't plot {len(names)} outputs at once. Choose one, as in {code.format(names[0])}.")
    return 0 if output is None else list(names).index(output)


def select_output(explanation: shap.Explanation, output: str | None) -> shap.Explanation:
    """Select an output of an explanation; None for an explanation of one output, which stays as it is.

    Raises:
        DataError: It is shap's, whose outputs have no names to choose by.
        UnknownName: There is no such output.
    """
    if output is None:
        return explanation
    if not isinstance(explanation, Explanation):
        raise DataError(
            "output= chooses from an Explanation of shapae, got one of shap. Choose by explanation[..., 0]."
        )
    return explanation.output(output)


def check_row_labels(labels: Sequence[Any] | None, count: int) -> None:
    """Check that labels, if there are any, are one for each training row.

    Raises:
        DataError: They are not.
    """
    if labels is not None and len(labels) != count:
        raise DataError(f"there must be one label for each of the {count} training rows, got {len(labels)}.")


def check_has(result: Any, attribute: str, takes: str, call: str) -> None:
    """Check that a result is of a class that this room does not know, by an attribute that no other class has.

    Args:
        result: Any object.
        attribute: The attribute.
        takes: The class, with its article.
        call: Code that makes such a result.

    Raises:
        DataError: It is another result.
    """
    if not hasattr(type(result), attribute):
        raise DataError(f"this plot takes {takes}, got {type(result).__name__}. It is the result of {call}.")


def single(explanation: shap.Explanation, verb: str) -> shap.Explanation:
    """Check that ``explanation`` has one output, and return it.

    Args:
        explanation: Explanation of any number of outputs.
        verb: The verb of the message, for what can't be done with several outputs.

    Raises:
        DataError: It has several outputs; a table of outputs would be taken for rows, or for interaction values.
    """
    if explanation.output_names is None or isinstance(explanation.output_names, str):
        return explanation
    names = list(explanation.output_names)
    raise DataError(
        f"can't {verb} {len(names)} outputs at once. Choose one, as in explanation.output({names[0]!r}), "
        f"or see all outputs with shapae.plots.latents(explanation)."
    )
