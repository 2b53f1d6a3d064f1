"""Backends side by side, beside a reference and beside two controls that must fail."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from shapae import plots
from shapae.analysis.comparison.evaluation import APART, Evaluation, Evaluator, Setup
from shapae.analysis.comparison.metrics import rank_correlation
from shapae.analysis.comparison.resources import Usage
from shapae.backends import named, names
from shapae.errors import DataError, MissingPackage, TooLarge
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.models.autoencoder import Autoencoder
from shapae.plots._figure import new_figure
from shapae.tables.background import read_background
from shapae.tables.table import read_table
from shapae.utils.parallel import progress_bar

CONTROLS = RANDOM, RANDOMIZED = "random values", "randomised weights"
# The reference for many features: unbiased, and as sure as is wanted.
SAMPLED = "sampling"
SECONDS, ERROR = "time (s)", "relative error (fraction)"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is known of each backend, and of two controls: values that are drawn, and a model with other weights.

    Attributes:
        table: One row for each; units are in the names of the columns. A backend that failed has the reason in the
            column "error", and nothing else.
        explanations: All that came out, by name; those of the controls, too.
        reference: What the others are compared with.
        reference_name: Its backend.
        agreement: Spearman's correlation of the features, averaged over the rows, of each two and the reference.
        deletion: Mean score while the features of the largest values are removed, one column each.
        insertion: The same while they come, and all others are those of the background.
    """

    table: pd.DataFrame
    explanations: dict[str, Explanation]
    reference: Explanation
    reference_name: str
    agreement: pd.DataFrame
    deletion: pd.DataFrame
    insertion: pd.DataFrame

    @property
    def reference_error(self) -> float:
        """How sure the reference is: the length of its standard errors as a part of that of its values, or NaN.

        Two that differ from it by less can't be told apart. Those of a reference that goes through all of the
        background say how much another background would change, which changes all backends alike: they count 0.
        """
        errors = self.reference.standard_errors
        if self.reference_name in names() and not named(self.reference_name).n_samples:
            return 0.0
        if errors is None:
            return float("nan")
        return float(np.linalg.norm(errors) / np.linalg.norm(self.reference.values))

    def best(self, budget: float | None = None) -> str:
        """The backend that is nearest to the reference, of those that took no longer than the budget.

        Args:
            budget: In seconds, for all rows; None for any.

        Raises:
            DataError: None was as fast, or all of them failed.
        """
        ran = self.table[(self.table["error"] == "") & ~self.table.index.isin(CONTROLS)]
        if ran.empty:
            raise DataError("all backends failed; see the column 'error' of the table.")
        fast = ran[ran[SECONDS] <= (np.inf if budget is None else budget)]
        if fast.empty:
            quickest = ran[SECONDS].idxmin()
            raise DataError(
                f"no backend took at most {budget:g} s; the fastest was {quickest}, in {ran[SECONDS].min():.3g} s."
            )
        return str(fast[ERROR].idxmin())

    def plot(self) -> Figure:
        """How far all agree, what they cost, and the scores while features are removed or come.

        Returns:
            A figure of which pyplot does not know; nothing is shown or saved.
        """
        figure = new_figure(15, 10)
        axes = figure.subplots(2, 2)
        plots.agreement(self.agreement, label="rank correlation of the features, mean over rows", ax=axes[0, 0])
        axes[0, 0].set_title("who agrees with whom: 1.00 is best")
        costs = self.table.loc[self.table["error"] == "", [SECONDS, ERROR]]
        sure: dict[str, Any] = {"reference": self.reference_name, "reference_error": self.reference_error}
        plots.costs(costs, **sure, controls=CONTROLS, ax=axes[0, 1])
        plots.curves(self.deletion, "removed", controls=CONTROLS, ax=axes[1, 0])
        plots.curves(self.insertion, "put in place", controls=CONTROLS, ax=axes[1, 1])
        return figure


