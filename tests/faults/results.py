"""Faults of results: the wrong one for a plot, names that it does not have, and copies."""

import copy
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import matplotlib.figure
import numpy as np
import pandas as pd
import torch

import shapae
from shapae import Explainer, plots
from tests.cases import Linear, Question, Variational, build, table
from tests.faults.table import Fault

BEFORE, EQUAL = "refused before anything is drawn", "a copy with equal numbers, and the same methods"
X, GROUPS = pd.DataFrame(table(20), columns=list("abcdef")), list("xy" * 10)
# One of each result, and how it is made.
MADE: dict[str, Callable[[], Any]] = {
    "Explainer": lambda: Explainer(build(Linear), X),
    "Explainer of a function": lambda: Explainer(build(Linear), X, head=total),
    "Autoencoder": lambda: shapae.Autoencoder(build(Question)),
    "Score": lambda: shapae.score(build(Question), X),
    "Explanation": lambda: result("Explainer")(X),
    "Explanation of one row": lambda: result("Explanation")[0],
    "Explanation of latents": lambda: Explainer(build(Linear), X, head="latent")(X),
    "Importance": lambda: result("Explainer").summarize(X),
    "GroupedImportance": lambda: result("Explainer").summarize(X, by=GROUPS),
    "Interactions": lambda: result("Explainer").interactions(X),
    "Influence": lambda: shapae.influence(build(Linear), X, X),
    "LatentReport": lambda: shapae.latents(build(Variational), X, covariates={"kind": GROUPS}),
    "GlobalRanking": lambda: shapae.rank_features(build(Linear), X, methods=["weights", "gradient_x_input"]),
    "Anomalies": lambda: shapae.explain_anomalies(result("Explainer"), X, 2),
    "Background": lambda: shapae.background.sample(X, 5),
    "Estimate": lambda: result("Explainer").estimate(5),
}
COPIES: dict[str, Callable[[Any, Path], Any]] = {
    "pickled": lambda each, folder: pickle.loads(pickle.dumps(each)),
    "copied": lambda each, folder: copy.deepcopy(each),
    "dumped by joblib": lambda each, folder: joblib.load(joblib.dump(each, folder / "result.joblib")[0]),
}


def total(autoencoder: Any, rows: torch.Tensor) -> torch.Tensor:
    return autoencoder.encode(rows).sum(dim=1)


@cache
def result(name: str) -> Any:
    with torch.random.fork_rng():
        return MADE[name]()


def arrays(each: Any, depth: int = 5) -> list[Any]:
    """All arrays in an object, in the order of its parts; of an explainer, its values; of a module, its weights."""
    if isinstance(each, Explainer):
        return [each(X[:3]).values, each.background.numpy()]
    if isinstance(each, torch.nn.Module):
        return [weight.detach().numpy() for weight in each.parameters()]
    if isinstance(each, np.ndarray | pd.DataFrame | pd.Series | pd.Index | int | float):
        return [np.asarray(each)]
    parts = each if isinstance(each, list | tuple) else vars(each) if hasattr(each, "__dict__") else each
    parts = parts.values() if isinstance(parts, dict) else parts if isinstance(parts, list | tuple) else []
    return [array for part in parts for array in arrays(part, depth - 1)] if depth else []


def copied(name: str, how: str) -> Callable[[Path], None]:
    def cause(folder: Path) -> None:
        one = result(name)
        other = COPIES[how](one, folder)
        assert type(other) is type(one)
        assert repr(other) == repr(one)
        before, after = arrays(one), arrays(other)
        assert len(after) == len(before) > 0
        for got, want in zip(after, before, strict=True):
            np.testing.assert_array_equal(got, want)

    return cause


def removed() -> Any:
    ax = matplotlib.figure.Figure().subplots()
    ax.remove()
    return ax


