"""The affine map of a fitted transformer of scikit-learn; if there is none, the step at fault is named."""

from dataclasses import dataclass
from textwrap import shorten
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor

from shapae.errors import ModelError
from shapae.utils.context import ignored_warnings

# Distance from 0 at which a slope is measured: far enough for columns far from 0, and for clipping to be noticed.
FAR = 1e15
# Numbers that often stand for a missing number, which a transformer may replace.
SENTINELS = (-1, -9, 99, -99, 999, -999, 9999, -9999)
AFFINE = "a shift and a scale of each column by itself"
FILLS_IN = "fills in missing values, so that values would refer to numbers that are not in the table"
# Advice for a ColumnTransformer, some parts of which are scalers, and others not.
SCALE_LAST = (
    " To keep the units of the table, let one transformer fill in and encode, and fit another one that only scales on "
    "its output: Autoencoder(model, preprocess=scaler)."
)


class Line(NamedTuple):
    """The map slope * rows + offset of each column.

    Attributes:
        slope: (d,), not zero.
        offset: (d,).
    """

    slope: NDArray[Any]
    offset: NDArray[Any]


@dataclass(frozen=True)
class Step:
    """A transformer, or a part of one.

    Attributes:
        transformer: The transformer.
        place: Its name in error messages.
        width: Number of its columns; None if that is not known.
        cure: Code that transforms the table outside of the model.
        advice: Further advice.
    """

    transformer: Any
    place: str
    width: int | None
    cure: str = "X = transformer.transform(X); Autoencoder(model)"
    advice: str = ""

    def part(self, role: str, name: str, transformer: Any, cure: str | None = None) -> "Step":
        """Return a part of this transformer."""
        place = f"the {role} {name!r} ({_kind(transformer)}) of {self.place}"
        advice = SCALE_LAST if hasattr(self.transformer, "transformers_") else self.advice
        return Step(transformer, place, _width(transformer) or self.width, cure or self.cure, advice)

    def refuse(self, reason: str) -> NoReturn:
        """Raise an error about this transformer.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            f"{self.place} {reason}. Transform the table first: {self.cure}. Values then refer to the columns of the "
            f"result.{self.advice} Or write it as an nn.Module, preprocess=module."
        )


def affine_map(transformer: Any) -> Line:
    """Measure the map of a fitted transformer, or the composition of the steps of a Pipeline.

    Raises:
        ModelError: A step is not fitted, is not affine, mixes columns or rows, or fills in missing values.
    """
    return _map(Step(transformer, f"the {_kind(transformer)}", _width(transformer)), outermost=True)


def fitted_names(transformer: Any) -> list[str] | None:
    """Return the names of the columns on which ``transformer`` was fitted; None if they had none."""
    names = getattr(transformer, "feature_names_in_", None)
    if names is None:
        steps = _steps(transformer)
        return fitted_names(steps[0][1]) if steps else None
    return [str(name) for name in names]


def _kind(transformer: Any) -> str:
    return transformer.__name__ if isinstance(transformer, type) else type(transformer).__name__


def _steps(transformer: Any) -> list[tuple[str, Any]]:
    """List the steps of a Pipeline, but not those that pass rows through."""
    steps = getattr(transformer, "steps", [])
    return [(name, step) for name, step in steps if not (step is None or step == "passthrough")]


def _width(transformer: Any) -> int | None:
    width = getattr(transformer, "n_features_in_", None)
    widths = [width, *(_width(step) for _, step in _steps(transformer))]
    return next((int(each) for each in widths if each is not None), None)


def _map(step: Step, *, outermost: bool = False) -> Line:
    if hasattr(step.transformer, "steps"):
        return _composition(step, outermost)
    try:
        return _measure(step)
    except ModelError:
        for name, part in _parts(step.transformer):  # an error about a part says more
            _map(step.part("part", name, part))
        raise


def _parts(transformer: Any) -> list[tuple[str, Any]]:
    """List the transformers that a ColumnTransformer or a FeatureUnion runs side by side."""
    parts = getattr(transformer, "transformers_", getattr(transformer, "transformer_list", []))
    return [(name, part) for name, part, *_ in parts if hasattr(part, "transform")]


def _composition(pipeline: Step, outermost: bool) -> Line:
    if not _steps(pipeline.transformer):
        raise ModelError(f"{pipeline.place} has no steps. Leave preprocess= out.")
    slope, offset, steps = np.ones(1), np.zeros(1), pipeline.transformer.steps
    position = {name: place for place, (name, _) in enumerate(steps, start=1)}
    for name, transformer in _steps(pipeline.transformer):
        rest = f", preprocess=pipeline[{position[name]}:]" if position[name] < len(steps) else ""
        cure = f"X = pipeline[:{position[name]}].transform(X); Autoencoder(model{rest})" if outermost else None
        line = _map(pipeline.part("step", name, transformer, cure))
        slope, offset = line.slope * slope, line.slope * offset + line.offset
    return Line(slope, offset)


def _measure(step: Step) -> Line:
    """Measure the slope and the offset of each column, and check them on rows of all sizes.

    Raises:
        ModelError: See ``affine_map``.
    """
    if step.width is None:
        raise ModelError(
            f"{step.place} is not fitted, or has no n_features_in_. Fit it, or give preprocess=(mean, scale)."
        )
    if hasattr(step.transformer, "missing_values"):  # of an imputer
        step.refuse(FILLS_IN)
    probes = _probes(step.width)
    output, alone = _transform(step, probes), _transform(step, probes[-1:])
    if output.shape != probes.shape or alone.shape != probes[-1:].shape:
        columns = output.shape[1] if output.ndim == 2 else "no"
        step.refuse(f"is not {AFFINE}: it returns {columns} columns for {step.width}")
    with np.errstate(all="ignore"):
        line = Line((output[2] - output[1]) / (2 * FAR), output[0])
        affine = line.slope * probes + line.offset
        tolerance = 1e-6 * (np.abs(affine) + np.abs(line.slope))
        near = (np.abs(output - affine) <= tolerance).all() and (np.abs(alone - affine[-1:]) <= tolerance[-1:]).all()
    if not near or (line.slope == 0).any():
        step.refuse(f"is not {AFFINE}")
    if _fills_in(step):
        step.refuse(FILLS_IN)
    return line


def _probes(width: int) -> NDArray[Any]:
    """Rows of many sizes: 0, -FAR and FAR, then others whose columns differ, so that mixed columns are noticed."""
    constant = np.array([0, -FAR, FAR, -1e6, 1e6, *SENTINELS])
    drawn = np.random.default_rng(0).standard_normal((6, width)) * [[FAR], [1e9], [1e3], [1], [1], [1]]
    return np.concatenate([np.repeat(constant[:, None], width, axis=1), drawn])


def _transform(step: Step, rows: NDArray[Any]) -> NDArray[Any]:
    try:
        return _output(step.transformer, rows)
    except Exception as error:
        if type(error).__name__ == "NotFittedError":
            raise ModelError(f"{step.place} is not fitted. Fit it, or give preprocess=(mean, scale).") from error
        message = shorten(f"{type(error).__name__}: {error}", 200)
        return step.refuse(f"is not {AFFINE}: for rows of other numbers it raised {message.rstrip('.')}")


def _output(transformer: Any, rows: NDArray[Any]) -> NDArray[Any]:
    """Transform a copy of ``rows``, in the form in which the transformer was fitted, to a dense array."""
    names = getattr(transformer, "feature_names_in_", None)
    with ignored_warnings(), np.errstate(all="ignore"):
        output = transformer.transform(rows.copy() if names is None else pd.DataFrame(rows.copy(), columns=names))
        if issparse(output):
            output = output.toarray()
        if isinstance(output, Tensor):
            output = output.detach().cpu().double().numpy()
        return np.array(output, dtype=np.float64)


def _fills_in(step: Step) -> bool:
    """Return whether a missing number becomes a number."""
    try:
        return bool(np.isfinite(_output(step.transformer, np.full((1, step.width or 1), np.nan))).any())
    except Exception:  # missing numbers are refused, as in shapae
        return False
