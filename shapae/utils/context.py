"""Contexts that change the state of a model or of the process, and restore it, also after an exception."""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from shapae.utils.reachable import results_removed


def evaluate(model: nn.Module) -> None:
    """Put every module into eval mode, but those whose mode is fixed: of ``torch.jit.freeze`` and ``torch.export``."""
    if not any(_has_fixed_mode(module) for module in model.modules()):
        model.eval()
        return
    for module in model.modules():
        if hasattr(module, "training"):
            module.training = False


def _has_fixed_mode(module: nn.Module) -> bool:
    return not hasattr(module, "training") or "train" in vars(module)  # torch.export puts a train() that raises on it


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode; afterwards each module has its own mode again, and no graph on its buffers."""
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    buffers = [buffer for buffer in model.buffers() if buffer.grad_fn is None]
    try:
        evaluate(model)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer in buffers:
            if buffer.grad_fn is not None:
                buffer.detach_()


@contextmanager
def preserve_rng(like: Tensor | None = None) -> Iterator[None]:
    """Preserve the global generators of Python, numpy and torch, and torch's generator of the device of ``like``."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 (others draw from it)
    devices = [like.device] if like is not None and like.is_cuda else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute with ``count`` threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def ignore_batching_warnings() -> Iterator[None]:
    """Ignore torch's warning that ``torch.vmap`` runs an operator in a loop over the rows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop because we have not yet implemented")
        yield


@contextmanager
def inference_state(module: nn.Module, like: Tensor, *, gradients: bool = False) -> Iterator[None]:
    """Run a user's model inside: in eval mode and outside of ``torch.inference_mode``; afterwards all is as it was.

    Args:
        module: The model, or a module that holds it.
        like: A tensor on the device of the model, whose random generator is preserved.
        gradients: Whether gradients are recorded.
    """
    with eval_mode(module), results_removed(module), preserve_rng(like):
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            yield
