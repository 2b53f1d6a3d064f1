"""Faults of arguments: each public parameter gets values of wrong types and sizes.

The parameters are those of the public surface; each has a constraint in ``shapae.utils.constraints``, or a reason in
``EXEMPT`` why it has none. A new parameter without either fails a test.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import torch

import shapae
from shapae.errors import ShapaeError
from shapae.plots._results import READINGS, Drawable, Frame
from shapae.utils import kinds
from shapae.utils.constraints import CONSTRAINTS
from shapae.utils.memory import ByteCount
from tests.cases import Linear, Variational, build, table
from tests.faults.table import Fault
from tests.project.test_surface import members, public

NAMES = list("abcdef")
HUGE = 10**400
# Values that no constraint of a kind accepts; of a range, the neighbours outside are added.
WRONG: dict[Any, list[Any]] = {
    kinds.Integer: [1.5, "2", True, [1], float("nan"), np.array(3), torch.tensor(3), HUGE],
    kinds.Number: ["0.5", True, [0.5], float("nan"), float("inf"), np.array(0.5), torch.tensor(0.5), HUGE],
    kinds.Text: [5, b"text", ["text"], True],
    kinds.OneOf: ["other", 5, ["input"], b"input"],
    kinds.Kind: [object(), 1.5j],
    kinds.Function: [5, "abs", int],
    kinds.Several: [{}, {"a": 1}, {"a"}, 1.5, [None], [["a"]], [b"a"], [True], np.eye(2), object()],
    kinds.Output: [1.5, True, [0], {}, b"a", float("nan"), object(), HUGE],
    kinds.Label: [[0], {}, np.arange(2), torch.arange(2), True],
    Frame: [5, [1.0], np.eye(2), pd.DataFrame(), pd.DataFrame({"a": ["x"]})],
    Drawable: [5, "ax", matplotlib.figure.Figure(), [None]],
    ByteCount: ["x", "", -1, "-1GB", 0, float("nan"), float("inf"), HUGE, "1e400GB", "1.2.3", True, [1], b"1GB"],
}
# Reasons why parameters have no constraint, by the name of the parameter.
TABLE = "a table: see the faults of tables"
OWN = "described by an error of its own, which is tested beside the function"
EXEMPT = {
    **dict.fromkeys(("X", "background", "rows", "train", "normal", "adata", "covariates", "detector"), TABLE),
    **dict.fromkeys(("model", "head", "backend", "backends", "loss", "preprocess", "make"), OWN),
    **dict.fromkeys(("encode", "decode", "reconstruct", "latent_distribution"), OWN),
    **dict.fromkeys(("by", "against", "labels", "train_labels", "planted", "weights", "covariate", "color"), OWN),
    **dict.fromkeys(("checkpoints", "learning_rates", "steps", "parameters", "methods", "gene_sets", "quantiles"), OWN),
    **dict.fromkeys(("explainer", "explanation", "influence", "report", "interactions", "grouped", "agreement"), OWN),
    **dict.fromkeys(("bins", "place", "q", "axis", "variance", "function", "changes", "args", "kwargs"), OWN),
}
# Parameters of one function that have the name of another meaning.
EXEMPT_HERE = {
    "Explanation.cohorts.cohorts": "checked by shap",
    "Autoencoder.decode.latents": "a tensor",
    "Autoencoder.drawn.number": "for heads",
    "Autoencoder.noise": OWN,
    **dict.fromkeys(("Explanation.report.latents", "Explanation.report.others", "Explanation.report.ranking"), OWN),
    "Importance.merge.others": OWN,
    "compare.reference": OWN,
    "heads.ErrorFromOthers.groups": "a tensor of this class for other rooms",
    "plots.ranking.table": OWN,
}
# Classes and modules whose functions are called by shapae itself, or take arrays only.
INTERNAL = (
    "backends.Attribution",
    "backends.Backend",
    "backends.Coalitions.",
    "backends.Game",
    "backends.Moments",
    "backends.RowwiseBackend",
    "datasets.LinearAutoencoder",
    "deepshap.",
    "errors.",
    "metrics.",
)
# Results, which the verbs make: their constructors are not called by users.
RESULTS = (
    *("Anomalies", "Comparison", "Explanation", "GlobalRanking", "GroupedImportance", "Importance", "Influence"),
    *("Interactions", "LatentReport", "background.Background", "datasets.BlockAutoencoder", "datasets.Faults"),
    *("datasets.GeneModules", "datasets.Genes"),
)


def callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Each public function, constructor and method, by its name."""
    for name in sorted(shapae.__all__):
        yield from _of(name, getattr(shapae, name))


