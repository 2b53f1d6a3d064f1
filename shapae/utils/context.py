"""Contexts that change the state of a model or of the process, and restore it, also after an exception."""

import random
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import RLock, active_count, get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shapae.utils.failures import model_failures
from shapae.utils.loans import Loans
from shapae.utils.reachable import results_removed
from shapae.utils.snapshot import same_bits
from shapae.utils.torch_private import own_buffers


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
    """Put every module into eval mode; afterwards each module has its own mode, attributes and buffers again.

    What the model itself writes comes back, too: the numbers of buffers, without a graph, and attributes that were
    replaced. Modules are shared by threads, see ``Loans``: they stay in eval mode until the last thread leaves.
    """
    with _MODULES.lent(model.modules()):
        evaluate(model)
        yield


@dataclass(frozen=True)
class _State:
    """State of a module: its attributes, its mode among them, its buffers, and the numbers of its own tensors."""

    attributes: dict[str, Any]
    buffers: dict[str, Any]
    mode: bool | None
    numbers: list[tuple[Tensor, Tensor, bool]]


def _state(module: nn.Module) -> _State:
    attributes, buffers = dict(vars(module)), dict(own_buffers(module))
    tensors = [each for each in (*buffers.values(), *attributes.values()) if isinstance(each, Tensor)]
    numbers = [(each, each.detach().clone(), each.grad_fn is None) for each in tensors]
    return _State(attributes, buffers, getattr(module, "training", None), numbers)


def _restore_module(module: nn.Module, state: _State) -> None:
    own = own_buffers(module)
    for name, buffer in state.buffers.items():
        if name not in own or own[name] is not buffer:
            setattr(module, name, buffer)
    now = vars(module)
    for name, value in state.attributes.items():
        if now.get(name) is not value:
            now[name] = value
    if state.mode is not None and module.training is not state.mode:  # no attribute of Python has it
        module.training = state.mode
    _restore_numbers(state.numbers)  # at last: it runs operators, in which Ctrl-C may come


def _restore_numbers(numbers: list[tuple[Tensor, Tensor, bool]]) -> None:
    for position, (tensor, before, is_leaf) in enumerate(numbers):
        try:
            if is_leaf and tensor.grad_fn is not None:
                tensor.detach_()
            if not same_bits(tensor, before):
                _write(tensor, before)
        except KeyboardInterrupt:
            _restore_numbers(numbers[position:])
            raise


def _write(tensor: Tensor, numbers: Tensor) -> None:
    with torch.inference_mode(False), torch.no_grad():
        tensor.copy_(numbers)


_MODULES = Loans(_state, _restore_module)


@contextmanager
def preserve_rng(like: Tensor | None = None) -> Iterator[None]:
    """Preserve the global generators of Python, numpy and torch, and torch's generator of the device of ``like``.

    Threads that are inside at the same time share this: the last one restores the states that the first one found.
    """
    with _GENERATORS.lent(_generators(like)):
        yield


@contextmanager
def seeded(seed: int | None, like: Tensor | None = None) -> Iterator[None]:
    """Let one thread at a time draw from the global generators, which are preserved as by ``preserve_rng``.

    A thread of other software that draws meanwhile draws the numbers of this seed: the generators are global.

    Args:
        seed: Random seed of all of them; None to go on from their states.
        like: See ``preserve_rng``.
    """
    generators = _generators(like)
    with _DRAWING, ExitStack() as restored:
        for each in generators:
            restored.callback(_restore_generator, each, _generator_state(each))
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 (others draw from it)
            for each in generators[2:]:
                each.manual_seed(seed)
        yield


def _generators(like: Tensor | None) -> list[Any]:
    devices = [like.get_device()] if like is not None and like.is_cuda else []
    return [random, np.random, torch.default_generator, *(torch.cuda.default_generators[each] for each in devices)]


def _generator_state(generator: Any) -> Any:
    """Return the state of a generator, or of the global generator of a module."""
    if generator is random:
        return random.getstate()
    return np.random.get_state() if generator is np.random else generator.get_state()  # noqa: NPY002 (others draw from it)


def _restore_generator(generator: Any, state: Any) -> None:
    if generator is random:
        random.setstate(state)
    elif generator is np.random:
        np.random.set_state(state)  # noqa: NPY002 (others draw from it)
    else:
        generator.set_state(state)


_GENERATORS, _DRAWING = Loans(_generator_state, _restore_generator), RLock()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute with ``count`` threads; with those of whoever else is inside, or as before, afterwards.

    The number belongs to the process, so that threads of Python that are inside at the same time share it.
    """
    mine = [count]
    with _LOCK:
        if not _THREADS:
            _THREADS.append([torch.get_num_threads()])
        _THREADS.append(mine)
        torch.set_num_threads(count)
    try:
        yield
    finally:
        with _LOCK:
            _THREADS[:] = [each for each in _THREADS if each is not mine]
            torch.set_num_threads(_THREADS[-1][0])
            if len(_THREADS) == 1:
                _THREADS.clear()


# Numbers of threads of torch: that of before, and those that are asked for, the last one of which is in use.
_THREADS, _LOCK = list[list[int]](), RLock()


class _InThisThread:
    """Pattern of warnings that matches them in the thread in which it was made.

    ``warnings.catch_warnings`` would ignore warnings of other threads, and leave its filters behind if two threads
    overlap.
    """

    def __init__(self, start: str) -> None:
        self.start, self.thread = start, get_ident()
        self.pattern = re.escape(start)  # for libraries that hand filters to their workers

    def match(self, text: str) -> bool:
        """Return whether a warning with this text is one of them."""
        return get_ident() == self.thread and text.startswith(self.start)


@contextmanager
def ignored_warnings(*categories: type[Warning], start: str = "") -> Iterator[None]:
    """Ignore warnings of this thread inside.

    Args:
        categories: Kinds of warnings; none for all kinds.
        start: Start of their texts.
    """
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    mine = [("ignore", _InThisThread(start), category, None, 0) for category in categories or (Warning,)]
    filters[:0] = mine
    try:
        yield
    finally:
        for each in mine:
            with suppress(ValueError):  # somebody has reset the filters
                filters.remove(each)


@contextmanager
def ignore_batching_warnings() -> Iterator[None]:
    """Ignore torch's warning that ``torch.vmap`` runs an operator in a loop over the rows."""
    with ignored_warnings(start="There is a performance drop because we have not yet implemented"):
        yield


@contextmanager
def inference_state(module: nn.Module, like: Tensor, *, gradients: bool = False, draws: bool = True) -> Iterator[None]:
    """Run a user's model inside: in eval mode and outside of ``torch.inference_mode``; afterwards all is as it was.

    Any number of threads may be inside with the same model, or with models that share modules. A thread that trains
    the model, or sets its mode, meanwhile is not among them: the state that the first thread found comes back.

    Args:
        module: The model, or a module that holds it.
        like: A tensor on the device of the model, whose random generator is preserved.
        gradients: Whether gradients are recorded.
        draws: Whether the model may draw from the global generators. If it does not, and there are other threads, the
            generators are left alone: a change would be theirs.
    """
    rng = preserve_rng(like) if draws or active_count() == 1 else nullcontext()
    with eval_mode(module), results_removed(module), rng:
        with torch.inference_mode(False), torch.set_grad_enabled(gradients), model_failures(module):
            yield
