"""The precision of a model: the dtype of the rows that it takes, and its copy in full precision."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import is_not
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shapae.errors import ModelError, ShapaeError
from shapae.models.unwrapping import deep_copy, parameters_and_buffers
from shapae.models.weights import COMPUTED
from shapae.utils.text import enumerate_names

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")
HALVES = (torch.bfloat16, torch.float16)
# Texts of torch about dtypes that do not fit.
DTYPE_ERROR = re.compile(r"dtype|scalar type|Input type|must have the type|\b(?:Double|Float|Half|BFloat16)\b")


def full_precision(module: M) -> M:
    """Return ``module``, or a copy whose parameters and buffers in bfloat16 or float16 are in float32."""
    if not any(each.dtype in HALVES for each in parameters_and_buffers(module)):
        return module
    twin = deep_copy(module)
    for each in parameters_and_buffers(twin):
        if each.dtype in HALVES:
            each.data, each.grad = each.detach().float(), None
    return twin


def row_dtypes(module: nn.Module, rows: Tensor) -> list[torch.dtype]:
    """List the dtypes in which ``module`` may take rows, the most likely first.

    Args:
        module: The dtype of most numbers in its floating point parameters comes first, or in its buffers if it has
            no such parameters; float32 for half precision.
        rows: Their dtype comes first if ``module`` has no floating point tensors.
    """
    counts = next(filter(None, map(_count_numbers, (module.parameters(), module.buffers(), [rows]))), None)
    likely = counts.most_common(1)[0][0] if counts else torch.float32
    return sorted((torch.float32, torch.float64), key=lambda dtype: dtype != torch.promote_types(likely, torch.float32))


def _count_numbers(tensors: Iterable[Tensor]) -> Counter[torch.dtype]:
    counts = Counter[torch.dtype]()
    for each in tensors:
        if each.dtype in COMPUTED and not is_lazy(each):
            counts[each.dtype] += each.numel()
    return counts


def run_in_precision(
    run: Callable[..., T], rows: Tensor, modules: Sequence[nn.Module], dtypes: Sequence[torch.dtype] | None = None
) -> T:
    """Call ``run`` with modules and rows in the first precision that they accept, and return its result.

    Modules in half precision are tried in full precision first, and as they are if this fails.

    Args:
        run: Function of the modules, or of their copies, and of the rows.
        rows: (n, d), any dtype.
        modules: The model, and other modules.
        dtypes: Dtypes of the rows to try; None for ``row_dtypes`` of the model.

    Raises:
        ModelError: Each precision fails because dtypes do not fit.
        Exception: ``run`` fails for another reason.
    """
    floating = (each for each in parameters_and_buffers(modules[0]) if each.is_floating_point())
    device, dtypes = next(floating, rows).device, dtypes or row_dtypes(modules[0], rows)
    copies, errors = [full_precision(each) for each in modules], list[Exception]()
    for parts in [copies, modules] if any(map(is_not, copies, modules)) else [modules]:
        for dtype in dtypes:
            try:
                return run(*parts, rows.to(device, dtype))
            except Exception as error:
                errors.append(error)
    others = [error for error in errors if not _is_about_dtypes(error)]
    if others:
        raise others[0]
    first = errors[0].__cause__ or errors[0]
    raise ModelError(_describe_dtypes(first, modules[0], dtypes)) from first


def _is_about_dtypes(error: Exception) -> bool:
    """Return whether torch complains of dtypes; messages of shapae hold names of models, which may look like it."""
    cause = error.__cause__ if isinstance(error, ShapaeError) else error
    return cause is not None and DTYPE_ERROR.search(str(cause)) is not None


def _describe_dtypes(error: BaseException, module: nn.Module, dtypes: Sequence[torch.dtype]) -> str:
    names: dict[torch.dtype, list[str]] = {}
    for name, each in [*module.named_parameters(), *module.named_buffers()]:
        if each.is_floating_point():
            names.setdefault(each.dtype, []).append(name)
    tensors = " and ".join(enumerate_names(each, f"{dtype} tensor") for dtype, each in names.items())
    return (
        f"the model or the head has dtypes that do not fit: {error}. Rows of {' and of '.join(map(str, dtypes))} were "
        f"tried; the model has {tensors or 'no floating point parameters or buffers'}. Give all tensors one dtype, "
        f"model.float(), or cast in forward: ((x - self.mean) / self.scale).float(). Tensors that are plain attributes "
        f"keep their dtype in model.float(); self.register_buffer('mean', mean) makes them part of the model."
    )
