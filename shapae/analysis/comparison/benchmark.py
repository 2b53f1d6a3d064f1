"""Benchmark of backends on a user's model and machine: times, residuals and errors of their values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from shapae.analysis.comparison.comparison import ERROR, SECONDS, set_up
from shapae.analysis.comparison.evaluation import Setup, describe_failure
from shapae.analysis.comparison.metrics import relative_error
from shapae.analysis.comparison.reference import explain_reference, reference_error
from shapae.analysis.comparison.resources import Usage, describe_machine
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.heads.functions import HeadFunction
from shapae.models.autoencoder import Autoencoder
from shapae.tables.table import read_table
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.progress import progress_bar

# Backends of shapae, and the corresponding explainers of shap and captum.
FIRST = "deep"
BACKENDS = (FIRST, "coalitions", "gradient", "shap_deep", "shap_gradient", "captum_deep", "captum_gradient_shap")
RATIO, PER_ROW, MEMORY, RESIDUAL = (
    *(f"time / time of {FIRST}", "time per row (s)", "peak memory (MB)", "largest residual (score)"),
)
COLUMNS = [SECONDS, PER_ROW, RATIO, MEMORY, RESIDUAL, ERROR, "error"]
REFERENCE = "reference", "rows of the reference", "relative error of the reference"
# Number of rows, the first ones, whose values are compared with the reference: it takes longer than all backends.
REFERENCE_ROWS = 10


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Times and errors of backends on one model, one table and one machine.

    Attributes:
        table: One row for each backend; units are in the names of the columns. A failed backend has the reason in the
            column "error", and no numbers.
        task: Sizes, settings, the range of the scores, and the reference with its own relative error.
        machine: See ``analysis.comparison.resources.describe_machine``; its load is that before the benchmark.
    """

    table: pd.DataFrame
    task: dict[str, Any]
    machine: dict[str, Any]


def benchmark(
    model: nn.Module | Autoencoder,
    background: Any,
    X: Any,
    *,
    head: str | nn.Module | HeadFunction = "reconstruction_error",
    backends: Sequence[str] | None = None,
    repeats: int = 3,
    tolerance: float = 0.01,
    n_jobs: int | None = None,
    memory: str | float = "1GB",
    seed: int = 0,
    progress: bool | None = None,
) -> Benchmark:
    """Measure backends on the same rows: seconds, residuals, and the errors of the values of some rows.

    All backends run once per repeat, in turn, so that a slow minute of the machine affects all of them. Seconds are
    medians, of calls after a first call on one row. The reference is that of ``compare``, on the first ten rows.

    Args:
        model: See ``Explainer``; so are the other settings that are not described here.
        background: (b, d).
        X: (n, d), rows to explain.
        head: Head with one output.
        backends: Names of backends; None for "deep", "coalitions", "gradient", and those of shap and captum.
        repeats: Number of measured calls of each backend.
        tolerance: Bound on the standard errors of a sampled reference, relative to the largest value of the row.
        n_jobs: Number of workers of each backend.
        memory: Bound on the memory of each backend.
        seed: Random seed.
        progress: See ``Explainer``.

    Raises:
        DataError: The head has several outputs, or ``repeats`` or ``tolerance`` is not positive; see also
            ``Explainer``.
        UnknownName: There is no such backend.
    """
    check_arguments(repeats=repeats, tolerance=tolerance, memory=memory, seed=seed)
    check_optional(n_jobs=n_jobs, progress=progress)
    settings: dict[str, Any] = {"head": head, "n_jobs": n_jobs, "memory": memory, "seed": seed}
    table, names = read_table(X, "rows"), list(dict.fromkeys(backends or BACKENDS))
    setup, explainer = set_up(model, background, table, names, settings)
    machine = describe_machine(setup.rows.device)
    reference, about_reference = _reference(setup, explainer, tolerance, progress)
    found = _measure(setup, repeats, progress)
    rows = {name: _row(each, len(table), reference) for name, each in found.items()}
    scores = explainer.scores(table)
    task = {
        "head": explainer.head,
        "rows": len(table),
        "features": table.shape[1],
        "background rows": len(setup.background),
        "seed": seed,
        "n_jobs": n_jobs,
        "memory": memory,
        "repeats": repeats,
        "range of the scores": float(np.ptp(scores)),
    }
    return Benchmark(_table(rows), task | about_reference, machine)


def _reference(
    setup: Setup, explainer: Explainer, tolerance: float, progress: bool | None
) -> tuple[Explanation | None, dict[str, Any]]:
    """Explain the first rows with the reference; return it, or None after a failure, and a description."""
    m = min(REFERENCE_ROWS, len(setup.rows))
    first = replace(setup, X=setup.X.of(np.arange(m)), rows=setup.rows[:m])
    try:
        explanation = explain_reference(first, explainer, None, tolerance, progress).explanation
    except Exception as error:  # of any kind: the times can be measured without it
        return None, dict(zip(REFERENCE, (f"failed: {describe_failure(error)}", 0, None), strict=True))
    name = explanation.made_by["backend"]
    size = reference_error(explanation, name)
    return explanation, dict(zip(REFERENCE, (name, m, None if np.isnan(size) else size), strict=True))


def _measure(setup: Setup, repeats: int, progress: bool | None) -> dict[str, tuple[list[Usage], Explanation] | str]:
    """Explain all rows with all backends in turn; a backend that fails is left out of later repeats.

    Returns:
        From names to the usage in each repeat and the last explanation, or to the reason of the failure.
    """
    usages: dict[str, list[Usage]] = {name: [] for name in setup.backends}
    found: dict[str, tuple[list[Usage], Explanation] | str] = {}
    runs = [name for _ in range(repeats) for name in setup.backends]
    for name in progress_bar(runs, len(runs), progress, "measuring"):
        if isinstance(found.get(name), str):
            continue
        try:
            usage, explanation = setup.explain_and_measure(name)
        except Exception as error:  # of any kind: a failure is a result of the benchmark
            found[name] = describe_failure(error)
        else:
            usages[name].append(usage)
            found[name] = usages[name], explanation
    return found


def _row(found: tuple[list[Usage], Explanation] | str, n: int, reference: Explanation | None) -> dict[str, Any]:
    """Evaluate one backend."""
    if isinstance(found, str):
        return {"error": found}
    usages, explanation = found
    seconds = float(np.median([usage.seconds for usage in usages]))
    return {
        SECONDS: seconds,
        PER_ROW: seconds / n,
        MEMORY: max(usage.bytes for usage in usages) / 1e6,
        RESIDUAL: float(np.abs(explanation.residual).max()),
        ERROR: np.nan if reference is None else relative_error(explanation.values[: len(reference)], reference.values),
        "error": "",
    }


def _table(rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=COLUMNS)
    if FIRST in table.index:
        table[RATIO] = table[SECONDS] / float(table[SECONDS][FIRST])
    return table.rename_axis("backend")
