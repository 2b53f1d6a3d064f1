"""Retraining importance: rise of the error of a model that was trained without a feature."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.analysis.ranking.task import Player, RankingTask
from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder
from shapae.models.unwrapping import deep_copy
from shapae.utils.context import inference_state, seeded
from shapae.utils.parallel import parallel_map
from shapae.utils.random import generator

QUANTITIES = ("zero", "shuffle", "drop")
DEFAULT = ("zero",)


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Measure the rise of the mean squared error of whole rows after training without the features of a player.

    In each repeat, a random half of the rows trains one copy of the model with the features and one without; the other
    half tests both. Hidden features still have to be reconstructed from the others, so a feature with substitutes is
    unimportant. Training starts from the weights of the model, with torch's generators in the same state. The copy is
    in training mode, and a hook hides the features of its input.

    "zero": the features are set to 0, in the units of the rows, so that their weights have no effect. "shuffle": they
    are permuted in each batch. "drop": ``fit`` gets rows without their columns, and builds a model of
    ``rows.shape[1]`` features; only the remaining features are reconstructed and tested.

    The standard errors are over the repeats. The repeats share rows, so the variance is multiplied by 1 / repeats +
    test rows per training row, instead of 1 / repeats. They are NaN for a single repeat.

    Raises:
        ModelError: There is no ``fit``, or it does not train the given model. Exceptions of ``fit`` itself propagate.

    Reference:
        Nadeau and Bengio, 2003, section 3.1, https://doi.org/10.1023/A:1024068626366
    """
    if task.fit is None:
        raise ModelError("retraining needs fit=, a function (model, rows) -> model that trains the model on the rows.")
    d, folder = task.rows.shape[1], task.folder / _fingerprint(task) if task.folder else None
    if "drop" in quantities and any(len(player) == d for player in task.players):
        raise ModelError(f"a group holds all {d} features, so no column is left to train on. Split it, or omit 'drop'.")
    baselines = {mode: mode if mode == "drop" else "all" for mode in quantities}
    runs: dict[str, tuple[str, Player]] = {baseline: (baseline, ()) for baseline in baselines.values()}
    runs |= {f"{mode}-{place}": (mode, player) for mode in quantities for place, player in enumerate(task.players)}
    calls = [(folder, name, partial(_feature_errors, task, *run)) for name, run in runs.items()]
    results = parallel_map(
        _load_or_compute, calls.__getitem__, len(runs), n_jobs=task.n_jobs, progress=task.progress, label="retraining"
    )
    errors = dict(zip(runs, results, strict=True))
    rises = [
        [errors[f"{mode}-{place}"] - errors[baselines[mode]] for mode in quantities]
        for place in range(len(task.players))
    ]
    return _mean_and_error(np.nanmean(rises, axis=-1), len(task.rows))  # NaN marks dropped columns only


def _mean_and_error(rises: NDArray[Any], n: int) -> NDArray[Any]:
    """Average over the repeats: (..., repeats) -> (..., 2)."""
    repeats, training = rises.shape[-1], n // 2
    variance = rises.var(axis=-1, ddof=1) if repeats > 1 else np.full(rises.shape[:-1], np.nan)
    return np.stack([rises.mean(axis=-1), np.sqrt((1 / repeats + (n - training) / training) * variance)], axis=-1)


def _feature_errors(task: RankingTask, mode: str, player: Player) -> NDArray[Any]:
    """Compute the mean squared test errors of the features: (repeats, d); NaN for a dropped feature."""
    errors = _errors_without_columns if mode == "drop" else partial(_errors_with_hidden_features, mode=mode)
    with torch.no_grad():
        return np.stack([errors(task, player, Split(task, repeat)) for repeat in range(task.repeats)])