def _of(name: str, thing: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    if inspect.ismodule(thing):
        for each in public(thing):
            yield from _of(f"{name}.{each}", getattr(thing, each))
    elif inspect.isclass(thing):
        if name not in RESULTS:
            yield name, thing
        for each, member in sorted(members(thing).items()):
            if not isinstance(member, property) and callable(getattr(thing, each)) and not each.startswith("_"):
                yield f"{name}.{each}", getattr(thing, each)
    elif callable(thing):
        yield name, thing


def parameters() -> Iterator[tuple[str, Callable[..., Any], inspect.Parameter]]:
    """Each public parameter that users give."""
    for name, function in callables():
        internal = name.startswith(INTERNAL) or name.endswith((".forward", ".check", ".expected"))
        if internal or (name.startswith("heads.") and name.count(".") > 1):
            continue
        for each in inspect.signature(function).parameters.values():
            if each.name != "self":
                yield name, function, each


def has_reason(name: str, parameter: str) -> bool:
    """Whether a parameter has no constraint for a reason."""
    return f"{name}.{parameter}" in EXEMPT_HERE or (parameter in EXEMPT and parameter not in CONSTRAINTS)


def wrong_values(name: str, parameter: inspect.Parameter) -> list[Any]:
    """Values that the constraint of a parameter does not accept."""
    constraint = CONSTRAINTS[parameter.name]
    values = [each for each in WRONG[type(constraint)] if not constraint.accepts(each)]
    ends = _ends(constraint) if isinstance(constraint, kinds.Integer | kinds.Number) else []
    values += [bound + step for bound, step in ends if abs(bound) < 2**40]
    return values + ([None] if parameter.default is not None else [])


def _ends(constraint: Any) -> list[tuple[float, float]]:
    above = getattr(constraint, "above", None)
    ends = [(getattr(constraint, end, None), step) for end, step in (("least", -1), ("most", 1))]
    return [(end, step) for end, step in (*ends, (above, 0)) if isinstance(end, int | float)]


class Untouched:
    """An argument that no check of other arguments may look at: they come before any work."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"an argument was refused after work had begun: .{name}")


# Valid arguments besides the wrong one.
VALID = {"folder": "results", "path": "sets.gmt", "name": "deep", "unit": 0, "row": 0, "feature": 0}
VALID |= dict.fromkeys(("count", "k", "n", "most"), 3)
VALID |= {"curves": pd.DataFrame({"one": [1.0]}), "costs": pd.DataFrame({"time": [1.0], "error": [2.0]})}
VALID["features"] = pd.DataFrame([["1"] * len(READINGS)], columns=READINGS)


@cache
def objects() -> dict[str, Any]:
    """One object of each class with methods, by the name of the class."""
    model, X = build(Variational), pd.DataFrame(table(12), columns=NAMES)
    explainer = shapae.Explainer(build(Linear), X)
    explanation, groups = explainer(X), list("xxxxxxyyyyyy")
    frame = pd.DataFrame({"one": [2.0, 1.0], "two": [1.0, 2.0]}, ["a", "b"])
    return {
        "Anomalies": shapae.explain_anomalies(explainer, X, 2),
        "Autoencoder": shapae.Autoencoder(model),
        "Comparison": shapae.Comparison(frame, {}, explanation, "deep", frame, frame, frame),
        "Explainer": explainer,
        "Explanation": explanation,
        "GlobalRanking": shapae.GlobalRanking(frame, frame / 10),
        "GroupedImportance": explainer.summarize(X, by=groups),
        "Importance": explainer.summarize(X),
        "Influence": shapae.influence(model, X, X),
        "Interactions": explainer.interactions(X),
        "LatentReport": shapae.latents(model, X),
    }


def call(name: str, function: Callable[..., Any], parameter: str, value: Any) -> None:
    """Call a public function with one wrong argument."""
    owner, _, method = name.rpartition(".")
    function = getattr(objects()[owner], method) if owner in objects() and not inspect.ismethod(function) else function
    needed = [
        each.name
        for each in inspect.signature(function).parameters.values()
        if each.default is each.empty and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]
    function(**{each: VALID.get(each, Untouched()) for each in needed} | {parameter: value})


def fault(name: str, function: Callable[..., Any], parameter: inspect.Parameter) -> Fault:
    """The fault of one parameter: each wrong value is refused, and the message has the name of the parameter."""
    says = rf"^{parameter.name} must be .*, got "

    def cause(folder: Any) -> None:
        *others, last = wrong_values(name, parameter)
        for value in others:
            with pytest.raises(ShapaeError, match=says) as caught:
                call(name, function, parameter.name, value)
            assert " object at 0x" not in str(caught.value)
        call(name, function, parameter.name, last)

    return Fault(
        "arguments", f"{name}({parameter.name}=...) of a wrong type or size", cause, says, "refused before the work"
    )


FAULTS = [
    fault(name, function, each)
    for name, function, each in parameters()
    if each.name in CONSTRAINTS and f"{name}.{each.name}" not in EXEMPT_HERE
]
