"""The state in which a part of a user's model runs: with gradients, and with its Gaussian noise replaced."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from shapae.utils.dispatch import DispatchMode
from shapae.utils.torch_private import set_grad_enabled

# (like, n, call) -> standard normal noise, in the shape and dtype and on the device of ``like``, for the ``call``-th
# request for noise by a part that runs on n rows.
Noise = Callable[[Tensor, int, int], Tensor]


def zero_noise(like: Tensor, n: int, call: int) -> Tensor:
    """Return 0, the mean of the noise."""
    return torch.zeros_like(like)


class FixedNoise:
    """One sample of the noise, shared by all rows, so that a row gets equal noise alone and in a batch.

    Args:
        number: Number of the sample, from 0.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, like: Tensor, n: int, call: int) -> Tensor:
        """Draw ``Noise``. The first axis of length n is taken for the axis of the rows."""
        row_axis = list(like.shape).index(n) if n in like.shape else None
        shape = [1 if axis == row_axis else size for axis, size in enumerate(like.shape)]
        sample = np.random.default_rng((self.number, call)).standard_normal(shape)
        noise = torch.as_tensor(sample, dtype=like.dtype, device=like.device)
        return noise.expand_as(like).clone()  # a clone, for models that write into their noise


class ForwardMode(TorchFunctionMode):
    """Replacements of functions of torch, in this thread, while a part of a model runs.

    If the caller wants gradients, ``torch.no_grad`` and ``torch.inference_mode`` have no effect.

    Args:
        noise: Replacement of the Gaussian noise of the part; None to let the part draw.
        n: Number of rows that the part runs on.
    """

    def __init__(self, noise: Noise | None, n: int) -> None:
        super().__init__()
        self.noise, self.n, self.calls, self.drawing = noise, n, 0, False
        self.grad_enabled, self.inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        self._stack = ExitStack()

    def __enter__(self) -> "ForwardMode":
        if self.noise is not None:
            self._stack.enter_context(OperatorMode(self))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._stack.close()

    def __torch_function__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``function`` or its replacement."""
        kwargs = kwargs or {}
        if function is set_grad_enabled and self.grad_enabled and not args[0]:
            return None
        if torch.is_inference_mode_enabled() and not self.inference:
            with torch.inference_mode(False), torch.set_grad_enabled(self.grad_enabled):
                return self._run(function, args, kwargs)
        return self._run(function, args, kwargs)

    def _run(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        replacement = FUNCTIONS.get(function)
        if replacement is None or self.noise is None:
            return function(*args, **kwargs)
        return replacement(self.standard_normal, *args, **kwargs)

    def standard_normal(self, like: Tensor) -> Tensor:
        """Replace the next noise of the part, of the shape of ``like``."""
        assert self.noise is not None
        self.calls, self.drawing = self.calls + 1, True  # a function of the user's own may draw
        try:
            return self.noise(like, self.n, self.calls - 1)
        finally:
            self.drawing = False


StandardNormal = Callable[[Tensor], Tensor]


class OperatorMode(DispatchMode):
    """Replacements of operators that draw Gaussian noise where ``ForwardMode`` sees no function of torch.

    Scripted code, ``torch.nn.init`` and functions written in C++ draw by operators. The gradient of such an operator is
    decided before it is dispatched; only functions have the gradients of their mean and standard deviation.

    Args:
        mode: It has the noise.
    """

    def __init__(self, mode: ForwardMode) -> None:
        super().__init__()
        self.mode = mode

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator or its replacement."""
        replacement = OPERATORS.get(operator_name(op))
        if replacement is None or self.mode.drawing:
            return op(*args, **(kwargs or {}))
        return replacement(self.mode.standard_normal, *args, **(kwargs or {}))


def operator_name(op: Any) -> str:
    """Name an operator without its overload: "normal" for aten.normal.Tensor_float."""
    return str(op.overloadpacket.__name__)


def _randn(
    standard: StandardNormal, *size: Any, generator: Any = None, out: Tensor | None = None, **settings: Any
) -> Tensor:
    if out is None:
        return standard(torch.empty(*size, **settings))
    return _write(out, standard(torch.empty(*size, dtype=out.dtype, device=out.device)))


def _randn_like(standard: StandardNormal, like: Tensor, *, generator: Any = None, **settings: Any) -> Tensor:
    return standard(torch.empty_like(like, **settings))


def _normal(
    standard: StandardNormal,
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    out: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    settings = settings if out is None else {"dtype": out.dtype, "device": out.device}
    like = mean + torch.as_tensor(std) if size is None else torch.empty(size, **settings)
    noise: Tensor = mean + std * standard(like)
    return noise if out is None else _write(out, noise)


def _write(out: Tensor, noise: Tensor) -> Tensor:
    return (out if out.shape == noise.shape else out.resize_(noise.shape)).copy_(noise)


def _normal_functional(
    standard: StandardNormal, like: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None
) -> Tensor:
    return mean + std * standard(like)


def _log_normal(
    standard: StandardNormal, like: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None
) -> Tensor:
    return _normal_functional(standard, like, mean, std).exp()


def _normal_(standard: StandardNormal, tensor: Tensor, *settings: Any, **named: Any) -> Tensor:
    return tensor.copy_(_normal_functional(standard, tensor, *settings, **named))


def _log_normal_(standard: StandardNormal, tensor: Tensor, *settings: Any, **named: Any) -> Tensor:
    return tensor.copy_(_log_normal(standard, tensor, *settings, **named))


# Functions of torch that draw Gaussian noise, and their replacements, whose arguments have the names that torch gives
# them. Normal.rsample calls these functions.
FUNCTIONS: dict[Any, Callable[..., Tensor]] = {
    torch.randn: _randn,
    torch.randn_like: _randn_like,
    torch.normal: _normal,
    torch.Tensor.normal_: _normal_,
    torch.Tensor.log_normal_: _log_normal_,
}
# The same for operators, by their names.
OPERATORS: dict[str, Callable[..., Tensor]] = {
    "randn": _randn,
    "randn_like": _randn_like,
    "normal": _normal,
    "normal_": _normal_,
    "normal_functional": _normal_functional,
    "log_normal": _log_normal,
    "log_normal_": _log_normal_,
}
