"""Twins of an explainer, made again of its parts, and whether they give the same scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from shapae.errors import ModelError, ReconstructionWarning
from shapae.explainer.binding import CHECKED_ROWS
from shapae.heads.checks import ROUNDING, rounding_tolerance
from shapae.utils.context import ignored_warnings

T = TypeVar("T")
# Advice for models that differ when they are saved, and for those that differ when they are loaded.
WRAPPED = (
    "The factory must set all that is not in the state_dict. If the model was explained in an Autoencoder, let the "
    "factory return it: shapae.Autoencoder(model, preprocess=..., reconstruct=...)."
)
CHANGED = "Look whether the code of the model, of its factory or of the head has changed since. If so, save it again."


@dataclass(frozen=True, eq=False)
class Saved:
    """The parts of an explainer that are saved.

    Attributes:
        arguments: Arguments of ``Explainer`` that make it again.
        scores: (m, k), scores of ``probe_rows``.
        question: Names of the head and of the source, which the scores are of.
        parts: Record of the understanding of the model.
    """

    arguments: dict[str, Any]
    scores: Tensor
    question: tuple[str, ...]
    parts: dict[str, str]


def probe_rows(background: Tensor) -> Tensor:
    """Select rows on which scores are compared: of the background, and mixed from its rows, each column in its range.

    Args:
        background: (b, d).

    Returns:
        (m, d).
    """
    some = background[:CHECKED_ROWS]
    rows, columns = (torch.arange(size, device=some.device) for size in some.shape)
    return torch.cat([some, some.gather(0, (rows[:, None] + columns) % len(some))])


def make_twin(kind: Callable[..., T], saved: Saved) -> T:
    """Make the explainer again, without the warning that was given when it was made at first."""
    with ignored_warnings(ReconstructionWarning):
        return kind(**saved.arguments)


def check_twin(twin: Saved, saved: Saved) -> None:
    """Check that an explainer that was read again is the one that was saved.

    Raises:
        ModelError: It has other scores, or its model is understood in another way.
    """
    eps, rows = torch.finfo(saved.scores.dtype).eps, saved.arguments["background"].rows.values
    tolerance = ROUNDING * eps * _finite(saved.scores).max() + (ROUNDING * eps * abs(rows).max()) ** 2
    _check_scores(twin.scores, saved.scores, tolerance, WRAPPED)
    if twin.parts != saved.parts:
        raise ModelError(
            f"the model of the factory is understood as {twin.parts}, and the model that is saved as {saved.parts}. "
            f"{WRAPPED}"
        )


def check_unchanged(twin: Saved, saved: Saved, eps: float) -> None:
    """Check that a model has the scores that it had when it was saved, maybe on another machine.

    Args:
        twin: The explainer. If its head or its source was changed, there is nothing to compare.
        saved: The explainer that was saved.
        eps: Relative rounding error of the scores.

    Raises:
        ModelError: It has other scores.
    """
    if twin.question == saved.question:
        rows = torch.from_numpy(twin.arguments["background"].rows.values)
        _check_scores(twin.scores, saved.scores, rounding_tolerance(_finite(saved.scores), eps, rows), CHANGED)


def _finite(scores: Tensor) -> Tensor:
    """Return the sizes of finite scores, and 0 for others, which mixed rows may have."""
    return scores.abs().nan_to_num(0, 0, 0)


def _check_scores(found: Tensor, saved: Tensor, tolerance: Tensor, advice: str) -> None:
    if found.shape == saved.shape and found.dtype == saved.dtype:
        if torch.isclose(found, saved, rtol=0, atol=float(tolerance), equal_nan=True).all():
            return
        difference = f"they differ by up to {(found - saved).abs().max().item():.3g}"
    else:
        difference = f"of shape {tuple(found.shape)} and {found.dtype}, not {tuple(saved.shape)} and {saved.dtype}"
    raise ModelError(
        f"with the weights that are saved, the model of the factory has other scores than the model that was "
        f"explained: {difference}. {advice}"
    )
