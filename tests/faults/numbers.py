"""Faults of numbers: NaN and infinity that arise only for mixtures of finite rows."""

from functools import partial

import numpy as np
import torch
from torch import nn

from shapae import Explainer, rank_features
from tests.faults.table import Fault

D = 4


class Partial(nn.Module):
    """An autoencoder that is finite for some rows only."""

    def __init__(self, function):
        super().__init__()
        self.scale, self.function = nn.Parameter(torch.tensor(0.9, dtype=torch.float64)), function

    def forward(self, x):
        return self.scale * x + 0.1 * self.function(x.sum(1, keepdim=True), x)


def compositions(n, seed):
    return 0.98 * np.random.default_rng(seed).dirichlet(np.full(D, 0.7), size=n)


# What the model adds, and the operator that is to be named.
MODELS = {
    "log(1 - sum)": (lambda total, x: torch.log(1 - total), "aten.log.default"),
    "sqrt(1 - sum)": (lambda total, x: torch.sqrt(1 - total), "aten.sqrt.default"),
    "a division by 1 - floor(sum)": (lambda total, x: x / (1 - torch.floor(total)), "aten.div.Tensor"),
    "logit(sum)": (lambda total, x: torch.logit(total), "aten.logit.default"),
    "exp of a power": (lambda total, x: torch.exp(total**400), "aten.exp.default"),
    "infinity above 1": (
        lambda total, x: torch.where(total > 1.01, torch.full_like(x, torch.inf), x),
        "aten.where.self",
    ),
}
MIXING = ("exact", "sampling", "coalitions", "captum_shapley", "shap_kernel", "shap_partition", "shap_permutation")
OTHERS = ("deep", "gradient", "captum_deep", "captum_gradient_shap", "shap_deep", "shap_gradient")


def _explainer(kind, backend, **settings):
    return Explainer(Partial(MODELS[kind][0]), compositions(6, 1), backend=backend, **settings)


def _explain(kind, backend, folder):
    return _explainer(kind, backend)(compositions(2, 2))


def _finite(kind, backend, folder):
    found = _explain(kind, backend, folder)
    assert np.isfinite(found.values).all()
    assert found.standard_errors is None or np.isfinite(found.standard_errors).all()


LOG, NAMES = "log(1 - sum)", ["a", "b", "c", "d"]
VERBS = {
    "summarize": lambda folder: _explainer(LOG, "exact").summarize(compositions(4, 2)),
    "summarize by groups": lambda folder: _explainer(LOG, "exact").summarize(compositions(4, 2), by=list("xxyy")),
    "interactions": lambda folder: _explainer(LOG, "deep").interactions(compositions(2, 2)),
    "a tolerance": lambda folder: _explainer(LOG, "sampling", tolerance=0.1)(compositions(2, 2)),
    "rows in blocks": lambda folder: _explainer(LOG, "exact")(compositions(40, 2)),
}
RANKED = ("ablation_mean", "permutation", "sage")


def _rank(method, folder):
    return rank_features(
        Partial(MODELS[LOG][0]), compositions(6, 2), background=compositions(6, 1), methods=[method], repeats=2
    )


REFUSED, NAMED = "refused, with row, features and operator", r"row 0, for features feature 0.*look at {} in Score\.auto"

FAULTS = [
    *(
        Fault("numbers", f"{kind}, by {backend}", partial(_explain, kind, backend), NAMED.format(operator), REFUSED)
        for kind, (_, operator) in MODELS.items()
        for backend in (MIXING if kind == LOG else MIXING[:4])
    ),
    *(
        Fault("numbers", f"{kind}, by {backend}", partial(_finite, kind, backend), None, "all values are finite")
        for kind in (LOG, "sqrt(1 - sum)")
        for backend in OTHERS
    ),
    *(
        Fault("numbers", f"log(1 - sum), in {verb}", run, NAMED.format("aten.log.default"), REFUSED)
        for verb, run in VERBS.items()
    ),
    *(
        Fault("numbers", f"log(1 - sum), ranked by {name}", partial(_rank, name), "importances of .*aten.log", REFUSED)
        for name in RANKED
    ),
]
