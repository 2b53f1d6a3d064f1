"""Everything that is measured of one backend, beside a reference."""

import warnings
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
from shapae.errors import AdditivityWarning
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.models.autoencoder import Autoencoder, as_autoencoder
from shapae.models.unwrapping import deep_copy
from shapae.tables.background import Background, weighted
from shapae.tables.table import Table
from shapae.utils.context import eval_mode, preserve_rng

# Points of the curves beside the first, and sets of features whose contributions are checked, for each row.
POINTS, SETS = 20, 20
# Ways in which a row is moved, each number by at most this part of its standard deviation over the background.
MOVES, RADIUS = 5, 0.02
# Added to the seed: what another draw changes, and a reference that shares no draws with what it judges.
AGAIN, APART = 1, 2


@dataclass(frozen=True, eq=False)
class Setup:
    """What is explained, whatever the backend.

    Attributes:
        model: The user's.
        background: b rows.
        X: (n, d), with names.
        rows: (n, d), the same as a tensor.
        settings: Of the Explainer, without the backend.
    """

    model: nn.Module
    background: Background
    X: Table
    rows: Tensor
    settings: dict[str, Any]

    def explain(self, backend: str, rows: Any, **changed: Any) -> Explanation:
        """With one backend, and some settings changed; ``model`` and ``background`` among them.

        Values that do not add up are no warning, because their residual is shown.
        """
        given = {"model": self.model, "background": self.background, **self.settings, "progress": False, **changed}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AdditivityWarning)
            return Explainer(backend=backend, **given)(rows)

    def timed(self, backend: str) -> tuple[Usage, Explanation]:
        """All rows, after a first one that is not counted."""
        self.explain(backend, self.rows[:1].cpu().numpy())
        with measure_usage(self.rows.device) as taken:
            explanation = self.explain(backend, self.X)
        return taken, explanation

    @property
    def seed(self) -> int:
        """Of all that is drawn."""
        return int(self.settings["seed"])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came out.

    Attributes:
        row: Names of columns to numbers; or "error" to the reason why there are none.
        explanation: Of all rows; None if it failed.
        curves: Mean scores while features are removed, and while they come.
    """

    row: dict[str, Any]
    explanation: Explanation | None = None
    curves: tuple[NDArray[Any], NDArray[Any]] | None = None


class Evaluator:
    """Measures backends on the same rows.

    Args:
        case: What is explained.
        explainer: Of any backend.
        reference: Of the same rows.
        done: Backends that have explained all rows already, and what that took.
        probes: On so many rows is measured what takes long.
        top: How many features of a row are its most important ones, at most half of all.
    """

    def __init__(
        self,
        case: Setup,
        explainer: Explainer,
        reference: Explanation,
        done: dict[str, tuple[Usage, Explanation]],
        *,
        probes: int,
        top: int,
    ) -> None:
        n, d = case.rows.shape
        self.case, self.reference, self.done, self.top = case, reference, done, min(top, max(1, d // 2))
        self.score, self.background, self.names = explainer.score, explainer.background, explainer.feature_names
        self.weights = case.background.weights
        rng = _generator(case.seed, 0)
        self.probed = np.sort(rng.choice(n, min(probes, n), replace=False))
        self.probes = case.rows[torch.as_tensor(self.probed, device=case.rows.device)]
        self.counts = np.unique(np.linspace(0, d, POINTS + 1).round().astype(int))
        self.removed = _random_subsets(rng, (len(self.probes), SETS, d))
        spread = self.background.std(dim=0, correction=0).cpu().numpy()
        self.moves = rng.uniform(-RADIUS, RADIUS, (MOVES, *self.probes.shape)) * spread

    def backend(self, name: str) -> Evaluation:
        """All that is measured of a backend."""
        taken, explanation = self.done[name] if name in self.done else self.case.timed(name)
        judged = self.given(explanation)
        cost = {"time (s)": taken.seconds, "peak memory (MB)": taken.bytes / 1e6}
        return replace(judged, row=cost | judged.row | self._steadiness(name))

    def random_control(self) -> Evaluation:
        """Of values that are drawn, of the size of the reference's."""
        size = np.sqrt(np.square(self.reference.values).mean())
        drawn = _generator(self.case.seed, 1).standard_normal(self.reference.values.shape)
        return self.given(self._instead(drawn * size))

    def randomized_weights_control(self, backend: str) -> Evaluation:
        """Of the values that a backend gives for a model with other weights."""
        return self.given(self._instead(self.case.explain(backend, self.case.X, model=self._randomized_model).values))

    def given(self, explanation: Explanation) -> Evaluation:
        """What can be measured of values, wherever they are from."""
        values, reference, errors = explanation.values, self.reference.values, explanation.standard_errors
        deletion, insertion = self._curves(values)
        fractions = self.counts / self.counts[-1]
        row = {
            "largest residual (score)": float(np.abs(explanation.residual).max()),
            "mean standard error (score)": float("nan") if errors is None else float(errors.mean()),
            "relative error (fraction)": relative_error(values, reference),
            "rank correlation (-1 to 1)": rank_correlation(values, reference),
            f"top {self.top} overlap (fraction)": overlap(values, reference, self.top),
            "deletion area (score)": area(deletion, fractions),
            "insertion area (score)": area(insertion, fractions),
            "infidelity (score^2)": float(infidelity(values[self.probed], self.removed, self._score_drops).mean()),
        }
        return Evaluation(row, explanation, (deletion, insertion))

    @cached_property
    def _score_drops(self) -> NDArray[Any]:
        """(probes, sets): by how much the score of a row falls when a set of its features is removed."""
        whole = np.ones_like(self.removed[:, :1])
        kept = self._coalition_values(np.concatenate([whole, ~self.removed], axis=1))
        return np.asarray(kept[:, :1] - kept[:, 1:])

    @cached_property
    def _randomized_model(self) -> Autoencoder:
        """The model with other weights."""
        return randomize_weights(self.case.model, self.case.seed)

    def _instead(self, values: NDArray[Any]) -> Explanation:
        """An explanation of the reference's rows with other values."""
        return Explanation(
            values.astype(self.reference.values.dtype),
            self.reference.base_values,
            self.reference.data,
            feature_names=self.reference.feature_names,
            output_names=self.reference.output_names,
            scores=self.reference.scores,
        )

    def _coalition_values(self, coalitions: NDArray[Any]) -> NDArray[Any]:
        """(probes, m): the scores of the probes where only some of their features are there: (probes, m, d)."""
        with eval_mode(self.score), preserve_rng(self.background):
            return worths(self.score.anchored_at, self.probes, self.background, coalitions, self.weights)

    def _curves(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mean score of the probes while features are removed, and while they come: (points,) each."""
        left, came = coalitions_of_order(values[self.probed], self.counts)
        found = self._coalition_values(np.concatenate([left, came], axis=1)).mean(axis=0)
        return found[: len(self.counts)], found[len(self.counts) :]

    def _steadiness(self, backend: str) -> dict[str, float]:
        """How much the values of the probes change when something else changes."""
        probes, seed = self.probes.cpu().numpy(), self.case.seed
        before = self.case.explain(backend, probes).values
        moved = np.stack([
            self.case.explain(backend, (probes + move).astype(probes.dtype)).values for move in self.moves
        ])
        other = self.case.explain(backend, probes, seed=seed + AGAIN).values
        strange = self.case.explain(backend, probes, model=self._randomized_model).values
        return {
            "sensitivity (fraction)": float(sensitivity(before, moved).mean()),
            "change over backgrounds (fraction)": self._over_backgrounds(backend, probes, before),
            "change over seeds (fraction)": relative_error(other, before) / 2**0.5,
            "correlation with randomised weights (-1 to 1)": rank_correlation(strange, before),
        }

    def _over_backgrounds(self, backend: str, probes: NDArray[Any], before: NDArray[Any]) -> float:
        """Standard deviation of the values over backgrounds: half the distance between those of two halves."""
        order = _generator(self.case.seed, 2).permutation(len(self.background))
        if len(order) < 2:
            return float("nan")
        one, other = (
            self.case.explain(backend, probes, background=self._part(half), feature_names=self.names).values
            for half in np.array_split(order, 2)
        )
        return relative_error(before + (one - other) / 2, before)

    def _part(self, chosen: NDArray[Any]) -> Any:
        """Some rows of the background, with their weights."""
        rows = self.background[torch.as_tensor(chosen.copy(), device=self.background.device)]
        return rows if self.weights is None else weighted(rows, self.weights[chosen])


def randomize_weights(model: nn.Module, seed: int) -> Autoencoder:
    """A copy whose weights are drawn anew: normal, and in each tensor as large as they were.

    Reference:
        Adebayo et al., 2018, section 3.1, https://arxiv.org/abs/1810.03292
    """
    copy, generator = deep_copy(as_autoencoder(model)), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(drawn.to(parameter) * parameter.square().mean().sqrt())
    return copy


def _generator(seed: int, which: int) -> np.random.Generator:
    """One of several; none is what a user gets from the same seed, and may have made the data with."""
    return np.random.default_rng([seed, 0x5A9E, which])


def _random_subsets(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Sets of features of any size from one to all, bool."""
    places = rng.random(shape).argsort(axis=2).argsort(axis=2)
    return np.asarray(places < rng.integers(1, shape[2] + 1, size=(*shape[:2], 1)))
