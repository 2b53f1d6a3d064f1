"""Tasks of the speed benchmark, the tools that compute them, and workloads that take about a given time."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from benchmarks._peers import (
    FeatureErrors,
    SelectedOutputs,
    SquaredError,
    captum_deep,
    captum_gradient,
    shap_deep,
    shap_gradient,
    shapae_values,
)
from benchmarks._timing import clock
from shapae import heads
from shapae.cli.demo import GeneAutoencoder

CAPTUM_PAIRS = 800  # pairs of a row and a background row in one call of captum
SAMPLES = 200  # samples per row of the gradient explainers of shap and captum
PEER_OUTPUTS = 4  # maximum number of outputs that shap and captum compute
# Seconds of shapae relative to those of the peers, so that its preparation is a small part of them.
SHAPAE_SECONDS = 5
# Seconds that the smallest workload of a peer may take, relative to those wanted, before fewer outputs are computed.
MAX_SECONDS = 8
# Maximum number of attributions of shapae: with their standard errors, they take a quarter of its 8 GB.
MAX_VALUES = 2.5e8


class Workload(NamedTuple):
    """Number of rows, and number of outputs of each."""

    rows: int
    outputs: int


class Task(NamedTuple):
    """A score to explain: a function from outputs (None for all) to a head, and the same score as a module."""

    head: Callable[[list[int] | None], nn.Module]
    score: Callable[[GeneAutoencoder], nn.Module]  # (n, d) -> (n, outputs)
    backend: str = "deep"


class Size(NamedTuple):
    """Numbers of rows, features, background rows and repeats; and about the seconds that one run may take."""

    n: int
    d: int
    b: int
    repeats: int
    allowed: float


TASKS = {
    "squared error": Task(lambda outputs: heads.ReconstructionError(), SquaredError),
    "all latents": Task(heads.Latent, lambda model: model.encoder),
    "all outputs": Task(heads.Reconstruction, lambda model: model),
    "feature errors": Task(heads.FeatureError, FeatureErrors),
    "squared error, gradient": Task(lambda outputs: heads.ReconstructionError(), SquaredError, "gradient"),
}
Tool = Callable[[Workload], Any]


def tools(task: Task, model: GeneAutoencoder, rows: Tensor, background: Tensor) -> dict[str, Tool]:
    """Return names and functions that explain a workload; each has its own model, as shap and captum add hooks."""
    for_shapae, for_shap, for_captum = (copy.deepcopy(model) for _ in range(3))
    batch, k = captum_batch(task, len(background)), count_outputs(task, model, rows)
    gradient = task.backend == "gradient"
    samples = {"samples": SAMPLES} if gradient else {}

    def by_shapae(work: Workload) -> Tensor:
        head = task.head(None if work.outputs == k else list(range(work.outputs)))
        return attribute(head, task.backend, for_shapae, background, rows[: work.rows])

    def by_shap(work: Workload) -> Any:
        score = SelectedOutputs(task.score(for_shap), 0, work.outputs)
        return (shap_gradient if gradient else shap_deep)(score, rows[: work.rows], background, **samples)

    def by_captum(work: Workload) -> Tensor:
        score = SelectedOutputs(task.score(for_captum), 0, work.outputs)
        settings = samples | {"outputs": work.outputs, "batch": batch}
        return (captum_gradient if gradient else captum_deep)(score, rows[: work.rows], background, **settings)

    return {"shapae": by_shapae, "shap": by_shap, "captum": by_captum}


def count_outputs(task: Task, model: GeneAutoencoder, rows: Tensor) -> int:
    """Count the outputs of the score."""
    return int(task.score(model)(rows[:1]).shape[1])


def captum_batch(task: Task, b: int) -> int:
    """Return the number of rows per call of captum: each is paired with all background rows, or with all samples."""
    return max(1, CAPTUM_PAIRS // (SAMPLES if task.backend == "gradient" else b))


def attribute(head: nn.Module, backend: str, model: GeneAutoencoder, background: Tensor, rows: Tensor) -> Tensor:
    """Compute attributions (n, d, outputs) with shapae."""
    values = shapae_values(model, rows, background, head=head, backend=backend, memory="8GB")
    return values.reshape(*rows.shape, -1)


def workloads(compared: dict[str, Tool], task: Task, size: Size, k: int) -> dict[str, Workload]:
    """Find the workload of each tool, of all ``k`` outputs for shapae and a few for shap and captum."""
    n, few, seconds = min(size.n, max(1, int(MAX_VALUES / (size.d * k)))), min(PEER_OUTPUTS, k), size.allowed
    batch, whole = min(captum_batch(task, size.b), size.n), Workload(size.n, few)
    return {
        "shapae": fit_workload(compared["shapae"], Workload(1, k), Workload(n, k), SHAPAE_SECONDS * seconds),
        "shap": fit_workload(compared["shap"], Workload(1, 1), whole, seconds),
        "captum": fit_workload(compared["captum"], Workload(batch, 1), whole, seconds),
    }


def fit_workload(run: Tool, smallest: Workload, whole: Workload, seconds: float) -> Workload:
    """Find the workload between ``smallest`` and ``whole`` that takes about ``seconds``, in three steps."""
    if clock(partial(run, smallest))[0] > MAX_SECONDS * seconds:
        return smallest
    work = smallest
    for share in (0.1, 0.3, 1):
        pairs = work.rows * work.outputs * share * seconds / clock(partial(run, work))[0]
        outputs = min(whole.outputs, max(smallest.outputs, int(MAX_SECONDS * pairs / smallest.rows)))
        work = Workload(min(whole.rows, smallest.rows * max(1, int(pairs / outputs / smallest.rows))), outputs)
    return work
