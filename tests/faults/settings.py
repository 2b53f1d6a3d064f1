"""Faults of settings: options that a constraint of one argument does not see. See ``arguments`` for the others."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import shapae
from shapae import Autoencoder, Explainer, backends, heads, losses
from tests.cases import Question, Variational, build, table
from tests.faults.table import Fault

BEFORE, WORKS = "refused before the work", "the values add up to the scores"
X, GROUPS = pd.DataFrame(table(20), columns=list("abcdef")), list("xy" * 10)


class Raising(nn.Module):
    def forward(self, autoencoder: Any, rows: torch.Tensor) -> torch.Tensor:
        raise KeyError("x")


@cache
def explainer() -> Explainer:
    return Explainer(build(Question), X)


@cache
def report() -> shapae.LatentReport:
    return shapae.latents(build(Variational), X)


@cache
def influence() -> shapae.Influence:
    return shapae.influence(build(Question), X, X)


def explain(**settings: Any) -> Callable[[], Any]:
    background = table(20) if "feature_names" in settings else X
    return lambda: Explainer(build(Question), background, **settings)(background[:3])


def compare(**settings: Any) -> Callable[[], Any]:
    return lambda: shapae.compare(build(Question), X, X[:3], **settings)


def rank(**settings: Any) -> Callable[[], Any]:
    return lambda: shapae.rank_features(build(Question), X, **settings)


def trace(**settings: Any) -> Callable[[], Any]:
    return lambda: shapae.influence(build(Question), X, X[:3], **settings)


def worked(call: Callable[[], Any]) -> Callable[[Path], None]:
    def cause(folder: Path) -> None:
        np.testing.assert_allclose(call().residual, 0, atol=1e-8)

    return cause


def numpy_settings(folder: Path) -> None:
    """Numbers of numpy give the same values, and a record that JSON holds."""
    given = {"seed": np.int64(3), "n_jobs": np.int32(1), "tolerance": np.float32(0.5), "memory": np.float64(1e9)}
    got = Explainer(build(Question), X, backend="gradient", **given)(X[:3])
    want = Explainer(build(Question), X, backend="gradient", seed=3, tolerance=float(np.float32(0.5)))(X[:3])
    np.testing.assert_array_equal(got.values, want.values)
    got.save(folder / "results")
    assert shapae.Explanation.load(folder / "results").made_by["seed"] == 3


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "head=3": (explain(head=3), "the head must be a name, .* got 3"),
    "head=None": (explain(head=None), "the head must be a name, .* got None"),
    "a class as the head": (explain(head=heads.Latent), r"got the class Latent\. Did you mean Latent\(\)\?"),
    "a list as the head": (explain(head=["latent"]), r"the head must be a name, .* got \['latent'\]"),
    "a head of one argument": (explain(head=lambda rows: rows), r"takes 1 positional argument .*A head takes"),
    "a head of three arguments": (explain(head=lambda a, b, c: b), r"missing 1 required .*A head takes"),
    "a layer as the head": (explain(head=nn.Linear(6, 1)), "A head takes the autoencoder and the rows"),
    "a head that raises": (explain(head=Raising()), r"Raising fails on rows .* KeyError: 'x'\. A head takes"),
    "a head that returns text": (explain(head=lambda a, rows: "x"), "must return one number per row .* got str"),
    "head='latent:99'": (explain(head="latent:99"), "no output of Latent is called '99'"),
    "head='latent:'": (explain(head="latent:"), "no output of Latent is called ''"),
    "Latent(99)": (explain(head=heads.Latent(99)), "no output of Latent is called 99"),
    "Latent(-1)": (explain(head=heads.Latent(-1)), "no output of Latent is called -1"),
    "Latent([])": (explain(head=heads.Latent([])), "choose one or more outputs of Latent"),
    "Latent([0, 0])": (explain(head=heads.Latent([0, 0])), r"each once, .* got \[0, 0\]"),
    "Reconstruction('abc')": (explain(head=heads.Reconstruction("abc")), "no output of Reconstruction is called 'abc'"),
    "loss=5": (lambda: heads.ReconstructionError(5), "the loss must be a name .* got 5"),
    "a class as the loss": (lambda: heads.ReconstructionError(losses.Huber), "the loss must be .* got the class Huber"),
    "a layer as the loss": (explain(head=heads.ReconstructionError(nn.Linear(2, 2))), "ReconstructionError fails"),
    "a mean as the loss": (explain(head=heads.ReconstructionError(nn.MSELoss())), r"one number per row .* got \(\)"),
    "GaussianNLL('a')": (lambda: losses.GaussianNLL("a"), "variance must be a positive number, .* got 'a'"),
    "GaussianNLL(None)": (lambda: losses.GaussianNLL(None), "variance must be a positive number, .* got None"),
    "ELBO(draws=1)": (lambda: heads.ELBO(draws=1), "draws must be 0 .* or at least 2, got 1"),
    "groups of lists for ErrorFromOthers": (lambda: heads.ErrorFromOthers(groups=[0]), "groups must be a tensor"),
    "worst and features": (lambda: heads.FeatureError("a", worst=2), "can't be combined"),
    "backend=None": (explain(backend=None), "the backend must be a name .* got None"),
    "backend=5": (explain(backend=5), "the backend must be a name .* got 5"),
    "a class as the backend": (explain(backend=backends.Coalitions), r"Did you mean Coalitions\(\)\?"),
    "a table as the backend": (explain(backend=X), r"the backend must be a name .* got DataFrame\."),
    "a backend that can't be made": (
        lambda: backends.register("mine", lambda: 1 / 0),
        "can't be made without arguments",
    ),
    "an object as a registered backend": (lambda: backends.register("mine", 5), "is registered by its class"),
    "compare(backends=[])": (compare(backends=[]), r"backends must be a name, .* got \[\]"),
    "compare(backends=5)": (compare(backends=5), "backends must be a name, .* got 5"),
    "compare(backends=[None])": (compare(backends=[None]), r"backends must be a name, .* got \[None\]"),
    "compare(reference=5)": (compare(reference=5, backends="deep"), "the backend must be a name .* got 5"),
    "compare(reference='none')": (compare(reference="none", backends="deep"), "no backend is called 'none'"),
    "compare(reference=table)": (compare(reference=X, backends="deep"), "the backend must be a name .* got DataFrame"),
    "rank_features(methods=[])": (rank(methods=[]), r"methods must be some of .*got \[\]"),
    "rank_features(methods=[5])": (rank(methods=[5]), r"methods must be a name, .* got \[5\]"),
    "rank_features(sample=1)": (rank(sample=1), "1 row is too few for a ranking"),
    "interactions(features='abc')": (
        lambda: explainer().interactions(X, features="abc"),
        "a list of two names or more",
    ),
    "interactions(features=[1.5, 2])": (
        lambda: explainer().interactions(X, features=[1.5, 2]),
        "features must be a name",
    ),
    "interactions(features=['a'])": (
        lambda: explainer().interactions(X, features=["a"]),
        "a list of two names or more",
    ),
    "interactions(top=1)": (lambda: explainer().interactions(X, top=1), "top must be an integer, at least 2, got 1"),
    "summarize(by=5)": (lambda: explainer().summarize(X, by=5), r"one label for each of the 20 rows, got shape \(\)"),
    "summarize(by=two labels)": (lambda: explainer().summarize(X, by=[1, 2]), r"got shape \(2,\)"),
    "summarize(by=missing)": (lambda: explainer().summarize(X, by=[None] * 20), "labels of rows 0, .* are missing"),
    "summarize(by='type')": (lambda: explainer().summarize(X, by="type"), "can be a column of obs only"),
    "feature_names='abcdef'": (
        explain(feature_names="abcdef"),
        "feature_names must be a list of names, .* got 'abcdef'",
    ),
    "three feature names": (explain(feature_names=list("abc")), "got 6 columns in the background, expected 3"),
    "repeated feature names": (explain(feature_names=list("aabcde")), "must be unique, but column a"),
    "feature names of bytes": (explain(feature_names=[b"a"] * 6), "feature_names must be a list of names"),
    "feature names in a set": (
        explain(feature_names=set("abcdef")),
        "feature_names must be a list of names, .* got set",
    ),
    "a feature name as a group": (
        explain(groups={"g": "a"}),
        "the group 'g' must be a list of one name or more, got 'a'",
    ),
    "a number as a group": (explain(groups={"g": 5}), "the group 'g' must be a list of one name or more, got 5"),
    "a group of lists": (explain(groups={"g": [["a"]]}), "the group 'g' must be a list of one name or more"),
    "an empty group": (explain(groups={"g": []}), r"the group 'g' must be a list of one name or more, got \[\]"),
    "groups=[]": (explain(groups=[]), r"groups must be a dict .* got \[\]"),
    "grouped({'g': 5})": (lambda: explainer()(X).grouped({"g": 5}), "the group 'g' must be a list"),
    "influence(checkpoints=5)": (trace(checkpoints=5), "checkpoints must be state_dicts, .* got int"),
    "influence(checkpoints=[])": (trace(checkpoints=[]), "checkpoints is empty"),
    "influence(parameters=[5])": (trace(parameters=[5]), r"parameters must be 'all', .* got \[5\]"),
    "influence(parameters='last:0')": (trace(parameters="last:0"), "parameters='last:0' is none"),
    "influence(learning_rates=None)": (trace(learning_rates=None), "learning_rates must be .* got None"),
    "influence(loss=5)": (trace(loss=5), "got 5"),
    "influence(batch_size=4)": (trace(batch_size=4), "needs steps="),
    "by_label of two labels": (lambda: influence().by_label([1, 2]), "one label for each of the 20 rows"),
    "by_distance(1.5)": (lambda: influence().by_distance(1.5), "bins must be between 2 and the 400 pairs"),
    "proponents(99)": (lambda: influence().proponents(99), "k must be between 1 and the 20 training rows, got 99"),
    "sweep(99)": (lambda: report().sweep(99), "no latent unit is called 99"),
    "sweep(quantiles='a')": (lambda: report().sweep(0, quantiles="a"), "quantiles must be two or more"),
    "sweep(row='nobody')": (lambda: report().sweep(0, row="nobody"), "there is no row 'nobody'"),
    "enrichment({'s': 3})": (lambda: report().enrichment({"s": 3}), "the set 's' must be a list .* got 3"),
    "enrichment({'s': None})": (lambda: report().enrichment({"s": None}), "the set 's' must be a list .* got None"),
    "enrichment(['a'])": (lambda: report().enrichment(["a"]), "gene_sets must be the path of a GMT file"),
    "enrichment('none.gmt')": (lambda: report().enrichment("none.gmt"), r"can't read the gene sets in none\.gmt"),
    "latents(covariates=5)": (
        lambda: shapae.latents(build(Variational), X, covariates=5),
        "covariates must be .* got int",
    ),
    "explain_anomalies(model)": (
        lambda: shapae.explain_anomalies(build(Question), X),
        "explainer must be an Explainer",
    ),
    "anomalies by rows='abc'": (lambda: shapae.explain_anomalies(explainer(), X, rows="abc"), "abc"),
    "anomalies by a row twice": (lambda: shapae.explain_anomalies(explainer(), X, rows=[1, 1]), "twice"),
    "anomalies by two rules": (lambda: shapae.explain_anomalies(explainer(), X, quantile=0.9, threshold=1), "together"),
    "sample(X, 21)": (lambda: shapae.background.sample(X, 21), "from 20 rows 1 to 20 can be drawn, got 21"),
    "weighted(X, 'abc')": (lambda: shapae.background.weighted(X, "abc"), "one number for each of the 20 background"),
    "contrast(X, 'z')": (lambda: shapae.background.contrast(X, "z", by=GROUPS), "no label is called 'z'"),
    "cluster_features(threshold=1.5)": (
        lambda: shapae.cluster_features(X, threshold=1.5),
        "above 0 and at most 1, got 1.5",
    ),
    "read_gmt('none.gmt')": (lambda: shapae.read_gmt("none.gmt"), "can't read the gene sets in none.gmt"),
    "encode=5.5": (lambda: Autoencoder(build(Question), encode=5.5), "encode must be a function .* got float"),
    "encode=True": (lambda: Autoencoder(build(Question), encode=True), "encode must be a function .* got bool"),
    "noise=1.5": (lambda: Autoencoder(build(Question), noise=1.5), "noise must be 'auto', .* got 1.5"),
    "noise=True": (lambda: Autoencoder(build(Question), noise=True), "noise must be 'auto', .* got True"),
    "noise=array": (
        lambda: Autoencoder(build(Question), noise=np.ones(3)),
        "noise must be 'auto', .* got an array of shape",
    ),
    "preprocess='scaler'": (lambda: Autoencoder(build(Question), preprocess="scaler"), "preprocess must be a pair"),
    "a class as preprocess": (
        lambda: Autoencoder(build(Question), preprocess=nn.Identity),
        "preprocess must be a pair",
    ),
    "a model as a table": (lambda: Importance(5), "explanation must be an Explanation, got 5"),
    "percentile(200)": (lambda: explainer()(X).percentile(200), "q must be a number from 0 to 100, got 200"),
    "sensors(shift=(2, 1))": (lambda: shapae.datasets.sensors(9, shift=(2, 1)), "the smallest and the largest shift"),
    "gene_modules(d=4)": (lambda: shapae.datasets.gene_modules(9, d=4), "10 modules need at least 20 genes"),
    "linear_autoencoder(passed=10)": (lambda: shapae.datasets.linear_autoencoder(9, passed=10), "passed must be"),
    "generate_rows(n=10**14)": (
        lambda: shapae.generate_rows(build(Question), X, 10**14),
        "100000000000000 rows of 6 features, .* do not fit",
    ),
    "train('abc')": (lambda: shapae.demo.train("abc"), "'abc' is no table"),
    "scvi of another model": (lambda: shapae.adapters.scvi(build(Question)), "must be a trained scvi"),
}
Importance = shapae.Importance.of
WORKING: dict[str, Callable[[], Any]] = {
    "units in a tensor": explain(head=heads.Latent(torch.arange(2))),
    "units in an array": explain(head=heads.Latent(np.arange(2))),
    "feature names in an Index": explain(feature_names=pd.Index(list("abcdef"))),
    "feature names in an array": explain(feature_names=np.array(list("abcdef"))),
    "numbers as feature names": explain(feature_names=range(6)),
    "groups of sets": explain(groups={"g": {"a", "b"}}),
    "memory=' 1 GiB '": explain(memory=" 1 GiB "),
}
FAULTS = [
    *(
        Fault("settings", name, lambda folder, call=call: call(), says, BEFORE)
        for name, (call, says) in REFUSED.items()
    ),
    *(Fault("settings", name, worked(call), None, WORKS) for name, call in WORKING.items()),
    Fault("settings", "numbers of numpy", numpy_settings, None, "the same values; the record is JSON"),
]
