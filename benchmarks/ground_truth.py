"""Who finds the truth? Backends, rankings, raw feature errors and chance, on tasks whose truth is known.

``python -m benchmarks.ground_truth [--seeds 20] [--rows 12] [--background 30] [--jobs 2] [--backends deep exact ...]``

Of each row: AUROC of |value| for the features that matter; where faults are planted, hits at 1 and the mean reciprocal
rank of the largest values, because a fault raises the error; and the relative error to the exact values, by their
closed form or by enumeration. Of all rows together: AUROC of mean |value|; and of what ``shapae.rank_features`` says,
where what matters is what the model uses at all. Means over the seeds, each with its own data and weights, with 95 %
intervals of Student's t.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import nn

import shapae
from benchmarks import save
from shapae import backends, datasets
from shapae.analysis.comparison.metrics import auroc, reciprocal_rank, relative_error
from shapae.datasets import Faults
from shapae.datasets.synthetic import EncoderDecoder
from shapae.errors import TooLarge
from shapae.utils.context import preserve_rng

RANKED = 100  # rows for rankings
RANDOM, RAW = "random", "raw feature error"
AUROC, OVERALL = "AUROC", "AUROC of all rows together"
FAILURE = "failure"
HITS, RANK, ERROR = "hits at 1", "mean reciprocal rank", "relative error to exact"


@dataclass(frozen=True, eq=False)
class Task:
    """What is explained, and the truth of it.

    Attributes:
        model: In eval mode.
        background: (b, d).
        X: (n, d).
        head: With one output.
        truth: (n, d), bool. The features that matter.
        exact: (n, d), the Shapley values; None where they are not known.
        faults: What matters is what is wrong, and differs from row to row.
        ranked: More rows, where what matters is what the model uses at all, so that rankings, which know no head, can
            be asked, too.
    """

    model: nn.Module
    background: pd.DataFrame
    X: pd.DataFrame
    head: str
    truth: NDArray[Any]
    exact: NDArray[Any] | None = None
    faults: bool = False
    ranked: pd.DataFrame | None = None


def linear(seed: int, n: int, b: int) -> Task:
    """Features that a linear autoencoder rebuilds badly, among others that it passes through; in closed form."""
    known = datasets.linear_autoencoder(n + b, seed=seed)
    X, background = known.X[:n], known.X[n:]
    exact = known.error_values(X.to_numpy(), background.to_numpy())
    return Task(known.model, background, X, "reconstruction_error", np.tile(known.matters, (n, 1)), exact)


def block_latent(seed: int, n: int, b: int) -> Task:
    """The features that a latent is read from, all of which correlate with all others."""
    known = datasets.block_autoencoder(n + b, seed=seed)
    truth = np.tile(known.latents.iloc[0], (n, 1))
    return _enumerated(Task(known.model, known.X[n:], known.X[:n], "latent:0", truth))


def block_output(seed: int, n: int, b: int) -> Task:
    """The features that a reconstructed feature depends on."""
    known = datasets.block_autoencoder(n + b, seed=seed)
    truth = np.tile(known.outputs.iloc[0], (n, 1))
    return _enumerated(Task(known.model, known.X[n:], known.X[:n], "reconstruction:feature 0", truth))


def block_use(seed: int, n: int, b: int) -> Task:
    """The features that any latent is read from; the others are rebuilt as a constant."""
    known = datasets.block_autoencoder(n + b + RANKED, seed=seed)
    truth = np.tile(known.latents.any(), (n, 1))
    X, background, ranked = known.X[:n], known.X[n : n + b], known.X[n + b :]
    return _enumerated(Task(known.model, background, X, "latent_norm", truth, ranked=ranked))


def genes(seed: int, n: int, b: int) -> Task:
    """Genes that follow a module, five of them twice, among genes that follow nothing; of a trained autoencoder."""
    known = datasets.gene_modules(400 + n + RANKED, 40, modules=5, duplicates=5, seed=seed)
    train, X, ranked = known.X[:400], known.X[400 : 400 + n], known.X[400 + n :]
    truth = np.tile(known.drives.any(), (n, 1))
    return Task(trained(train, 5, seed), train[:b], X, "latent_norm", truth, ranked=ranked)


def sensors(seed: int, n: int, b: int) -> Task:
    """One to three shifted sensors of ten, in a row."""
    return _of_faults(datasets.sensors(500, 10, faulty=n, seed=seed), seed, b)


def transactions(seed: int, n: int, b: int) -> Task:
    """One to three wrong fields of five, numbers and categories."""
    return _of_faults(datasets.transactions(500, faulty=n, seed=seed), seed, b)


TASKS: dict[str, Callable[[int, int, int], Task]] = {
    "linear autoencoder, error": linear,
    "block decoder, a latent": block_latent,
    "block decoder, an output": block_output,
    "block decoder, latent norm": block_use,
    "gene modules, latent norm": genes,
    "sensors, planted faults": sensors,
    "transactions, planted faults": transactions,
}


def _of_faults(faults: Faults, seed: int, b: int) -> Task:
    model, truth = trained(faults.normal, 3, seed), faults.faulty.to_numpy()
    return _enumerated(Task(model, faults.normal[:b], faults.X, "reconstruction_error", truth, faults=True))


def _enumerated(task: Task) -> Task:
    """The same with its exact values."""
    values = explained(task, "exact", 0)
    return Task(**(vars(task) | {"exact": values}))


def trained(X: pd.DataFrame, latents: int, seed: int, *, steps: int = 400) -> EncoderDecoder:
    """An autoencoder of one hidden layer on each side, after so many steps on all rows."""
    rows, d = torch.tensor(X.to_numpy()), X.shape[1]
    with preserve_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, latents))
        model = EncoderDecoder(encoder, nn.Sequential(nn.Linear(latents, 2 * d), nn.ReLU(), nn.Linear(2 * d, d)))
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(model(rows), rows))
            optimizer.step()
    return model.eval()


def explained(task: Task, backend: str, seed: int) -> NDArray[Any]:
    """(n, d)."""
    explainer = shapae.Explainer(
        task.model, task.background, head=task.head, backend=backend, n_jobs=1, seed=seed, progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(explainer(task.X).values)


def methods(task: Task, chosen: list[str], seed: int) -> Iterator[tuple[str, NDArray[Any] | str]]:
    """Names and values (n, d); or the reason why there are none."""
    for backend in chosen:
        try:
            yield backend, explained(task, backend, seed)
        except TooLarge:
            continue
        except Exception as error:  # whatever it is, it is the result
            yield backend, f"{type(error).__name__}: {error}"
    rows = torch.tensor(task.X.to_numpy())
    with torch.no_grad():
        yield RAW, (task.model(rows) - rows).square().numpy()
    yield RANDOM, np.random.default_rng([seed, 1]).standard_normal(task.X.shape)  # not the draws of the data


def rankings(task: Task, seed: int) -> dict[str, NDArray[Any] | str]:
    """Names and importances (d,) of what ranks the features of many rows together."""
    if task.ranked is None:
        return {}
    try:
        table = shapae.rank_features(task.model, task.ranked, background=task.background, seed=seed).table
    except Exception as error:  # whatever it is, it is the result
        return {"rank_features": f"{type(error).__name__}: {error}"}
    return {f"rank_features: {name}": table[name].reindex(task.X.columns).to_numpy() for name in table}


def measured(task: Task, method: str, values: NDArray[Any]) -> dict[str, float]:
    """Of one method."""
    found = {AUROC: float(np.nanmean(auroc(np.abs(values), task.truth)))}
    if task.faults:
        ranks = reciprocal_rank(values, task.truth)
        found |= {HITS: float((ranks == 1).mean()), RANK: float(ranks.mean())}
    else:
        found |= overall(task, np.abs(values).mean(axis=0))
    if task.exact is not None and method not in (RAW, RANDOM):  # which are no contributions to the score
        found[ERROR] = relative_error(values, task.exact)
    return found


def overall(task: Task, importances: NDArray[Any]) -> dict[str, float]:
    """Of one number for each feature, (d,)."""
    return {OVERALL: float(auroc(importances[None], task.truth[:1])[0])}


def of_one_seed(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Records of task, method, measure and value; a failure is a measure, too."""
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for name, make in TASKS.items():
        task = make(seed, options.rows, options.background)
        told = {
            method: {FAILURE: values} if isinstance(values, str) else measured(task, method, values)
            for method, values in methods(task, options.backends, seed)
        }
        ranked = rankings(task, seed)
        told |= {key: {FAILURE: each} if isinstance(each, str) else overall(task, each) for key, each in ranked.items()}
        found += [
            {"task": name, "method": method, "measure": measure, "value": value}
            for method, numbers in told.items()
            for measure, value in numbers.items()
        ]
    return found