class Split:
    """Training and test rows of a repeat: the same for all players."""

    def __init__(self, task: RankingTask, repeat: int) -> None:
        self.rng = generator(task.seed, repeat)
        order, self.seed = self.rng.permutation(len(task.rows)), int(self.rng.integers(2**63))
        self.train, self.test = np.split(order, [len(order) // 2])


def _errors_with_hidden_features(task: RankingTask, player: Player, split: Split, *, mode: str) -> NDArray[Any]:
    autoencoder = _retrain(task, task.rows[split.train], HideFeatures(task, player, mode), split.seed)
    inputs, rows = task.rows[split.test], task.rows[split.test]
    values = task.rows[split.rng.permutation(split.test)] if mode == "shuffle" else torch.zeros_like(rows)
    inputs[:, list(player)] = values[:, list(player)]
    return _test_errors(autoencoder, inputs, autoencoder.target(rows))


def _errors_without_columns(task: RankingTask, player: Player, split: Split) -> NDArray[Any]:
    rows, remaining = task.autoencoder.target(task.rows), np.setdiff1d(np.arange(task.rows.shape[1]), player)
    train, test = rows[split.train][:, remaining], rows[split.test][:, remaining]
    narrow, errors = deep_copy(task.autoencoder), np.full(rows.shape[1], np.nan)
    narrow.preprocess = nn.Identity()
    try:
        narrow.model = _run_fit(task, narrow.model, train, split.seed)
        errors[remaining] = _test_errors(narrow, test, test)
    except Exception as error:
        error.add_note(
            f"(for retraining:drop, fit must build a model of rows.shape[1] features, here {len(remaining)})"
        )
        raise
    return errors


def _test_errors(autoencoder: Autoencoder, inputs: Tensor, targets: Tensor) -> NDArray[Any]:
    """Compute the mean squared error of each feature: (d,).

    Raises:
        ModelError: Some errors are not finite.
    """
    with inference_state(autoencoder, inputs):
        errors = (autoencoder.reconstruct(inputs) - targets).square().mean(dim=0)
    if not errors.isfinite().all():
        raise ModelError(
            f"the model that fit returned gives NaN or infinity for {int((~errors.isfinite()).sum())} of {len(errors)} "
            f"features. Train it with a smaller learning rate."
        )
    return np.asarray(errors.double().cpu())


class HideFeatures:
    """Hook before the forward of a model: hides the features of a player from the model.

    Args:
        task: Data and settings.
        player: Features to hide; none for a model with all features.
        mode: "shuffle" to permute the features; any other to set them to 0.
    """

    def __init__(self, task: RankingTask, player: Player, mode: str) -> None:
        self.columns, self.mode, self.calls = list(player), mode, 0
        self.zero = task.autoencoder.target(torch.zeros_like(task.rows[:1]))

    def __call__(self, model: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Hide the features of the first argument.

        Raises:
            ModelError: The first argument is not a table of all features.
        """
        if not arguments or not isinstance(arguments[0], Tensor) or arguments[0].shape[1:] != self.zero.shape[1:]:
            raise ModelError(f"fit must call the model with rows (m, {self.zero.shape[1]}): model(rows).")
        self.calls += 1
        rows, columns = arguments[0].clone(), self.columns
        rows[:, columns] = (rows[torch.randperm(len(rows))] if self.mode == "shuffle" else self.zero)[:, columns]
        return (rows, *arguments[1:])


def _retrain(task: RankingTask, rows: Tensor, hide: HideFeatures, seed: int) -> Autoencoder:
    """Train a copy of the autoencoder with ``fit`` on rows with hidden features.

    Raises:
        ModelError: ``fit`` returns no model, or another model.
    """
    copy = deep_copy(task.autoencoder)
    handle = copy.model.register_forward_pre_hook(hide)
    fitted = _run_fit(task, copy.model, copy.target(rows), seed)
    handle.remove()
    if not hide.calls:
        raise ModelError("fit returned a model without calling the given one. It must train it by model(rows).")
    copy.model = fitted
    return copy


def _run_fit(task: RankingTask, model: nn.Module, rows: Tensor, seed: int) -> nn.Module:
    assert task.fit is not None
    with seeded(seed, rows), torch.inference_mode(False), torch.enable_grad():
        fitted = task.fit(model.train(), rows.clone())
    if not isinstance(fitted, nn.Module):
        raise ModelError(f"fit returned {type(fitted).__name__}. It must return the trained model: return model.")
    return fitted


def _load_or_compute(folder: Path | None, name: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Read the array ``name`` from ``folder`` if an earlier call has written it; otherwise compute and write it.

    A file is renamed when it is complete, so that an interrupted call leaves no incomplete array.
    """
    if folder is None:
        return compute()
    path = folder / f"{name}.npy"
    if not path.exists():
        result = compute()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as file:
            np.save(file, result)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).rename(path)
    return np.asarray(np.load(path, allow_pickle=False))


def _fingerprint(task: RankingTask) -> str:
    """Hash everything that the results depend on, except ``fit``: a function has no reliable hash."""
    settings = ("by feature", task.players, task.repeats, task.seed, task.rows.shape, task.rows.dtype)
    digest = hashlib.sha256(repr(settings).encode())
    for tensor in [task.rows, *task.autoencoder.parameters(), *task.autoencoder.buffers()]:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
