"""How much worse the other features are rebuilt by a model that was trained without this one."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import Tensor, nn

from shapae.autoencoder import Autoencoder, as_autoencoder, copied
from shapae.borrow import evaluating, generators
from shapae.errors import ModelError
from shapae.importances import Case, Player
from shapae.moments import Array
from shapae.progress import progressing

COLUMNS = ("zero", "shuffle", "drop")
USUAL = ("zero",)


def measure(case: Case, columns: Sequence[str]) -> Array:
    """Rise of the squared error of the other features, after training without the features of a player.

    In each repeat half of the rows, drawn anew, train a copy of the model, once with all features and once without
    those of each player; the other half is rebuilt by both. Training starts from the weights of the model, with torch's
    generators in the same state. The rise is summed over the other features, and divided by d.

    "zero": the features are 0 in all rows. "shuffle": they are shuffled among the rows. "drop": they are not there:
    ``fit`` is handed rows with fewer columns than the model has, and must build another one.

    The standard errors are over the repeats, which have rows in common: the variance is multiplied by 1 / repeats + 1,
    judged rows per training row, instead of 1 / repeats. They are NaN for one repeat.

    Raises:
        ModelError: There is no ``fit``, or it does not return a model.

    Reference:
        Nadeau and Bengio, 2003, section 3.1, https://doi.org/10.1023/A:1024068626366
    """
    if case.fit is None:
        raise ModelError("retraining needs fit=, a function (model, rows) -> model that trains the model on the rows.")
    kept = case.folder / _fingerprint(case) if case.folder else None
    tasks = [("all", ()), *((f"{way}-{place}", case.players[place]) for way in columns for place in _places(case))]
    jobs = (delayed(_kept)(kept, name, partial(_errors, case, player, name.split("-")[0])) for name, player in tasks)
    done = Parallel(case.n_jobs, return_as="generator")(jobs)
    whole, *without = progressing(done, len(tasks), None, "retraining")
    rises = np.stack([np.nansum(errors - whole, axis=1) / whole.shape[1] for errors in without])
    return _over_repeats(rises, len(case.rows)).reshape(len(columns), len(case.players), 2).swapaxes(0, 1)


def _places(case: Case) -> range:
    return range(len(case.players))


def _over_repeats(rises: Array, n: int) -> Array:
    """(..., R) -> (..., 2)."""
    repeats, trained = rises.shape[-1], n // 2
    spread = rises.var(axis=-1, ddof=1) if repeats > 1 else np.full(rises.shape[:-1], np.nan)
    return np.stack([rises.mean(axis=-1), np.sqrt((1 / repeats + (n - trained) / trained) * spread)], axis=-1)


def _errors(case: Case, player: Player, way: str) -> Array:
    """(repeats, d): mean squared error of each feature; NaN for those of ``player``."""
    return np.stack([_of_repeat(case, player, way, repeat) for repeat in range(case.repeats)])


def _of_repeat(case: Case, player: Player, way: str, repeat: int) -> Array:
    rng = np.random.default_rng(np.random.SeedSequence(case.seed, spawn_key=(repeat,)))
    order, seed = torch.from_numpy(rng.permutation(len(case.rows))), int(rng.integers(2**63))
    others = [j for j in range(case.rows.shape[1]) if j not in {*player}]
    rows = _without(case.rows, player, others, way, rng)
    trained, judged = (rows[half.to(rows.device)] for half in order.tensor_split([len(rows) // 2]))
    found = np.full(case.rows.shape[1], np.nan)
    errors = _rebuilt_by(_trained(case, trained, seed), judged)
    found[others] = errors if way == "drop" else errors[others]
    return found


def _without(rows: Tensor, player: Player, others: list[int], way: str, rng: np.random.Generator) -> Tensor:
    if way == "drop":
        return rows[:, others]
    rows, columns = rows.clone(), list(player)
    shuffle = torch.from_numpy(rng.permutation(len(rows))).to(rows.device)
    rows[:, columns] = rows[shuffle][:, columns] if way == "shuffle" else 0
    return rows


def _trained(case: Case, rows: Tensor, seed: int) -> Autoencoder:
    """A copy of the autoencoder, with what ``fit`` makes of its model.

    Raises:
        ModelError: That is no model.
    """
    assert case.fit is not None
    twin = copied(case.autoencoder)
    with generators(rows), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        fitted = case.fit(twin.model.train(), rows.clone())
    if not isinstance(fitted, nn.Module):
        raise ModelError(f"fit must return the trained model, a torch.nn.Module, got {type(fitted).__name__}.")
    if isinstance(fitted, Autoencoder):
        return as_autoencoder(fitted)
    twin.model = fitted
    return twin


def _rebuilt_by(autoencoder: Autoencoder, rows: Tensor) -> Array:
    """Mean squared error of each feature."""
    with evaluating(autoencoder), torch.no_grad():
        rebuilt = autoencoder.reconstruct(rows.clone())
        return np.asarray((rebuilt - autoencoder.target(rows)).square().mean(dim=0).double().cpu())


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
    for tensor in [case.rows, *case.autoencoder.state_dict().values()]:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
