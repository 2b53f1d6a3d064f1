"""Scores as plain modules, and functions that compute their attributions with shapae, shap and captum."""

from typing import Any

import shap
import torch
from captum.attr import DeepLiftShap, GradientShap
from torch import Tensor, nn

import shapae


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
