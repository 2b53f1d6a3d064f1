"""Checkpoints: the states of a model during its training, and the weights of their gradients."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.errors import DataError, ModelError
from shapae.models.files import read_state
from shapae.utils.kinds import Integer, written
from shapae.utils.text import one_line
from shapae.utils.torch_private import ORIGINAL

# Prefixes that wrappers of torch.compile, DataParallel and Lightning put before the names of parameters.
PREFIXES = (f"{ORIGINAL}.", "module.", "model.")


@dataclass(frozen=True, eq=False)
class Checkpoints:
    """States of a model, of which one is loaded at a time, and their weights.

    Attributes:
        states: state_dicts, or paths of their files; empty for the model as it is.
        weights: One weight for each state, or a single one.
    """

    states: Sequence[Any]
    weights: NDArray[Any]

    def __len__(self) -> int:
        return len(self.weights)

    def load_each(self, model: nn.Module) -> Iterator[float]:
        """Load one state after the other into a copy of the model, and yield their weights.

        Raises:
            ModelError: A state can't be read, or is not of this model.
        """
        if not self.states:
            yield float(self.weights[0])
            return
        for number, (state, weight) in enumerate(zip(self.states, self.weights, strict=True)):
            _load(model, state, number)
            yield float(weight)

    def check(self, model: nn.Module) -> None:
        """Check that each state is of the model, before any work; see ``load_each``."""
        for number, state in enumerate(self.states):
            _check(model, _read(state, number, model), number)


def read_checkpoints(
    checkpoints: Any, learning_rates: Any, n: int, *, steps: Any, batch_size: int | None
) -> Checkpoints:
    """Read the checkpoints and the settings of the training.

    Args:
        checkpoints: None; one state_dict or path; or a sequence of them, in the order of the training.
        learning_rates: A number, or one for each checkpoint.
        n: Number of training rows.
        steps: Number of steps of the optimizer since the checkpoint before, or one for each checkpoint; None to count
            each row once at each checkpoint.
        batch_size: Number of rows in a step; None for all.

    Returns:
        Their weights are learning rate * batch size * steps / n.

    Raises:
        DataError: There is no checkpoint, or there are not as many rates or steps, or some are not positive numbers.
    """
    states = [] if checkpoints is None else _as_list(checkpoints)
    if checkpoints is not None and not states:
        raise DataError("checkpoints is empty. Give at least one state_dict, or None for the model as it is.")
    count = max(1, len(states))
    if batch_size is not None and (steps is None or not Integer(1, n).accepts(batch_size)):
        raise DataError(
            f"batch_size must be a whole number between 1 and the {n} training rows and needs steps=, got "
            f"{written(batch_size)}."
        )
    visits = 1.0 if steps is None else _numbers("steps", steps, count) * (batch_size or n) / n
    return Checkpoints(states, _numbers("learning_rates", learning_rates, count) * visits)


def _as_list(checkpoints: Any) -> list[Any]:
    single = isinstance(checkpoints, Mapping | str | os.PathLike)
    states = [checkpoints] if single or not isinstance(checkpoints, Sequence) else list(checkpoints)
    wrong = [type(each).__name__ for each in states if not isinstance(each, Mapping | str | os.PathLike)]
    if wrong:
        raise DataError(
            f"checkpoints must be state_dicts, or paths of files of state_dicts, got {wrong[0]}. During the training, "
            f"keep copies: checkpoints.append(copy.deepcopy(model.state_dict()))."
        )
    return states


def _numbers(name: str, given: Any, count: int) -> NDArray[Any]:
    try:
        array = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
        numbers = np.broadcast_to(array.astype(np.float64), (count,))
        if array.dtype == bool:
            raise TypeError
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise DataError(
            f"{name} must be a positive number, or one for each of the {count} checkpoints, got {written(given)}."
        )
    return numbers


def _read(state: Any, number: int, model: nn.Module) -> Mapping[str, Tensor]:
    loaded: Mapping[str, Any] = state if isinstance(state, Mapping) else read_state(Path(state))
    nested = loaded.get("state_dict")
    loaded = nested if isinstance(nested, Mapping) else loaded
    known = model.state_dict().keys()
    for prefix in PREFIXES * 2:  # wrappers are put around each other in any order
        if not known & loaded.keys() and all(str(name).startswith(prefix) for name in loaded):
            loaded = {name.removeprefix(prefix): each for name, each in loaded.items()}
    return loaded


def _check(model: nn.Module, state: Mapping[str, Tensor], number: int) -> None:
    own = model.state_dict()
    missing, unexpected = ([*own.keys() - state.keys()], [*state.keys() - own.keys()])
    wrong = [
        f"{name} of shape {tuple(getattr(state[name], 'shape', ()))}, expected {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if isinstance(own[name], Tensor) and getattr(state[name], "shape", None) != own[name].shape
    ]
    if missing or unexpected or wrong:
        raise ModelError(
            f"checkpoint {number} is not of this model: {sorted(missing) or 'nothing'} is missing, "
            f"{sorted(map(str, unexpected)) or 'nothing'} is unexpected, {', '.join(wrong) or 'no shape'} is wrong. "
            f"Give the state_dict of the model itself, as it was during the training."
        )
    bad = [name for name, each in state.items() if isinstance(each, Tensor) and not each.isfinite().all()]
    if bad:
        raise ModelError(f"checkpoint {number} holds NaN or infinity in {', '.join(bad[:8])}. Leave it out.")


def _load(model: nn.Module, state: Any, number: int) -> None:
    loaded = _read(state, number, model)
    _check(model, loaded, number)
    try:
        model.load_state_dict(loaded)
    except RuntimeError as error:
        raise ModelError(f"checkpoint {number} can't be loaded: {one_line(error)}") from error
