"""Checks of a model before it is run: its tensors hold numbers that torch computes with."""

from collections.abc import Callable, Iterator, Mapping
from os import PathLike

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shapae.errors import ModelError
from shapae.utils.text import enumerate_names

# Dtypes of floating point numbers that torch computes with.
COMPUTED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Package of the layers that round by the smallest and the largest number of a batch.
DYNAMIC = "torch.ao.nn.quantized.dynamic"
# Faults of a tensor, in the order in which they are looked for: what it is, and what to do about it.
FAULTS: tuple[tuple[Callable[[Tensor], bool], str, str], ...] = (
    (
        is_lazy,
        "have no shape yet",
        "Run the model once on rows before, model(torch.zeros(2, d)), or load its weights.",
    ),
    (
        lambda each: each.is_meta,
        "are on the device meta, which holds no numbers",
        "Load the weights: model.load_state_dict(state, assign=True).",
    ),
    (
        lambda each: each.is_floating_point() and each.dtype not in COMPUTED,
        "have a dtype that torch stores but does not compute with",
        "Convert the model: model.float().",
    ),
)


def check_weights(model: nn.Module) -> None:
    """Check that the parameters and buffers of a model hold numbers that torch computes with.

    Raises:
        ModelError: Some of them do not, or the layers round by the whole batch.
    """
    name, tensors = type(model).__name__, [*_named_tensors(model)]
    for is_faulty, fault, remedy in FAULTS:
        found = [path for path, each in tensors if is_faulty(each)]
        if found:
            raise ModelError(f"{name} can't be run: its {enumerate_names(found, 'tensor')} {fault}. {remedy}")
    rounding = [path or name for path, each in model.named_modules() if type(each).__module__.startswith(DYNAMIC)]
    if rounding:
        raise ModelError(
            f"{name} can't be explained after dynamic quantization: its {enumerate_names(rounding, 'layer')} round by "
            f"the largest number of the whole batch, so that the score of a row depends on other rows. Explain the "
            f"model that was quantized."
        )


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def hint_at_module(model: object) -> str:
    """Say how to make a module of something that is none."""
    if isinstance(model, type):
        return f"Did you mean {model.__name__}()?"
    if isinstance(model, str | PathLike):
        return "Make the model, and load its weights: model.load_state_dict(torch.load(path, weights_only=True))."
    if isinstance(model, Mapping):
        return "Make the model, and load its weights: model.load_state_dict(state)."
    if hasattr(model, "module") and callable(model.module):  # of torch.export
        return "Take its module: program.module()."
    if hasattr(model, "shape"):  # a table
        return "The model comes first: Explainer(model, background)."
    return "Other functions are explained by shap.KernelExplainer(function, background)."
