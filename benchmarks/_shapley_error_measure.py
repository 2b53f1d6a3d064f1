"""References of the Shapley values, and the errors, seconds and evaluations of methods beside them."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks._shapley_error_methods import GRADIENT, Method
from benchmarks._shapley_error_tasks import Task
from benchmarks._timing import clock
from shapae.backends import Backend, Game, named
from shapae.backends.base import bind
from shapae.backends.exact import MAX_PLAYERS
from shapae.errors import MissingPackage, TooLarge
from shapae.heads.score import Score
from shapae.utils.context import inference_state
from shapae.utils.random import row_seeds

Values = NDArray[np.float64]
SEEDS = 5
LEAST_ROWS = 2
REPEATS = 1 / 3  # part of the allowance of time above which one random seed must do
REFERENCE_SEEDS = (1001, 2002)


@dataclass(frozen=True)
class Reference:
    """Two independent unbiased estimates of the Shapley values, both (n, d); equal if they are exact."""

    one: Values
    other: Values

    def squared_errors(self, values: Values) -> Values:
        """Estimate the relative squared errors (n,) of values (n or fewer, d) without bias; they may be negative."""
        one, other = self.one[: len(values)], self.other[: len(values)]
        found: Values = ((values - one) * (values - other)).sum(axis=1) / (one * other).sum(axis=1)
        return found

    @property
    def noise(self) -> float:
        """Median over the rows of the relative standard error of the mean of both estimates."""
        half = np.linalg.norm(self.one - self.other, axis=1) / 2
        return float(np.median(half / np.linalg.norm((self.one + self.other) / 2, axis=1)))


def reference(task: Task, game: Game, rows: Tensor, folder: Path) -> Reference:
    """Compute or load the reference: exact for few features, else two long runs of ``sampling``."""
    if game.n_features <= MAX_PLAYERS:
        exact = attribution(game, named("exact"))(rows, 0)
        return Reference(exact, exact)
    path = folder / f"{_fingerprint(task, game, rows)}.npz"
    if not path.exists():
        backend = named("sampling")
        backend.n_samples = task.samples
        one, other = (attribution(game, backend)(rows, seed) for seed in REFERENCE_SEEDS)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, one=one, other=other)
    with np.load(path) as arrays:
        return Reference(arrays["one"], arrays["other"])


def _fingerprint(task: Task, game: Game, rows: Tensor) -> str:
    """Name a file by the task, its weights and its rows, so that a reference never meets another game."""
    digest = hashlib.sha256(f"{task.name}, {task.samples}".encode())
    for tensor in (*game.score.state_dict().values(), game.background, rows):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def attribution(game: Game, backend: Backend) -> Callable[[Tensor, int], Values]:
    """Bind a backend: a function from rows (n, d) and a random seed to values (n, d)."""
    bound = bind(backend.for_game(game, None), game)

    def attribute(rows: Tensor, seed: int) -> Values:
        with inference_state(game.score, rows, gradients=True):
            moments = bound(rows, seeds=row_seeds(seed, len(rows)))
        return np.asarray(moments.mean[..., 0], dtype=np.float64)

    return attribute


@contextmanager
def evaluations() -> Iterator[list[int]]:
    """Count the rows that scores are run on inside; a row whose gradient is recorded counts three times."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, Score):
            rows = inputs[0]
            counts.append(len(rows) * (GRADIENT if torch.is_grad_enabled() and rows.requires_grad else 1))

    hook = register_module_forward_pre_hook(count)
    try:
        yield counts
    finally:
        hook.remove()


