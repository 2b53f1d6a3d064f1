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
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.analysis.ranking.task import Player, RankingTask
from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder
from shapae.models.unwrapping import deep_copy
from shapae.utils.context import eval_mode, preserve_rng
from shapae.utils.parallel import progress_bar

QUANTITIES = ("zero", "shuffle", "drop")
DEFAULT = ("zero",)


def measure(case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
    """Rise of the mean squared error of whole rows, after training a model that does not see the features of a player.

    In each repeat half of the rows, drawn anew, train a copy of the model, with the features and without; the other
    half is rebuilt by both. The features that are not seen are still to be rebuilt, from the others: what others can
    stand in for is not needed. Training starts from the weights of the model, with torch's generators in the same
    state. The copy is in training mode, and what it is called with loses the features on the way in.

    "zero": they are 0, in the units of the rows, so that their weights do nothing: as good as not there. "shuffle":
    they are shuffled in each batch. "drop": ``fit`` is handed rows without their columns, and builds a model of
    ``rows.shape[1]`` features; such models are judged by the features that are left, as only these are rebuilt.

    The standard errors are over the repeats. These have rows in common, so the variance is multiplied by 1 / repeats +
    1, judged rows per training row, instead of 1 / repeats. They are NaN for one repeat.

    Raises:
        ModelError: There is no ``fit``, or it does not train the model that it is handed. What ``fit`` itself raises
            goes on.

    Reference:
        Nadeau and Bengio, 2003, section 3.1, https://doi.org/10.1023/A:1024068626366
    """
    if case.fit is None:
        raise ModelError("retraining needs fit=, a function (model, rows) -> model that trains the model on the rows.")
    kept = case.folder / _fingerprint(case) if case.folder else None
    if "drop" in columns and any(len(player) == case.rows.shape[1] for player in case.players):
        raise ModelError("a group holds all features, so that without it no column is left to train on; split it.")
    wholes = {way: way if way == "drop" else "all" for way in columns}
    tasks: dict[str, tuple[str, Player]] = {whole: (whole, ()) for whole in wholes.values()}
    tasks |= {f"{way}-{at}": (way, player) for way in columns for at, player in enumerate(case.players)}
    jobs = (delayed(_kept)(kept, name, partial(_errors, case, *task)) for name, task in tasks.items())
    done = Parallel(case.n_jobs, return_as="generator")(jobs)
    errors = dict(zip(tasks, progress_bar(done, len(tasks), case.progress, "retraining"), strict=True))
    rises = [[errors[f"{way}-{at}"] - errors[wholes[way]] for way in columns] for at in range(len(case.players))]
    return _over_repeats(np.nanmean(rises, axis=-1), len(case.rows))  # NaN where a column was dropped, and nowhere else


def _over_repeats(rises: NDArray[Any], n: int) -> NDArray[Any]:
    """(..., repeats) -> (..., 2)."""
    repeats, trained = rises.shape[-1], n // 2
    spread = rises.var(axis=-1, ddof=1) if repeats > 1 else np.full(rises.shape[:-1], np.nan)
    return np.stack([rises.mean(axis=-1), np.sqrt((1 / repeats + (n - trained) / trained) * spread)], axis=-1)


def _errors(case: RankingTask, way: str, player: Player) -> NDArray[Any]:
    """(repeats, d): mean squared errors of the features of the rows that are judged; NaN for a dropped feature."""
    errors_of = _without_columns if way == "drop" else partial(_hidden, way=way)
    with torch.no_grad():
        return np.stack([errors_of(case, player, Split(case, repeat)) for repeat in range(case.repeats)])


class Split:
    """Which rows train and which are judged in a repeat: the same for all players."""

    def __init__(self, case: RankingTask, repeat: int) -> None:
        self.rng = np.random.default_rng(np.random.SeedSequence(case.seed, spawn_key=(repeat,)))
        order, self.seed = self.rng.permutation(len(case.rows)), int(self.rng.integers(2**63))
        self.train, self.judge = np.split(order, [len(order) // 2])


def _hidden(case: RankingTask, player: Player, split: Split, *, way: str) -> NDArray[Any]:
    autoencoder = _trained(case, case.rows[split.train], Hidden(case, player, way), split.seed)
    seen, rows = case.rows[split.judge], case.rows[split.judge]
    values = case.rows[split.rng.permutation(split.judge)] if way == "shuffle" else torch.zeros_like(rows)
    seen[:, list(player)] = values[:, list(player)]
    return _judged(autoencoder, seen, autoencoder.target(rows))


def _without_columns(case: RankingTask, player: Player, split: Split) -> NDArray[Any]:
    units, left = case.autoencoder.target(case.rows), np.setdiff1d(np.arange(case.rows.shape[1]), player)
    train, judge = units[split.train][:, left], units[split.judge][:, left]
    narrow, errors = deep_copy(case.autoencoder), np.full(units.shape[1], np.nan)
    narrow.preprocess = nn.Identity()
    try:
        narrow.model = _fitted(case, narrow.model, train, split.seed)
        errors[left] = _judged(narrow, judge, judge)
    except Exception as error:
        error.add_note(f"(for retraining:drop, fit must build a model of rows.shape[1] features, here {len(left)})")
        raise
    return errors


def _judged(autoencoder: Autoencoder, seen: Tensor, wanted: Tensor) -> NDArray[Any]:
    """(d,).

    Raises:
        ModelError: Some are not finite.
    """
    with eval_mode(autoencoder):
        errors = (autoencoder.reconstruct(seen) - wanted).square().mean(dim=0)
    if not errors.isfinite().all():
        raise ModelError("the model that fit returned gives NaN or infinity; train it with smaller steps.")
    return np.asarray(errors.double().cpu())


class Hidden:
    """A hook before the forward of a model, by which it does not see the features of a player.

    Args:
        case: The rows.
        player: The features; none of them for a model that sees all.
        way: "shuffle"; or any other, for 0.
    """

    def __init__(self, case: RankingTask, player: Player, way: str) -> None:
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


def _trained(case: RankingTask, rows: Tensor, hidden: Hidden, seed: int) -> Autoencoder:
    """A copy of the autoencoder, with what ``fit`` makes of its model.

    Raises:
        ModelError: That is no model, or another one.
    """
    twin = deep_copy(case.autoencoder)
    handle = twin.model.register_forward_pre_hook(hidden)
    fitted = _fitted(case, twin.model, twin.target(rows), seed)
    handle.remove()
    if not hidden.calls:
        raise ModelError("fit must train the model that it is handed by calling it, and return it; got another one.")
    twin.model = fitted
    return twin


def _fitted(case: RankingTask, model: nn.Module, rows: Tensor, seed: int) -> nn.Module:
    assert case.fit is not None
    with preserve_rng(rows), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        fitted = case.fit(model.train(), rows.clone())
    if not isinstance(fitted, nn.Module):
        raise ModelError(
            f"fit must train the model that it is handed by calling it, and return it; got {type(fitted).__name__}."
        )
    return fitted


def _kept(folder: Path | None, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
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


def _fingerprint(case: RankingTask) -> str:
    """Of all that the results depend on, but for ``fit``, which has none."""
    settings = ("by feature", case.players, case.repeats, case.seed, case.rows.shape, case.rows.dtype)
    found = hashlib.sha256(repr(settings).encode())
    for tensor in [case.rows, *case.autoencoder.parameters(), *case.autoencoder.buffers()]:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