def interval(values: pd.Series) -> dict[str, float]:
    """Mean over the seeds, and half the width of its interval."""
    error = values.std() / len(values) ** 0.5
    return {"mean": values.mean(), "half": float(student.ppf(0.975, len(values) - 1) * error), "seeds": len(values)}


def show(task: str, found: pd.DataFrame) -> None:
    """Print the table of one task."""
    measures = [each for each in (AUROC, OVERALL, HITS, RANK, ERROR) if each in set(found["measure"])]
    print(f"\n| {task} | {' | '.join(measures)} |\n|---|{'---|' * len(measures)}")
    for method, rows in found.groupby("method", sort=False):
        cells = {row.measure: f"{row.mean:.3f} ± {row.half:.3f}" for row in rows.itertuples()}
        print(f"| {method} | {' | '.join(cells.get(each, '') for each in measures)} |")


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    for name, default in {"seeds": 20, "rows": 12, "background": 30, "jobs": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--backends", nargs="+", default=backends.names(), choices=backends.names())
    return parser.parse_args()


def main() -> None:
    """Print the tables and write ``results/ground_truth.json``."""
    options = asked()
    # By its place, because what is in __main__ would be sent to the workers with all that it names.
    work = delayed(import_module("benchmarks.ground_truth").of_one_seed)
    parts = Parallel(options.jobs)(work(seed, options) for seed in range(options.seeds))
    records = pd.DataFrame([record for part in parts for record in part])
    failed = records[records["measure"] == FAILURE].drop_duplicates(["task", "method"])
    numbers = records[records["measure"] != FAILURE].astype({"value": float})
    groups = numbers.groupby(["task", "method", "measure"], sort=False)["value"]
    found = pd.DataFrame([
        dict(zip(["task", "method", "measure"], key, strict=True)) | interval(g) for key, g in groups
    ])
    for task in TASKS:
        show(task, found[found["task"] == task])
    for row in failed.itertuples():
        print(f"\n{row.method} failed in {row.task}: {row.value}")
    versions = {name: version(name) for name in ("shapae", "torch", "shap")}
    failures = failed[["task", "method", "value"]].to_dict("records")
    save("ground_truth", vars(options) | {"versions": versions, "found": found.to_dict("records"), "failed": failures})


if __name__ == "__main__":
    main()
