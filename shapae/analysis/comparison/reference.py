"""The reference of a comparison, and a check of sampled references by marginal contributions of a few features."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.analysis.comparison.evaluation import REFERENCE_RUN, Setup
from shapae.analysis.comparison.metrics import worths
from shapae.analysis.comparison.resources import Usage
from shapae.backends import as_backend, named, names
from shapae.backends.exact import MAX_PLAYERS
from shapae.errors import DataError, ModelError, ReferenceWarning
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.utils.context import inference_state

# Default references: up to 12 features; for more, with standard errors as small as requested; and for scores without
# gradients.
EXACT, SURE, WITHOUT_GRADIENTS = "exact", "coalitions", "sampling"
# Numbers of rows, of features of each row, and of pairs of coalitions of each feature in the check of a reference.
CHECKED_ROWS, CHECKED_FEATURES, CHECKED_PAIRS = 3, 4, 16
# Largest difference between a reference and the check, in standard errors, beyond its tolerance.
MAX_DEVIATION = 4


@dataclass(frozen=True, eq=False)
class Reference:
    """The explanation that all others are compared with.

    Attributes:
        explanation: Explanation of all rows.
        finished: Usage and explanations of backends that have thereby explained all rows.
        check: One row for each checked feature of a row: its value, its sampled marginal contribution, and the standard
            error of their difference. None for a reference that is not the default one.
    """

    explanation: Explanation
    finished: dict[str, tuple[Usage, Explanation]]
    check: pd.DataFrame | None = None


def default_reference(features: int) -> str:
    """Choose the backend of the reference for a number of features."""
    return EXACT if features <= MAX_PLAYERS else SURE


def reference_error(reference: Explanation, name: str) -> float:
    """Compute the norm of a reference's standard errors relative to the norm of its values.

    Args:
        reference: Explanation that others are compared with.
        name: Name of its backend.

    Returns:
        0 for a backend that samples nothing; NaN if the standard errors are unknown.
    """
    if name in names() and not named(name).n_samples:
        return 0.0
    errors = reference.standard_errors
    return float("nan") if errors is None else float(np.linalg.norm(errors) / np.linalg.norm(reference.values))


def explain_reference(
    setup: Setup, explainer: Explainer, reference: str | Explanation | None, tolerance: float, progress: bool | None
) -> Reference:
    """Explain all rows with the reference.

    Args:
        setup: Model, data and settings.
        explainer: Explainer with any backend.
        reference: Name of a backend, or an explanation; None for the default.
        tolerance: Bound on the standard errors of a sampled reference.
        progress: See ``Explainer``.

    Raises:
        DataError: The reference explains other rows.
    """
    if isinstance(reference, Explanation):
        _check_rows(reference, setup.rows.cpu().numpy())
        return Reference(reference, {})
    settings = {"tolerance": tolerance, "seed": setup.seed + REFERENCE_RUN, "progress": progress}
    name = reference or default_reference(setup.rows.shape[1])
    try:
        if name in (SURE, WITHOUT_GRADIENTS):
            return _checked(setup, explainer, _explain(setup, name, reference is None, settings), tolerance)
        usage, explanation = setup.explain_and_measure(name)
    except Exception as error:
        error.add_note(f"(this backend is the reference, {name!r}, with which all others are compared)")
        raise
    samples = as_backend(setup.backends.get(name, name)).n_samples
    return Reference(explanation, {} if samples else {name: (usage, explanation)})


def _explain(setup: Setup, name: str, free: bool, settings: dict[str, Any]) -> Explanation:
    """Explain all rows with a sampled reference, or if ``free`` with another one where the score has no gradients.

    Raises:
        ModelError: The score has no gradients, or can't be explained.
    """
    try:
        return setup.explain(name, setup.X, **settings)
    except ModelError:
        if not free or not named(name).needs_gradients:
            raise
        return setup.explain(WITHOUT_GRADIENTS, setup.X, **settings)


def _checked(setup: Setup, explainer: Explainer, explanation: Explanation, tolerance: float) -> Reference:
    """Check a sampled reference by the marginal contributions of the largest features of a few rows."""
    if explanation.made_by["backend"] == WITHOUT_GRADIENTS:
        return Reference(explanation, {})
    values, errors = explanation.values[:CHECKED_ROWS], explanation.standard_errors[:CHECKED_ROWS]
    largest = np.abs(values).argsort(axis=1)[:, : -CHECKED_FEATURES - 1 : -1]
    found, spread = marginal_contributions(explainer, setup, largest)
    at = np.arange(len(largest))[:, None], largest
    table = pd.DataFrame({
        "row": np.repeat(np.arange(len(largest)), largest.shape[1]),
        "feature": np.array(explainer.feature_names, dtype=object)[largest].ravel(),
        "reference (score)": values[at].ravel(),
        "marginal contribution (score)": found.ravel(),
        "standard error (score)": np.sqrt(spread**2 + errors[at] ** 2).ravel(),
    })
    allowed = MAX_DEVIATION * table["standard error (score)"] + tolerance * np.abs(values).max()
    wrong = table[(table["reference (score)"] - table["marginal contribution (score)"]).abs() > allowed]
    if len(wrong):
        warnings.warn(
            f"the reference, {explanation.made_by['backend']!r}, differs from sampled marginal contributions of "
            f"{len(wrong)} of {len(table)} checked features; see comparison.reference_check. Pass "
            f"reference='sampling', which needs no gradients.",
            ReferenceWarning,
            stacklevel=4,
        )
    return Reference(explanation, {}, table)


def marginal_contributions(
    explainer: Explainer, setup: Setup, features: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sample the marginal contributions v(S + i) - v(S) of some features i of the first rows, without gradients.

    Args:
        explainer: Its score and background.
        setup: Rows, weights and random seed.
        features: (n, m), positions of features of the first n rows.

    Returns:
        Shapley values (n, m), and their standard errors over the coalitions.

    Reference:
        Castro, Gomez and Tejada, 2009, Polynomial calculation of the Shapley value based on sampling
    """
    (n, m), d = features.shape, explainer.background.shape[1]
    rng = np.random.default_rng([setup.seed, REFERENCE_RUN])
    share = (np.arange(CHECKED_PAIRS) + rng.random((n, CHECKED_PAIRS))) / (2 * CHECKED_PAIRS)
    members = rng.random((n, CHECKED_PAIRS, d)) < share[:, :, None]
    both = np.stack([members, ~members])[:, :, None]  # (2, n, 1, pairs, d)
    chosen = (np.arange(d) == features[:, :, None])[:, :, None]  # (n, m, 1, d)
    coalitions = np.stack([both | chosen, both & ~chosen]).transpose(2, 0, 1, 3, 4, 5)  # (n, 2, 2, m, pairs, d)
    with inference_state(explainer._score, explainer.background):
        flat = coalitions.reshape(n, -1, d)
        found = worths(
            explainer._score.anchored_at, setup.rows[:n], explainer.background, flat, setup.background.weights
        )
    with_feature, without = found.reshape(n, 2, 2, m, CHECKED_PAIRS).swapaxes(0, 1)
    gains = (with_feature - without).mean(axis=1)
    return gains.mean(axis=2), gains.std(axis=2, ddof=1) / CHECKED_PAIRS**0.5


def _check_rows(reference: Explanation, rows: NDArray[Any]) -> None:
    if np.shape(reference.values) != rows.shape or not np.array_equal(reference.data, rows):
        raise DataError(
            f"the reference explains other rows or several outputs: its values have shape "
            f"{np.shape(reference.values)}, the rows {rows.shape}. It must explain one output of the same rows. Pass "
            f"reference=Explainer(model, background, head=head, backend='sampling')(X)."
        )
