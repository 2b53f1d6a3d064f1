"""Scores as plain modules, and functions that compute their attributions with shapae and with other libraries.

shap and captum are needed; tangermeme and shapiq are left out where they are not installed.
"""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
import shap
import torch
from captum.attr import DeepLiftShap, GradientShap
from numpy.typing import NDArray
from torch import Tensor, nn

import shapae

T = TypeVar("T")
BATCH_ROWS = 2**11  # rows of one call of a score by shapiq


def if_installed(package: str, tools: Mapping[str, T]) -> dict[str, T]:
    """Return the tools of a package; without the package, print a line and return none."""
    if find_spec(package):
        return dict(tools)
    print(f"left out: {', '.join(tools)}: {package} is not installed")
    return {}


class SquaredError(nn.Module):
    """Mean squared reconstruction error, for tools without heads.

    shap attributes it wrongly, because its rules are for modules and the square is a function; the cost is the same.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 1)."""
        return torch.mean((self.model(rows) - rows).square(), dim=1, keepdim=True)


class FeatureErrors(nn.Module):
    """Squared reconstruction error of each feature, for tools without heads; see ``SquaredError``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        errors: Tensor = (self.model(rows) - rows).square()
        return errors


class SumOfOutputs(nn.Module):
    """Sum of the first half of the outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 1)."""
        scores: Tensor = self.model(rows)[:, : rows.shape[1] // 2].sum(1, keepdim=True)
        return scores


class SelectedOutputs(nn.Module):
    """Outputs ``start`` to ``stop - 1`` of a score, for tools without heads."""

    def __init__(self, score: nn.Module, start: int, stop: int) -> None:
        super().__init__()
        self.score, self.start, self.stop = score, start, stop

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, stop - start)."""
        scores: Tensor = self.score(rows)
        return scores[:, self.start : self.stop]


def shapae_values(model: nn.Module, rows: Tensor, background: Tensor, **options: Any) -> Tensor:
    """Compute attributions (n, d) or (n, d, k) with an ``Explainer`` of these ``options``, in one process."""
    explainer = shapae.Explainer(model, background, n_jobs=1, progress=False, **options)
    return torch.as_tensor(explainer(rows).values)


def shap_deep(score: nn.Module, rows: Tensor, background: Tensor) -> Any:
    """Compute attributions (n, d, k) with shap.DeepExplainer."""
    return shap.DeepExplainer(score, background).shap_values(rows, check_additivity=False)


def shap_gradient(score: nn.Module, rows: Tensor, background: Tensor, *, samples: int) -> Any:
    """Compute attributions (n, d, k) with shap.GradientExplainer."""
    return shap.GradientExplainer(score, background).shap_values(rows, nsamples=samples)


def captum_deep(
    score: nn.Module, rows: Tensor, background: Tensor, *, outputs: int = 1, batch: int | None = None
) -> Tensor:
    """Compute attributions (n, d, k) of the first ``outputs`` with captum's DeepLiftShap, in batches of rows."""
    return _captum_values(DeepLiftShap(score), rows, outputs, batch, baselines=background)


def tangermeme_deep(score: nn.Module, rows: Tensor, background: Tensor, *, batch: int | None = None) -> Tensor:
    """Compute attributions (n, d) of a score (n, 1) with tangermeme's deep_lift_shap, in batches of rows.

    tangermeme expects one-hot sequences: a row goes in as one letter, and its multipliers come out for each pair.
    """
    deep_lift_shap, flat = (
        import_module("tangermeme.deep_lift_shap").deep_lift_shap,
        nn.Sequential(nn.Flatten(1), score),
    )
    parts = []
    for part in torch.split(rows, batch or len(rows)):
        references = background[None, :, None].expand(len(part), -1, -1, -1)
        settings = {"batch_size": len(background) * len(part), "device": str(rows.device), "random_state": 0}
        found = deep_lift_shap(flat, part[:, None], references=references, raw_outputs=True, only_warn=True, **settings)
        parts.append((found[:, :, 0].to(rows) * (part[:, None] - background)).mean(dim=1))
    return torch.cat(parts)


def shapiq_values(
    score: nn.Module, row: Tensor, background: Tensor, *, kind: str, budget: int, seed: int, **options: Any
) -> NDArray[Any]:
    """Compute Shapley values (d,), float64, of a score (n, 1) for one row with an approximator of shapiq.

    The game is v(S) = mean over the background of score(x_S, b_rest).

    Args:
        score: Score to explain.
        row: (d,).
        background: (b, d).
        kind: Name of the class in ``shapiq.approximator``.
        budget: Number of coalitions, each of which costs an evaluation per background row.
        seed: Random seed.
        options: Options of the class.
    """
    d, value = len(row), partial(coalition_values, score, row, background)
    approximator = getattr(import_module("shapiq").approximator, kind)(n=d, random_state=seed % 2**31, **options)
    return np.asarray(approximator.approximate(budget=budget, game=value).get_n_order_values(1), dtype=np.float64)


def coalition_values(score: nn.Module, row: Tensor, background: Tensor, coalitions: NDArray[Any]) -> NDArray[Any]:
    """Compute the values (m,) of coalitions (m, d) of the features of ``row``."""
    inside, b = torch.as_tensor(np.atleast_2d(coalitions).astype(bool), device=row.device), len(background)
    few, parts = max(1, BATCH_ROWS // b), []
    with torch.no_grad():
        for some in torch.split(inside, few):
            mixed = torch.where(some[:, None], row, background)
            parts.append(score(mixed.flatten(0, 1)).reshape(len(some), b).mean(dim=1))
    return np.asarray(torch.cat(parts).double().cpu())


def captum_gradient(
    score: nn.Module, rows: Tensor, background: Tensor, *, samples: int, outputs: int = 1, batch: int | None = None
) -> Tensor:
    """Compute attributions (n, d, k) of the first ``outputs`` with captum's GradientShap, in batches of rows."""
    return _captum_values(GradientShap(score), rows, outputs, batch, baselines=background, n_samples=samples)


def _captum_values(method: Any, rows: Tensor, outputs: int, batch: int | None, **options: Any) -> Tensor:
    batches = torch.split(rows, batch or len(rows))
    columns = [
        torch.cat([method.attribute(part, target=output, **options).detach() for part in batches])
        for output in range(outputs)
    ]
    return torch.stack(columns, dim=-1)