@dataclass
class Entrant:
    """A method in one task, with its results.

    Attributes:
        method: The method.
        attribute: From rows and a random seed to values.
        evaluations: Number of evaluations for one row.
        rows: Number of rows to explain, as many as fit into the allowance of time.
        seeds: Number of repeats, with different random seeds.
        seconds: CPU seconds per row of each repeat.
        errors: Median over the rows of the relative error, of each repeat.
    """

    method: Method
    attribute: Callable[[Tensor, int], Values]
    evaluations: int
    rows: int
    seeds: int
    seconds: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def repeat(self, rows: Tensor, seed: int, truth: Reference) -> None:
        """Explain the rows once, and keep the seconds and the error."""
        seconds, values = clock(lambda: self.attribute(rows[: self.rows], seed), process_time)
        squares = float(np.median(truth.squared_errors(values)))
        self.seconds.append(seconds / self.rows)
        self.errors.append(max(0.0, squares) ** 0.5)

    def record(self) -> dict[str, Any]:
        """Summarize the repeats: means, and half the width of the 95 % interval over the random seeds."""
        n = len(self.errors)
        width = float(student.ppf(0.975, n - 1) * np.std(self.errors, ddof=1) / n**0.5) if n > 1 else None
        return {
            "method": self.method.name,
            "setting": self.method.setting,
            "error": float(np.mean(self.errors)),
            "half": width if self.method.random and n > 2 else None,
            "seconds": float(np.median(self.seconds)),
            "evaluations": self.evaluations,
            "rows": self.rows,
            "seeds": n if self.method.random else 1,
        }


def enter(method: Method, game: Game, rows: Tensor, *, allowance: float, limit: float) -> Entrant | str:
    """Try a method on one row; return it with its number of rows and repeats, or the reason why it is left out."""
    cost = method.evaluations * seconds_per_evaluation(game, rows)
    if cost > limit:
        return f"would take {cost:.1f} s per row"
    try:
        attribute = attribution(game, method.make())
        with evaluations() as counts:
            seconds, _ = clock(lambda: attribute(rows[:1], 0), process_time)
        if cost < allowance:  # the first run may have compiled something
            seconds, _ = clock(lambda: attribute(rows[:1], 0), process_time)
    except (MissingPackage, TooLarge) as error:
        return str(error)
    except Exception as error:  # any failure of another package is a result
        return f"failed: {type(error).__name__}: {str(error)[:150]}"
    if seconds > limit:
        return f"takes {seconds:.1f} s per row"
    n = min(len(rows), max(LEAST_ROWS, int(allowance / seconds)))
    return Entrant(method, attribute, sum(counts), n, min(SEEDS, max(1, int(REPEATS * allowance / (seconds * n)))))


def compete(
    candidates: list[Method], game: Game, rows: Tensor, truth: Reference, *, allowance: float, limit: float
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Measure all methods in turn, so that a slow minute of the machine affects all of them.

    Args:
        candidates: Methods; those that would take longer than the limit are left out.
        game: The game.
        rows: (n, d).
        truth: Reference of these rows.
        allowance: CPU seconds for a method.
        limit: Largest number of CPU seconds per row.

    Returns:
        Records of the measured methods, and the reasons why other methods are left out.
    """
    entrants, left_out = list[Entrant](), dict[str, str]()
    for method in candidates:
        entered = enter(method, game, rows, allowance=allowance, limit=limit)
        if isinstance(entered, Entrant):
            entrants.append(entered)
        else:
            left_out[f"{method.name}, {method.setting}"] = entered
    for seed in range(SEEDS):
        for entrant in entrants:
            if seed < entrant.seeds:
                entrant.repeat(rows, seed + 1, truth)
    return [entrant.record() for entrant in entrants], left_out


@cache
def seconds_per_evaluation(game: Game, rows: Tensor) -> float:
    """Measure the CPU seconds of one evaluation of the score, in batches of 2000."""
    score = game.score
    assert isinstance(score, Score)
    mixed = game.background.repeat(2000 // len(game.background), 1)
    anchors = (rows[:1].expand(len(mixed), -1),) if score.anchored else ()
    with torch.no_grad():
        score(mixed, *anchors)
        return clock(lambda: score(mixed, *anchors), process_time)[0] / len(mixed)
