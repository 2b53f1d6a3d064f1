"""Measures of backends, rankings, raw feature errors and chance on the tasks of one random seed.

A module of its own, so that worker processes import it by name.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import shapae
from benchmarks._ground_truth_tasks import TASKS, Task, attribute
from shapae.analysis.comparison.metrics import auroc, reciprocal_rank, relative_error
from shapae.errors import TooLarge

RANDOM, RAW = "random", "raw feature error"
AUROC, OVERALL = "AUROC", "AUROC of all rows together"
FAILURE = "failure"
HITS, RANK, ERROR = "hits at 1", "mean reciprocal rank", "relative error to exact"
Measures = dict[str, float | str]


def evaluate_seed(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return records of task, method, measure and value; a failure is a measure, too."""
    torch.set_num_threads(1)
    records: list[dict[str, Any]] = []
    for name, create in TASKS.items():
        results = evaluate_task(create(seed, options.rows, options.background), options.backends, seed)
        records += [
            {"task": name, "method": method, "measure": measure, "value": value}
            for method, measures in results.items()
            for measure, value in measures.items()
        ]
    return records


def evaluate_task(task: Task, chosen: list[str], seed: int) -> dict[str, Measures]:
    """Evaluate the chosen backends and all rankings; return methods to measures."""
    results: dict[str, Measures] = {}
    for method, values in attributions(task, chosen, seed):
        results[method] = {FAILURE: values} if isinstance(values, str) else evaluate_values(task, method, values)
    for method, values in rankings(task, seed).items():
        results[method] = {FAILURE: values} if isinstance(values, str) else evaluate_importances(task, values)
    return results


def attributions(task: Task, chosen: list[str], seed: int) -> Iterator[tuple[str, NDArray[Any] | str]]:
    """Yield methods and their values (n, d), or an error message."""
    for backend in chosen:
        try:
            yield backend, attribute(task, backend, seed)
        except TooLarge:
            continue
        except Exception as error:  # any error is a result
            yield backend, f"{type(error).__name__}: {error}"
    rows = torch.tensor(task.X.to_numpy())
    with torch.no_grad():
        yield RAW, (task.model(rows) - rows).square().numpy()
    yield RANDOM, np.random.default_rng([seed, 1]).standard_normal(task.X.shape)  # independent of the data


def rankings(task: Task, seed: int) -> dict[str, NDArray[Any] | str]:
    """Return the methods of ``shapae.rank_features`` and their importances (d,), or an error message."""
    if task.ranked is None:
        return {}
    try:
        table = shapae.rank_features(task.model, task.ranked, background=task.background, seed=seed).table
    except Exception as error:  # any error is a result
        return {"rank_features": f"{type(error).__name__}: {error}"}
    return {f"rank_features: {name}": table[name].reindex(task.X.columns).to_numpy() for name in table}


def evaluate_values(task: Task, method: str, values: NDArray[Any]) -> Measures:
    """Compute all measures of attributions (n, d)."""
    measures: Measures = {AUROC: float(np.nanmean(auroc(np.abs(values), task.truth)))}
    if task.faults:
        ranks = reciprocal_rank(values, task.truth)
        measures |= {HITS: float((ranks == 1).mean()), RANK: float(ranks.mean())}
    else:
        measures |= evaluate_importances(task, np.abs(values).mean(axis=0))
    if task.exact is not None and method not in (RAW, RANDOM):  # these two do not sum to the score
        measures[ERROR] = relative_error(values, task.exact)
    return measures


def evaluate_importances(task: Task, importances: NDArray[Any]) -> Measures:
    """Compute the AUROC of importances (d,)."""
    return {OVERALL: float(auroc(importances[None], task.truth[:1])[0])}
