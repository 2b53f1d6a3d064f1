"""Compared methods with their settings: backends of shapae, explainers of shap and captum, approximators of shapiq."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from math import comb
from typing import Any

from torch import Tensor

from benchmarks._peers import shapiq_values
from shapae.backends import Backend, Game, Moments, RowwiseBackend, named
from shapae.backends.coalitions import Coalitions
from shapae.backends.exact import MAX_PLAYERS
from shapae.errors import MissingPackage, TooLarge

PAIRS = (1, 2, 4, 16)  # pairs of coalitions per background row, of the backend "coalitions"
GRADIENT = 3  # cost of a gradient in evaluations of the score
FEW = 100  # largest number of features for the slower approximators of shapiq


@dataclass(frozen=True)
class Method:
    """A method with one setting.

    Attributes:
        name: Name of the method.
        setting: Words for the setting; empty if there is only one.
        make: Function that creates the backend; it raises an error if a package is missing.
        evaluations: Predicted number of evaluations of the score for a row; 0 if they are few.
        random: Whether the values depend on the random seed.
    """

    name: str
    setting: str
    make: Callable[[], Backend]
    evaluations: int = 0
    random: bool = True


class Shapiq(RowwiseBackend):
    """An approximator of shapiq on the game v(S) = mean over the background of score(x_S, b_rest).

    Args:
        kind: Name of the class in ``shapiq.approximator``.
        budget: Number of coalitions, each of which costs an evaluation per background row.
        options: Options of the class, from the number of features and the budget.
    """

    additive = False

    def __init__(self, kind: str, budget: int, options: Callable[[int, int], dict[str, Any]]) -> None:
        try:
            package = import_module("shapiq")
        except ModuleNotFoundError as error:
            raise MissingPackage("shapiq is not installed") from error
        if not hasattr(package.approximator, kind):
            raise MissingPackage(f"shapiq {version('shapiq')} has no {kind}")
        self.kind, self.budget, self.options = kind, budget, options

    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """See ``RowwiseBackend.attribute_row``."""
        d = game.n_features
        settings: dict[str, Any] = {"kind": self.kind, "budget": self.budget, "seed": seed} | self.options(
            d, self.budget
        )
        values = shapiq_values(game.score, row, game.background, **settings)
        return Moments(self.budget, values.reshape(1, d, 1))


def _with(name: str, n_samples: int) -> Backend:
    backend = named(name)
    backend.n_samples = n_samples
    return backend


def _polyshap(d: int, budget: int) -> dict[str, Any]:
    """Take as many terms up to order three as half of the budget can determine. In pairs, order two changes nothing."""
    terms = 1 + d + comb(d, 2) + comb(d, 3)
    return {"max_order": 3, "max_terms": max(d + 1, min(terms, budget // 2)), "pairing_trick": True}


def _svarm(d: int, budget: int) -> dict[str, Any]:
    if d > FEW:
        raise TooLarge(f"SVARM takes 14 s for each row of 200 features beside the evaluations, and this one has {d}.")
    return {}


def _no_options(d: int, budget: int) -> dict[str, Any]:
    return {}


# Names in shapiq to options. ProxySHAP is corrected, as RegressionMSR always is.
SHAPIQ: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "KernelSHAP": lambda d, budget: {"pairing_trick": True},
    "LeverageSHAP": _no_options,
    "PolySHAP": _polyshap,
    "OddSHAP": _no_options,
    "RegressionMSR": lambda d, budget: {"index": "SV"},
    "ProxySHAP": lambda d, budget: {"index": "SV", "max_order": 1, "adjustment": True},
    "SVARM": _svarm,
    "StratifiedSamplingSV": _no_options,
    "PermutationSamplingSV": _no_options,
}


def methods(d: int, b: int) -> Iterator[Method]:
    """List all methods with their settings for d features and b background rows."""
    for pairs in PAIRS:
        always = partial(Coalitions, pairs, min_players=1)
        yield Method("coalitions", f"K = {pairs}", always, 2 * pairs * b * GRADIENT)
    yield Method("coalitions by default", "", partial(named, "coalitions"))
    for pairs in PAIRS:
        samples = max(2, round(pairs * b * GRADIENT / d))
        yield Method("sampling", f"cost of K = {pairs}", partial(_with, "sampling", samples), 2 * pairs * b * GRADIENT)
    yield Method("sampling", "400 samples", partial(_with, "sampling", 400), 800 * d)
    if d <= MAX_PLAYERS:
        yield Method("exact", "", partial(named, "exact"), 2**d * b, random=False)
    for name in ("deep", "shap_deep", "captum_deep"):
        yield Method(name, "", partial(named, name), random=False)
    for samples in (200, 800):
        yield Method("gradient", f"{samples} samples", partial(_with, "gradient", samples), samples * GRADIENT)
    for name in ("shap_gradient", "captum_gradient_shap"):
        yield Method(name, "200 samples", partial(_with, name, 200), 200 * GRADIENT)
    for words, extra in (("4 d coalitions", 2 * d), ("2 d + 2048 coalitions", 2048)):
        make = partial(_with, "shap_kernel", extra)
        yield Method("shap_kernel", words, make, min(2 * d + extra, 2 ** min(d, 30)) * b)
    for orders in (1, 10):
        make = partial(_with, "shap_permutation", orders)
        yield Method("shap_permutation", f"orders: {orders}", make, orders * (2 * d + 1) * b)
    yield Method("shap_partition", "", partial(named, "shap_partition"), max(500, 4 * d) * b, random=False)
    for orders in (1, 25):
        make = partial(_with, "captum_shapley", orders)
        yield Method("captum_shapley", f"orders: {orders}", make, orders * (d + 1) * b)
    for times in (4, 16) if d <= FEW else (4,):
        for name, options in SHAPIQ.items():
            approximator = partial(Shapiq, name, times * d, options)
            yield Method(f"shapiq {name}", f"{times} d coalitions", approximator, times * d * b)