def compare(
    model: nn.Module | Autoencoder,
    background: Any,
    X: Any,
    *,
    head: str | nn.Module = "reconstruction_error",
    backends: Sequence[str] | None = None,
    reference: str | Explanation | None = None,
    tolerance: float = 0.05,
    probes: int = 10,
    top: int = 10,
    n_jobs: int | None = None,
    memory: str | float = "1GB",
    seed: int = 0,
    progress: bool | None = None,
    feature_names: Sequence[str] | None = None,
) -> Comparison:
    """Explain the same rows with several backends, one after the other, and measure how well each does.

    Memory is what ``analysis.comparison.resources.Usage`` says. Curves, infidelity, sensitivity and changes are
    measured on ``probes`` rows. What the columns are: see ``shapae.metrics``, and the README.

    Args:
        model: See ``Explainer``; so are the other settings that are not described here.
        background: (b, d).
        X: (n, d), the rows to explain.
        head: With one output.
        backends: Names; None for all that take so many features, and whose libraries are installed.
        reference: The name of a backend, or an explanation of the same rows; None for "exact" up to 12 features, and
            "sampling" for more.
        tolerance: "sampling" as reference draws until the standard errors of a row are at most this part of its
            largest value.
        probes: On so many rows is measured what takes long.
        top: How many features of a row are its most important ones, at most half of all.
        n_jobs: Workers for each backend.
        memory: Bound of each backend.
        seed: Of all that is drawn.
        progress: See ``Explainer``.
        feature_names: d names, for a background that has none.

    Raises:
        DataError: The head has several outputs, or the reference explains other rows; see also ``Explainer``.
        UnknownName: There is no such backend.
    """
    settings: dict[str, Any] = {"head": head, "n_jobs": n_jobs, "memory": memory, "seed": seed}
    settings["feature_names"] = feature_names
    compared, table = read_background(background), read_table(X, "rows")  # once, for all backends
    explainer = Explainer(model, compared, backend="gradient", **settings)
    _check_one_output(explainer)
    rows = table.tensor(explainer.background, "rows")
    case, d = Setup(model, compared, table, rows, settings), rows.shape[1]
    chosen = available_backends(d) if backends is None else [*dict.fromkeys(backends)]
    for name in chosen:
        with suppress(MissingPackage):
            named(name)  # an unknown one is a mistake, not a backend that failed
    done, against = _referred(case, reference or ("exact" if _takes("exact", d) else SAMPLED), tolerance, progress)
    judge = Evaluator(case, explainer, against, done, probes=probes, top=top)
    judged = {
        name: _tried(partial(judge.backend, name)) for name in progress_bar(chosen, len(chosen), progress, "comparing")
    }
    worked = [name for name in chosen if judged[name].explanation is not None]
    judged[RANDOM] = _tried(judge.random_control)
    judged[RANDOMIZED] = (
        _tried(partial(judge.randomized_weights_control, worked[0]))
        if worked
        else Evaluation({"error": "no backend worked"})
    )
    return _comparison(judged, judge)


def _referred(
    case: Setup, reference: str | Explanation, tolerance: float, progress: bool | None
) -> tuple[dict[str, tuple[Usage, Explanation]], Explanation]:
    """Backends that have explained all rows already, and the reference.

    Raises:
        DataError: The reference explains other rows.
    """
    if isinstance(reference, Explanation):
        _check_reference(reference, case.rows.cpu().numpy())
        return {}, reference
    try:
        if reference == SAMPLED:
            seed = case.seed + APART
            return {}, case.explain(reference, case.X, tolerance=tolerance, seed=seed, progress=progress)
        taken, explanation = case.timed(reference)
    except Exception as error:
        error.add_note(f"(this is the reference, {reference!r}, with which all others are to be compared)")
        raise
    return {} if named(reference).n_samples else {reference: (taken, explanation)}, explanation


def _tried(work: Callable[[], Evaluation]) -> Evaluation:
    """What ``work`` finds, or the reason why it finds nothing."""
    try:
        return work()
    except Exception as error:  # whatever it is, it is what this backend has to show
        return Evaluation({"error": " ".join(f"{type(error).__name__}: {error}".split())})


def _comparison(judged: dict[str, Evaluation], judge: Evaluator) -> Comparison:
    table = pd.DataFrame.from_dict({name: each.row for name, each in judged.items()}, orient="index")
    errors = table.pop("error").fillna("") if "error" in table else ""
    explanations = {name: each.explanation for name, each in judged.items() if each.explanation is not None}
    against = judge.reference.made_by.get("backend", "given")
    values = {name: each.values for name, each in explanations.items()}
    if not any(each is judge.reference for each in explanations.values()):
        values[f"{against} (reference)"] = judge.reference.values
    agreement = [[rank_correlation(one, other) for other in values.values()] for one in values.values()]
    fractions = pd.Index(judge.counts / judge.counts[-1], name="fraction of the features")
    curves = [
        pd.DataFrame({name: each.curves[which] for name, each in judged.items() if each.curves}, fractions)
        for which in range(2)
    ]
    return Comparison(
        table.assign(error=errors).rename_axis("backend"),
        explanations,
        judge.reference,
        against,
        pd.DataFrame(agreement, [*values], [*values]),
        *curves,
    )


def available_backends(features: int) -> list[str]:
    """Names of the backends that take so many features, and whose libraries are installed."""
    return [name for name in names() if _takes(name, features)]


def _takes(backend: str, features: int) -> bool:
    try:
        named(backend).rows_in_memory(1, features)
    except (TooLarge, MissingPackage):
        return False
    return True


def _check_one_output(explainer: Explainer) -> None:
    outputs = explainer.score.outputs(explainer.feature_names)
    if len(outputs) > 1:
        raise DataError(
            f"backends are compared on one output, got {len(outputs)} with head={explainer.head!r}; choose one, such "
            f"as head='{explainer.head.partition(':')[0]}:0', which is {outputs[0]!r}."
        )


def _check_reference(reference: Explanation, rows: NDArray[Any]) -> None:
    if np.shape(reference.values) != rows.shape or not np.array_equal(reference.data, rows):
        raise DataError(
            f"the reference must explain one output of the same rows, got values of shape "
            f"{np.shape(reference.values)} where the rows are {rows.shape}; make it with Explainer(model, background, "
            f"head=head, backend='sampling')(X)."
        )
