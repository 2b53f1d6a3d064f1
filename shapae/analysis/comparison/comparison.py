"""Comparison of backends with a reference, and with two controls that must fail."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from torch import nn

from shapae import plots
from shapae.analysis.comparison.evaluation import Evaluation, Evaluator, Setup, describe_failure
from shapae.analysis.comparison.metrics import rank_correlation
from shapae.analysis.comparison.reference import Reference, explain_reference, reference_error
from shapae.backends import Backend, as_backend, named, names
from shapae.errors import DataError, MissingPackage, TooLarge
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.heads.functions import HeadFunction, how_to_choose
from shapae.models.autoencoder import Autoencoder
from shapae.plots._figure import AxesPicture, escape, new_figure, width_of
from shapae.tables.background import read_background
from shapae.tables.table import Table, read_table
from shapae.utils.constraints import CONSTRAINTS, check_arguments, check_optional
from shapae.utils.described import Described, count, shorten
from shapae.utils.kinds import Kind, Several
from shapae.utils.progress import progress_bar

CONSTRAINTS["backends"] = Several(
    Kind((str, Backend), "a backend"), "a name, a backend, or a list of one of them or more", alone=True, least=1
)
CONTROLS = RANDOM, RANDOMIZED = "random values", "randomised weights"
SECONDS, ERROR = "time (s)", "relative error (fraction)"
# Width and height of a panel of a picture in inches, without a legend.
PANEL = (5.5, 4.8)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Described):
    """Evaluations of backends and of two controls: random values, and a model with randomized weights.

    Attributes:
        table: One row for each; units are in the names of the columns. A failed backend has the reason in the column
            "error", and no numbers.
        explanations: Explanations of the backends and controls by name.
        reference: Explanation that the others are compared with.
        reference_name: Backend of the reference.
        agreement: Spearman's correlations over the features, averaged over the rows, of all pairs and the reference.
        deletion: Mean score while the features of the largest values are removed; one column each.
        insertion: Mean score while they are inserted into background rows; one column each.
        reference_check: For some features of a few rows, the value of the reference beside a sampled marginal
            contribution that needs no gradients, in units of the score; None where there is no such check.
    """

    table: pd.DataFrame
    explanations: dict[str, Explanation]
    reference: Explanation
    reference_name: str
    agreement: pd.DataFrame
    deletion: pd.DataFrame
    insertion: pd.DataFrame
    reference_check: pd.DataFrame | None = None

    def _description(self) -> Sequence[str]:
        table = self.table
        failed = table.index[table["error"] != ""]
        ran = table.drop(index=[*failed, *CONTROLS], errors="ignore").sort_values(ERROR)
        closest = [*zip(ran.index, ran[ERROR], ran[SECONDS], strict=True)][:5]
        shape = " rows of ".join(map(str, np.shape(self.reference.data)))
        return [
            f"Comparison of {count(len(table.index.difference([*CONTROLS])), 'backend')} on {shape} features",
            f"reference: {self.reference_name}, relative error {self.reference_error:.2g}",
            *(f"{shorten(str(name))}: error {error:.2g}, {time:.2g} s" for name, error, time in closest),
            f"failed: {', '.join(map(str, failed))}; see .table['error']" if len(failed) else "",
            "next: .table, .best(budget=1), .agreement, .plot()",
        ]

    def _preview(self) -> pd.DataFrame:
        return self.table

    @property
    def reference_error(self) -> float:
        """Norm of the reference's standard errors relative to the norm of its values; NaN if unknown.

        Backends with a smaller relative error can't be distinguished. The error is 0 for a reference that uses every
        background row: its standard errors show the effect of another background, which is the same for all backends.
        """
        return reference_error(self.reference, self.reference_name)

    def best(self, budget: float | None = None) -> str:
        """Find the backend with the smallest relative error within a time budget.

        Args:
            budget: Seconds for all rows; None for no limit.

        Raises:
            DataError: No backend was fast enough, or all of them failed.
        """
        check_optional(budget=budget)
        ran = self.table[(self.table["error"] == "") & ~self.table.index.isin(CONTROLS)]
        if ran.empty:
            raise DataError("all backends failed. See the reasons in comparison.table['error'].")
        fast = ran[ran[SECONDS] <= (np.inf if budget is None else budget)]
        if fast.empty:
            fastest = ran[SECONDS].idxmin()
            raise DataError(
                f"no backend took at most {budget:g} s. The fastest was {fastest}, in {ran[SECONDS].min():.3g} s. Pass "
                f"a larger budget."
            )
        return str(fast[ERROR].idxmin())

    def plot(self) -> Axes:
        """Draw the agreement, the cost, and the scores during the deletion and insertion of features.

        Returns:
            The Axes of the agreement. Its figure, ``.figure``, has the Axes of all four parts, in this order. Nothing
            is shown or saved.
        """
        axes = _four_axes([escape(str(name)) for name in self.agreement])
        costs = self.table.loc[self.table["error"] == "", [SECONDS, ERROR]]
        reference: dict[str, Any] = {"reference": self.reference_name, "reference_error": self.reference_error}
        plots.costs(costs, **reference, controls=CONTROLS, ax=axes[1])
        plots.curves(self.deletion, "removed", controls=CONTROLS, ax=axes[2])
        plots.curves(self.insertion, "put in place", controls=CONTROLS, ax=axes[3])
        # The last one, because the others decide how large its cells are.
        plots.agreement(self.agreement, label="rank correlation of the features, mean over rows", ax=axes[0])
        axes[0].set_title("who agrees with whom: 1.00 is best")
        return axes[0]


def _four_axes(names: Sequence[str]) -> list[Axes]:
    """Create four axes on a new figure, with room for a matrix of ``names`` and for the legends of the others."""
    legend, matrix = width_of(names, 9) + PANEL[0] + 1, 0.5 * len(names) + width_of(names) + 2
    heights = (max(PANEL[1], 0.36 * len(names) + width_of(names) + 1), PANEL[1])
    widths = (max(matrix, legend), legend)
    figure = new_figure(sum(widths), sum(heights))
    grid = figure.add_gridspec(2, 2, width_ratios=widths, height_ratios=heights)
    return [
        figure.add_subplot(grid[0, 0], axes_class=AxesPicture),
        *(figure.add_subplot(grid[each]) for each in ((0, 1), (1, 0), (1, 1))),
    ]


def compare(
    model: nn.Module | Autoencoder,
    background: Any,
    X: Any,
    *,
    head: str | nn.Module | HeadFunction = "reconstruction_error",
    backends: str | Backend | Sequence[str | Backend] | None = None,
    reference: str | Backend | Explanation | None = None,
    tolerance: float = 0.05,
    probes: int = 10,
    top: int = 10,
    n_jobs: int | None = None,
    memory: str | float = "1GB",
    seed: int = 0,
    progress: bool | None = None,
    feature_names: Sequence[str] | None = None,
) -> Comparison:
    """Explain the same rows with several backends, one after the other, and evaluate each of them.

    Memory is measured as in ``analysis.comparison.resources.Usage``. The curves, infidelity, sensitivity and changes
    use ``probes`` rows. The columns of the table are described in docs/guides/backends.md, the
    metrics in ``shapae.metrics``.

    Args:
        model: See ``Explainer``; so are the other settings that are not described here.
        background: (b, d).
        X: (n, d), rows to explain.
        head: Head with one output.
        backends: One or several names of backends, or backends of your own; None for all that take d features and whose
            packages are installed.
        reference: Name of a backend, a backend, or an explanation of the same rows; None for "exact" up to 12 features,
            "coalitions" for more, and "sampling" if the score has no gradients.
        tolerance: Bound on the standard errors of a "coalitions" or "sampling" reference, relative to the largest value
            of the row.
        probes: Number of rows used for the expensive metrics.
        top: Number of most important features per row in the overlap, at most half of all.
        n_jobs: Number of workers of each backend.
        memory: Bound on the memory of each backend.
        seed: Random seed.
        progress: See ``Explainer``.
        feature_names: d names, for a background without names.

    Raises:
        DataError: The head has several outputs, or the reference explains other rows; see also ``Explainer``.
        UnknownName: There is no such backend.
    """
    check_arguments(tolerance=tolerance, probes=probes, top=top, seed=seed, memory=memory)
    check_optional(n_jobs=n_jobs, progress=progress, feature_names=feature_names, backends=backends)
    settings: dict[str, Any] = {"head": head, "n_jobs": n_jobs, "memory": memory, "seed": seed}
    settings["feature_names"] = feature_names
    table = read_table(X, "rows")
    chosen = _by_name(available_backends(table.shape[1]) if backends is None else backends)
    given = [] if reference is None or isinstance(reference, Explanation) else [reference]
    setup, explainer = set_up(model, background, table, [*chosen.values(), *given], settings)
    reference = reference.name if isinstance(reference, Backend) else reference
    found = explain_reference(setup, explainer, reference, tolerance, progress)
    evaluator = Evaluator(setup, explainer, found.explanation, found.finished, probes=probes, top=top)
    return _comparison(_evaluate_all(evaluator, [*chosen], progress), evaluator, found)


def set_up(
    model: nn.Module | Autoencoder, background: Any, table: Table, backends: Sequence[str | Backend], settings: Any
) -> tuple[Setup, Explainer]:
    """Read the tables once, for all backends.

    Args:
        model: See ``compare``.
        background: (b, d).
        table: Rows to explain.
        backends: Names of backends, or backends.
        settings: Settings of the Explainer, except the backend.

    Returns:
        All that the backends share; and an explainer of them.

    Raises:
        DataError: The head has several outputs; see also ``Explainer``.
        UnknownName: There is no such backend.
    """
    data = read_background(background)
    explainer = Explainer(model, data, backend="gradient", **settings)
    _check_one_output(explainer)
    rows = table.tensor(explainer.background, "rows")
    return Setup(model, data, table, rows, _by_name(backends), settings), explainer


def _evaluate_all(evaluator: Evaluator, backends: Sequence[str], progress: bool | None) -> dict[str, Evaluation]:
    """Evaluate the backends and the two controls."""
    evaluations = {
        name: _evaluate(partial(evaluator.backend, name))
        for name in progress_bar(backends, len(backends), progress, "comparing")
    }
    worked = [name for name in backends if evaluations[name].explanation is not None]
    evaluations[RANDOM] = _evaluate(evaluator.random_control)
    evaluations[RANDOMIZED] = (
        _evaluate(partial(evaluator.randomized_weights_control, worked[0]))
        if worked
        else Evaluation({"error": "no backend worked"})
    )
    return evaluations


def _evaluate(evaluation: Callable[[], Evaluation]) -> Evaluation:
    """Run an evaluation; a failure becomes an evaluation with its reason."""
    try:
        return evaluation()
    except Exception as error:  # of any kind: a failure is a result of the comparison
        return Evaluation({"error": describe_failure(error)})


def _comparison(evaluations: dict[str, Evaluation], evaluator: Evaluator, found: Reference) -> Comparison:
    table = pd.DataFrame.from_dict({name: each.row for name, each in evaluations.items()}, orient="index")
    errors = table.pop("error").fillna("") if "error" in table else ""
    explanations = {name: each.explanation for name, each in evaluations.items() if each.explanation is not None}
    fractions = pd.Index(evaluator.counts / evaluator.counts[-1], name="fraction of the features")
    deletion, insertion = (
        pd.DataFrame({name: each.curves[curve] for name, each in evaluations.items() if each.curves}, fractions)
        for curve in range(2)
    )
    reference, name = found.explanation, found.explanation.made_by.get("backend", "given")
    return Comparison(
        table.assign(error=errors).rename_axis("backend"),
        explanations,
        reference,
        name,
        _agreement(explanations, reference, name),
        deletion,
        insertion,
        found.check,
    )


def _agreement(explanations: dict[str, Explanation], reference: Explanation, reference_name: str) -> pd.DataFrame:
    """Tabulate the rank correlations of all pairs of explanations, the reference included."""
    values = {name: each.values for name, each in explanations.items()}
    if not any(each is reference for each in explanations.values()):
        values[f"{reference_name} (reference)"] = reference.values
    correlations = [[rank_correlation(first, second) for second in values.values()] for first in values.values()]
    return pd.DataFrame(correlations, [*values], [*values])


def _by_name(backends: str | Backend | Sequence[str | Backend]) -> dict[str, str | Backend]:
    """Map the names of the backends to the backends.

    Raises:
        DataError: Two different backends have the same name.
    """
    chosen: dict[str, str | Backend] = {}
    for each in [backends] if isinstance(backends, (str, Backend)) else backends:
        with suppress(MissingPackage):  # a failure of the backend, unlike an unknown name, which is a mistake
            as_backend(each)
        name = each.name if isinstance(each, Backend) else each
        if chosen.get(name, each) != each or (isinstance(each, Backend) and name in names()):
            raise DataError(
                f"two backends are called {name!r}, so that their results can't be told apart. Give each object a name "
                f"of its own: backend.name = '{name} 2'."
            )
        chosen[name] = each
    return chosen


def available_backends(features: int) -> list[str]:
    """List the backends that take this number of features and whose packages are installed."""
    return [name for name in names() if _takes(name, features)]


def _takes(backend: str, features: int) -> bool:
    try:
        named(backend).rows_in_memory(1, features)
    except (TooLarge, MissingPackage):
        return False
    return True


def _check_one_output(explainer: Explainer) -> None:
    outputs = explainer.output_names
    if len(outputs) > 1:
        raise DataError(
            f"head={explainer.head!r} has {len(outputs)} outputs. Backends are compared on one output. "
            f"{how_to_choose(explainer.score.head, outputs)}"
        )
