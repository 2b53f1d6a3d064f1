"""How much worse the rows are rebuilt by a model that was trained without a feature."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import Tensor, nn

from shapae.autoencoder import Autoencoder
from shapae.borrow import evaluating, generators
from shapae.errors import ModelError
from shapae.importances import Case, Player
from shapae.moments import Array
from shapae.progress import progressing
from shapae.unwrap import copied

COLUMNS = ("zero", "shuffle")
USUAL = ("zero",)


def measure(case: Case, columns: Sequence[str]) -> Array:
    """Rise of the mean squared error of whole rows, after training a model that does not see the features of a player.

    In each repeat half of the rows, drawn anew, train a copy of the model, with the features and without; the other
    half is rebuilt by both. The features that are not seen are still to be rebuilt, from the others: what others can
    stand in for is not needed. Training starts from the weights of the model, with torch's generators in the same
    state. The copy is in training mode, and what it is called with loses the features on the way in.

    "zero": they are 0, in the units of the rows, so that their weights do nothing: as good as not there. "shuffle":
    they are shuffled in each batch.

    The standard errors are over the repeats. These have rows in common, so the variance is multiplied by 1 / repeats +
    1, judged rows per training row, instead of 1 / repeats. They are NaN for one repeat.

    Raises:
        ModelError: There is no ``fit``, or it does not train the model that it is handed.

    Reference:
        Nadeau and Bengio, 2003, section 3.1, https://doi.org/10.1023/A:1024068626366
    """
    if case.fit is None:
        raise ModelError("retraining needs fit=, a function (model, rows) -> model that trains the model on the rows.")
    kept = case.folder / _fingerprint(case) if case.folder else None
    tasks = [("all", ()), *((f"{way}-{at}", player) for way in columns for at, player in enumerate(case.players))]
    jobs = (delayed(_kept)(kept, name, partial(_errors, case, player, name.split("-")[0])) for name, player in tasks)
    done = Parallel(case.n_jobs, return_as="generator")(jobs)
    whole, *without = progressing(done, len(tasks), None, "retraining")
    rises = _over_repeats(np.stack(without) - whole, len(case.rows))
    return rises.reshape(len(columns), len(case.players), 2).swapaxes(0, 1)


def _over_repeats(rises: Array, n: int) -> Array:
    """(..., repeats) -> (..., 2)."""
    repeats, trained = rises.shape[-1], n // 2
    spread = rises.var(axis=-1, ddof=1) if repeats > 1 else np.full(rises.shape[:-1], np.nan)
    return np.stack([rises.mean(axis=-1), np.sqrt((1 / repeats + (n - trained) / trained) * spread)], axis=-1)


def _errors(case: Case, player: Player, way: str) -> Array:
    """(repeats,): mean squared errors of the rows that are judged."""
    return np.array([_of_repeat(case, player, way, repeat) for repeat in range(case.repeats)])


def _of_repeat(case: Case, player: Player, way: str, repeat: int) -> float:
    rng = np.random.default_rng(np.random.SeedSequence(case.seed, spawn_key=(repeat,)))
    order, seed = rng.permutation(len(case.rows)), int(rng.integers(2**63))
    train, judge = np.split(order, [len(order) // 2])
    autoencoder = _trained(case, case.rows[train], Hidden(case, player, way), seed)
    values = case.rows[rng.permutation(judge)] if way == "shuffle" else torch.zeros_like(case.rows[judge])
    seen, rows = case.rows[judge], case.rows[judge]
    seen[:, list(player)] = values[:, list(player)]
    with evaluating(autoencoder), torch.no_grad():
        return float((autoencoder.reconstruct(seen) - autoencoder.target(rows)).square().mean())


class Hidden:
    """A hook before the forward of a model, by which it does not see the features of a player.

    Args:
        case: The rows.
        player: The features; none of them for a model that sees all.
        way: "zero" or "shuffle".
    """

    def __init__(self, case: Case, player: Player, way: str) -> None:
        self.columns, self.way, self.calls = list(player), way, 0
        self.zero = case.autoencoder.target(torch.zeros_like(case.rows[:1]))

    def __call__(self, model: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take the features from the first argument.

        Raises:
            ModelError: That is no table of the features.
        """
        if not given or not isinstance(given[0], Tensor) or given[0].shape[1:] != self.zero.shape[1:]:
            raise ModelError(f"fit must call the model with rows (m, {self.zero.shape[1]}): model(rows).")
        self.calls += 1
        rows, columns = given[0].clone(), self.columns
        rows[:, columns] = (rows[torch.randperm(len(rows))] if self.way == "shuffle" else self.zero)[:, columns]
        return (rows, *given[1:])


def _trained(case: Case, rows: Tensor, hidden: Hidden, seed: int) -> Autoencoder:
    """A copy of the autoencoder, with what ``fit`` makes of its model.

    Raises:
        ModelError: That is no model, or another one.
    """
    assert case.fit is not None
    twin = copied(case.autoencoder)
    handle = twin.model.register_forward_pre_hook(hidden)
    with generators(rows), torch.inference_mode(False):
        torch.manual_seed(seed)
        units = twin.target(rows).clone()
        with torch.enable_grad():
            fitted = case.fit(twin.model.train(), units)
    handle.remove()
    if not isinstance(fitted, nn.Module) or not hidden.calls:
        got = "another one" if isinstance(fitted, nn.Module) else type(fitted).__name__
        raise ModelError(f"fit must train the model that it is handed by calling it, and return it; got {got}.")
    twin.model = fitted
    return twin


def _kept(folder: Path | None, name: str, make: Callable[[], Array]) -> Array:
    """What ``make`` makes; read instead, if an earlier call has left it in ``folder``.

    A file gets its name when it is whole, so that a call that is killed leaves none that is not.
    """
    if folder is None:
        return make()
    path = folder / f"{name}.npy"
    if not path.exists():
        made = make()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as file:
            np.save(file, made)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).rename(path)
    return np.asarray(np.load(path, allow_pickle=False))


def _fingerprint(case: Case) -> str:
    """Of all that the results depend on, but for ``fit``, which has none."""
    found = hashlib.sha256(repr((case.players, case.repeats, case.seed, case.rows.shape, case.rows.dtype)).encode())
    for tensor in [case.rows, *case.autoencoder.parameters(), *case.autoencoder.buffers()]:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
