"""Evaluation of one backend against a reference."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.analysis.comparison.metrics import (
    area,
    coalitions_of_order,
    infidelity,
    overlap,
    rank_correlation,
    relative_error,
    sensitivity,
    worths,
)
from shapae.analysis.comparison.resources import Usage, measure_usage
from shapae.backends import Backend
from shapae.errors import AdditivityWarning, ModelError, ReconstructionWarning
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.heads.nonfinite import first_in_rows
from shapae.models.adapters import as_autoencoder
from shapae.models.autoencoder import Autoencoder
from shapae.models.unwrapping import deep_copy
from shapae.tables.background import Background, weighted
from shapae.tables.table import Table
from shapae.utils.context import ignored_warnings, inference_state
from shapae.utils.text import one_line

# Number of steps of the deletion and insertion curves, and of random subsets of features per row for the infidelity:
# each costs one pass over the background.
CURVE_STEPS, SUBSETS = 20, 20
# Number of perturbations of a row for the sensitivity, each of which costs one attribution; and their maximum size per
# feature, in standard deviations over the background.
PERTURBATIONS, RADIUS = 5, 0.02
# Offsets of the random seed: for a second run of a backend, and for a reference that shares no samples with it.
SECOND_RUN, REFERENCE_RUN = 1, 2
# Constant entropy mixed into the random seeds: no stream equals that of a user who made the data with the same seed.
ENTROPY = 0x5A9E


@dataclass(frozen=True, eq=False)
class Setup:
    """Model, data and settings that all backends share.

    Attributes:
        model: Model of the user.
        background: b rows.
        X: (n, d), with names.
        rows: (n, d), the values of ``X`` as a tensor.
        backends: The compared backends by name.
        settings: Settings of the Explainer, except the backend.
    """

    model: nn.Module
    background: Background
    X: Table
    rows: Tensor
    backends: Mapping[str, str | Backend]
    settings: dict[str, Any]

    def explain(self, backend: str, rows: Any, **changed: Any) -> Explanation:
        """Explain rows with one backend.

        Args:
            backend: Name of the backend.
            rows: Rows to explain.
            changed: Changed settings, among them ``model`` and ``background``.

        Returns:
            The explanation. A residual is not warned of, because the comparison reports it.
        """
        settings = {"model": self.model, "background": self.background, **self.settings, "progress": False, **changed}
        with ignored_warnings(AdditivityWarning, ReconstructionWarning):  # the first Explainer has said the second
            return Explainer(backend=self.backends.get(backend, backend), **settings)(rows)

    def explain_and_measure(self, backend: str) -> tuple[Usage, Explanation]:
        """Explain all rows and measure the usage, after an unmeasured run on the first row."""
        self.explain(backend, self.rows[:1].cpu().numpy())
        with measure_usage(self.rows.device) as usage:
            explanation = self.explain(backend, self.X)
        return usage, explanation

    @property
    def seed(self) -> int:
        """Random seed."""
        return int(self.settings["seed"])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of one backend or control.

    Attributes:
        row: From names of columns to numbers; or from "error" to the reason of a failure.
        explanation: Explanation of all rows; None after a failure.
        curves: Mean scores during the deletion and during the insertion of features.
    """

    row: dict[str, Any]
    explanation: Explanation | None = None
    curves: tuple[NDArray[Any], NDArray[Any]] | None = None


def describe_failure(error: Exception) -> str:
    """Describe an exception of a backend in one line: a failure is a result."""
    return f"{type(error).__name__}: {one_line(error)}"


