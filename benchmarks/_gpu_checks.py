"""Checks of the GPU benchmark: the values of every backend and model beside those of the CPU, and the cost of TF32."""

import copy
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

import shapae
from benchmarks._gpu_tasks import TASKS, Models, explainer
from benchmarks._timing import clock
from shapae import backends
from shapae.analysis.comparison.evaluation import describe_failure
from shapae.analysis.comparison.metrics import relative_error
from shapae.cli.demo import GeneAutoencoder

# Largest difference of values on the device from those on the CPU, relative to the largest, in float32 without TF32:
# rounding of sums in another order.
SAME = 1e-4
PARITY_FEATURES = 12  # the most that the backend "exact" takes
PRECISIONS = ("highest", "high")
CHECKED = 20  # rows whose values are compared with those in float64
HEADS = ("latent_norm", "latent:3", "label_free")


def difference(model: nn.Module, table: Any, device: torch.device, settings: dict[str, Any]) -> float:
    """Compute the largest difference of the values on the device from those on the CPU, relative to the largest."""
    found = []
    for place in (torch.device("cpu"), device):
        twin = copy.deepcopy(model).to(place)
        explain = shapae.Explainer(twin, table[8:], n_jobs=1, progress=False, **settings)
        found.append(np.asarray(explain(table[:8]).values))
    return float(np.abs(found[1] - found[0]).max() / np.abs(found[0]).max())


def parity(device: torch.device) -> Iterator[dict[str, Any]]:
    """Compare each backend, and ``deep`` with several heads, on the device and on the CPU."""
    torch.manual_seed(0)
    model, table = GeneAutoencoder(PARITY_FEATURES).eval(), torch.randn(28, PARITY_FEATURES)
    cases: dict[str, dict[str, Any]] = {name: {"backend": name} for name in backends.names()}
    cases |= {f"deep, {head}": {"head": head} for head in HEADS}
    cases["deep, fixed target"] = {"head": shapae.heads.ReconstructionError(target="fixed")}
    for name, settings in cases.items():
        yield _compared(name, model, table, device, settings)


def zoo(device: torch.device) -> Iterator[dict[str, Any]]:
    """Compare the squared error of each model of the test zoo on the device and on the CPU."""
    try:
        zoo = import_module("tests.deepshap.zoo")
    except ImportError as error:
        print(f"left out: the zoo of models: {error}; run at the root of the repository")
        return
    for name, create in zoo.ZOO.items():
        torch.manual_seed(0)
        model, table = create().float().eval(), torch.randn(28, zoo.D)
        if name not in zoo.REFUSED:
            yield _compared(name, model, table, device, {})


def _compared(
    name: str, model: nn.Module, table: Any, device: torch.device, settings: dict[str, Any]
) -> dict[str, Any]:
    try:
        with matmul_precision("highest"):  # a rounding of products that is no fault would hide the faults
            size = difference(model, table, device, settings)
    except Exception as error:  # of any kind: a failure is a result
        return {"name": name, "same": False, "reason": describe_failure(error)}
    reason = {} if size <= SAME else {"reason": f"differs by {size:.1e} of the largest value"}
    return {"name": name, "same": size <= SAME, "difference": size} | reason


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Let torch multiply matrices of float32 in this precision, in cuDNN, too; afterwards all is as it was."""
    before, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = precision != "highest"
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = cudnn


def tf32(models: Models) -> Iterator[dict[str, Any]]:
    """Measure some tasks in each precision of matrix products: seconds, and error to float64 on some rows."""
    for task in TASKS:
        if task.name not in {"squared error", "one latent", "coalitions (4 pairs), squared error"}:
            continue
        explain, rows = explainer(models, task)
        double = copy.deepcopy(models.model).double()
        exact = shapae.Explainer(double, rows[: models.sizes.b].double(), n_jobs=1, progress=False, **task.settings())
        with matmul_precision("highest"):
            want = exact(rows[:CHECKED].double()).values
        for precision in PRECISIONS:
            with matmul_precision(precision):
                got = explain(rows)
                seconds = [clock(partial(explain, rows))[0] for _ in range(models.sizes.repeats)]
            yield {
                "task": task.name,
                "precision": precision,
                "median": statistics.median(seconds),
                "relative error": relative_error(got.values[:CHECKED], want),
                "residual / range": float(np.abs(got.residual).max() / np.ptp(got.scores)),
            }