TEXT = pd.DataFrame({"one": ["x", "y"]})
NUMBERS = pd.DataFrame({"one": [1.0, 2.0], "two": [2.0, 1.0]}, ["a", "b"])
# Calls of plots that are refused.
DRAWN: dict[str, tuple[Callable[[], Any], str]] = {
    "bar(explainer)": (lambda: plots.bar(result("Explainer")), "takes an Explanation or an Importance, got Explainer"),
    "bar(table)": (lambda: plots.bar(X), "takes an Explanation or an Importance, got DataFrame"),
    "bar(output='none')": (lambda: plots.bar(result("Explanation"), output="none"), "no output is called 'none'"),
    "bar on Axes that were removed": (
        lambda: plots.bar(result("Explanation"), ax=removed()),
        "ax must be .* on a figure",
    ),
    "summary(grouped)": (lambda: plots.summary(result("GroupedImportance")), "Use shapae.plots.groups"),
    "waterfall(rows)": (lambda: plots.waterfall(result("Explanation")), "This plot takes one row"),
    "heatmap(row)": (lambda: plots.heatmap(result("Explanation of one row")), "This plot takes several rows"),
    "latents(one output)": (lambda: plots.latents(result("Explanation")), "several rows and outputs"),
    "groups(explanation)": (lambda: plots.groups(result("Explanation")), "takes averages over groups of rows"),
    "latent_map(explanation)": (
        lambda: plots.latent_map(result("Explanation")),
        "takes a LatentReport, got Explanation",
    ),
    "latent_map(covariate='none')": (
        lambda: plots.latent_map(result("LatentReport"), "none"),
        "no covariate with groups is called 'none'",
    ),
    "sweep(explanation)": (lambda: plots.sweep(result("Explanation"), 0), "takes a LatentReport, got Explanation"),
    "sweep(99)": (lambda: plots.sweep(result("LatentReport"), 99), "no latent unit is called 99"),
    "drives(explanation)": (lambda: plots.drives(result("Explanation"), 0), "takes a LatentReport, got Explanation"),
    "interactions(explanation)": (
        lambda: plots.interactions(result("Explanation")),
        "takes Interactions, got Explanation",
    ),
    "interactions(row=99)": (
        lambda: plots.interactions(result("Interactions"), row=99),
        "from -20 to 19, or None, got 99",
    ),
    "interactions(max_display=1)": (
        lambda: plots.interactions(result("Interactions"), max_display=1),
        "max_display must be an integer, at least 2, got 1",
    ),
    "interaction_network(importance)": (
        lambda: plots.interaction_network(result("Importance")),
        "takes Interactions, got Importance",
    ),
    "influence(explanation)": (lambda: plots.influence(result("Explanation")), "takes an Influence, got Explanation"),
    "influence(row='nobody')": (lambda: plots.influence(result("Influence"), "nobody"), "no row is called 'nobody'"),
    "influence(labels=5)": (lambda: plots.influence(result("Influence"), labels=5), "labels must be a list .* got 5"),
    "influence(two labels)": (lambda: plots.influence(result("Influence"), labels=[1, 2]), "20 training rows, got 2"),
    "self_influence(explanation)": (lambda: plots.self_influence(result("Explanation")), "takes an Influence, got"),
    "ranking(explanation)": (lambda: plots.ranking(result("Explanation")), "takes a GlobalRanking or its table"),
    "ranking(text)": (lambda: plots.ranking(TEXT), "table must be a DataFrame of numbers"),
    "ranking(sure=another table)": (
        lambda: plots.ranking(NUMBERS, sure=NUMBERS[::-1]),
        "sure must be a table with the",
    ),
    "ranking(clusters={'a': 5})": (lambda: plots.ranking(NUMBERS, clusters={"a": 5}), "the cluster 'a' must be a list"),
    "agreement(explanation)": (lambda: plots.agreement(result("Explanation")), "takes a GlobalRanking, a Comparison"),
    "agreement(no square)": (lambda: plots.agreement(X), "agreement must be a square table of numbers"),
    "curves(text)": (lambda: plots.curves(TEXT), "curves must be a DataFrame of numbers"),
    "cleaning(text)": (lambda: plots.cleaning(TEXT), "curves must be a DataFrame of numbers"),
    "cleaning(explanation)": (lambda: plots.cleaning(result("Explanation")), "curves must be .* got Explanation"),
    "costs(one column)": (lambda: plots.costs(NUMBERS[["one"]]), "costs must be a DataFrame of two columns"),
    "anomaly(numbers)": (lambda: plots.anomaly(NUMBERS), "features must be a DataFrame with the columns reading, "),
    "a plot of an anomaly too far": (lambda: result("Anomalies").plot(99), "there are 2 anomalies, got the place 99"),
    "an output that is not there": (lambda: result("Explanation").output("none"), "no output is called 'none'"),
    "a group that is not there": (lambda: result("GroupedImportance")["none"], "no group is called 'none'"),
}
FAULTS = [
    *(Fault("results", name, lambda folder, call=call: call(), says, BEFORE) for name, (call, says) in DRAWN.items()),
    *(Fault("results", f"{name}, {how}", copied(name, how), None, EQUAL) for name in MADE for how in COPIES),
]