class Evaluator:
    """Evaluation of backends on the same rows.

    Args:
        setup: Model, data and settings.
        explainer: Explainer with any backend.
        reference: Explanation of the same rows.
        finished: Usage and explanations of backends that have already explained all rows.
        probes: Number of rows used for the expensive metrics.
        top: Number of most important features per row in the overlap, at most half of all.
    """

    def __init__(
        self,
        setup: Setup,
        explainer: Explainer,
        reference: Explanation,
        finished: dict[str, tuple[Usage, Explanation]],
        *,
        probes: int,
        top: int,
    ) -> None:
        n, d = setup.rows.shape
        self.setup, self.reference, self.finished, self.top = setup, reference, finished, min(top, max(1, d // 2))
        self.score, self.background, self.names = explainer._score, explainer.background, explainer.feature_names
        self.weights = setup.background.weights
        rng = _generator(setup.seed, 0)
        self.probe_positions = np.sort(rng.choice(n, min(probes, n), replace=False))
        self.probes = setup.rows[torch.as_tensor(self.probe_positions, device=setup.rows.device)]
        self.counts = np.unique(np.linspace(0, d, CURVE_STEPS + 1).round().astype(int))
        self.removed = _random_subsets(rng, (len(self.probes), SUBSETS, d))
        deviation = self.background.std(dim=0, correction=0).cpu().numpy()
        self.perturbations = rng.uniform(-RADIUS, RADIUS, (PERTURBATIONS, *self.probes.shape)) * deviation

    def backend(self, name: str) -> Evaluation:
        """Evaluate a backend: usage, metrics of its values, and their stability."""
        usage, explanation = self.finished[name] if name in self.finished else self.setup.explain_and_measure(name)
        evaluation = self.evaluate(explanation)
        cost = {"time (s)": usage.seconds, "peak memory (MB)": usage.bytes / 1e6}
        return replace(evaluation, row=cost | evaluation.row | self._stability(name))

    def random_control(self) -> Evaluation:
        """Evaluate random values, of the size of the reference's values."""
        size = np.sqrt(np.square(self.reference.values).mean())
        values = _generator(self.setup.seed, 1).standard_normal(self.reference.values.shape)
        return self.evaluate(self._with_values(values * size))

    def randomized_weights_control(self, backend: str) -> Evaluation:
        """Evaluate the values of a backend for a model with randomized weights."""
        values = self.setup.explain(backend, self.setup.X, model=self._randomized_model).values
        return self.evaluate(self._with_values(values))

    def evaluate(self, explanation: Explanation) -> Evaluation:
        """Compute all metrics that need only the values, whatever their origin."""
        values, reference, errors = explanation.values, self.reference.values, explanation.standard_errors
        deletion, insertion = self._curves(values)
        fractions, probe_values = self.counts / self.counts[-1], values[self.probe_positions]
        row = {
            "largest residual (score)": float(np.abs(explanation.residual).max()),
            "mean standard error (score)": float("nan") if errors is None else float(errors.mean()),
            "relative error (fraction)": relative_error(values, reference),
            "rank correlation (-1 to 1)": rank_correlation(values, reference),
            f"top {self.top} overlap (fraction)": overlap(values, reference, self.top),
            "deletion area (score)": area(deletion, fractions),
            "insertion area (score)": area(insertion, fractions),
            "infidelity (score^2)": float(infidelity(probe_values, self.removed, self._score_drops).mean()),
        }
        return Evaluation(row, explanation, (deletion, insertion))

    @cached_property
    def _score_drops(self) -> NDArray[Any]:
        """(probes, subsets): fall of a probe's score after the removal of a subset of its features."""
        everything = np.ones_like(self.removed[:, :1])
        scores = self._coalition_values(np.concatenate([everything, ~self.removed], axis=1))
        return np.asarray(scores[:, :1] - scores[:, 1:])

    @cached_property
    def _randomized_model(self) -> Autoencoder:
        """The model with randomized weights."""
        return randomize_weights(self.setup.model, self.setup.seed)

    def _with_values(self, values: NDArray[Any]) -> Explanation:
        """Copy the reference with other values."""
        return Explanation(
            values.astype(self.reference.values.dtype),
            self.reference.base_values,
            self.reference.data,
            feature_names=self.reference.feature_names,
            output_names=self.reference.output_names,
            scores=self.reference.scores,
        )

    def _coalition_values(self, coalitions: NDArray[Any]) -> NDArray[Any]:
        """Compute the worths of coalitions (probes, m, d) of the probes' features: (probes, m).

        Raises:
            ModelError: Some are NaN or infinite.
        """
        with inference_state(self.score, self.background):
            found = worths(self.score.anchored_at, self.probes, self.background, coalitions, self.weights)
            if not np.isfinite(found).all():
                features = torch.arange(self.probes.shape[1], device=self.probes.device)
                raise ModelError(
                    f"scores are NaN or infinite when features are removed, as deletion, insertion and infidelity do. "
                    f"{first_in_rows(self.score, self.probes, self.background, features)}"
                )
        return found

    def _curves(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Compute the probes' mean scores during the deletion and insertion of features: (points,) each."""
        deletion, insertion = coalitions_of_order(values[self.probe_positions], self.counts)
        means = self._coalition_values(np.concatenate([deletion, insertion], axis=1)).mean(axis=0)
        return means[: len(self.counts)], means[len(self.counts) :]

    def _stability(self, backend: str) -> dict[str, float]:
        """Measure the changes of the probes' values after changes of the rows, background, seed and weights."""
        probes, seed = self.probes.cpu().numpy(), self.setup.seed
        values = self.setup.explain(backend, probes).values
        perturbed = np.stack([
            self.setup.explain(backend, (probes + perturbation).astype(probes.dtype)).values
            for perturbation in self.perturbations
        ])
        second = self.setup.explain(backend, probes, seed=seed + SECOND_RUN).values
        randomized = self.setup.explain(backend, probes, model=self._randomized_model).values
        return {
            "sensitivity (fraction)": float(sensitivity(values, perturbed).mean()),
            "change over backgrounds (fraction)": self._background_change(backend, probes, values),
            "change over seeds (fraction)": relative_error(second, values) / 2**0.5,
            "correlation with randomised weights (-1 to 1)": rank_correlation(randomized, values),
        }

    def _background_change(self, backend: str, probes: NDArray[Any], values: NDArray[Any]) -> float:
        """Estimate the standard deviation of the values over backgrounds: half the difference of two halves."""
        order = _generator(self.setup.seed, 2).permutation(len(self.background))
        if len(order) < 2:
            return float("nan")
        first, second = (
            self.setup.explain(backend, probes, background=self._background_rows(half), feature_names=self.names).values
            for half in np.array_split(order, 2)
        )
        return relative_error(values + (first - second) / 2, values)

    def _background_rows(self, positions: NDArray[Any]) -> Any:
        """Select rows of the background, with their weights."""
        rows = self.background[torch.as_tensor(positions.copy(), device=self.background.device)]
        return rows if self.weights is None else weighted(rows, self.weights[positions])


def randomize_weights(model: nn.Module, seed: int) -> Autoencoder:
    """Copy a model with random normal weights, of the same root mean square in each tensor.

    Reference:
        Adebayo et al., 2018, section 3.1, https://arxiv.org/abs/1810.03292
    """
    copy, generator = deep_copy(as_autoencoder(model)), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.model.parameters():
            normal = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(normal.to(parameter) * parameter.square().mean().sqrt())
    return copy


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, ENTROPY, stream])


def _random_subsets(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Draw subsets of features, bool, of uniformly distributed sizes from one to all."""
    ranks = rng.random(shape).argsort(axis=2).argsort(axis=2)
    return np.asarray(ranks < rng.integers(1, shape[2] + 1, size=(*shape[:2], 1)))
