"""The state in which a part of a user's model runs: with gradients, and with its Gaussian noise replaced."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

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
        self.noise, self.n, self.calls = noise, n, 0
        self.grad_enabled, self.inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def __torch_function__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``function`` or its replacement."""
        kwargs = kwargs or {}
        if function is torch._C._set_grad_enabled and self.grad_enabled and not args[0]:
            return None
        if torch.is_inference_mode_enabled() and not self.inference:
            with torch.inference_mode(False), torch.set_grad_enabled(self.grad_enabled):
                return self._run(function, args, kwargs)
        return self._run(function, args, kwargs)

    def _run(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        replacement = GAUSSIAN.get(function)
        if replacement is None or self.noise is None or "out" in kwargs:
            return function(*args, **kwargs)
        return replacement(partial(self._standard_normal, self.noise), *args, **kwargs)

    def _standard_normal(self, noise: Noise, like: Tensor) -> Tensor:
        self.calls += 1
        return noise(like, self.n, self.calls - 1)


StandardNormal = Callable[[Tensor], Tensor]


def _randn(standard: StandardNormal, *size: Any, generator: Any = None, **settings: Any) -> Tensor:
    return standard(torch.empty(*size, **settings))


def _randn_like(standard: StandardNormal, like: Tensor, *, generator: Any = None, **settings: Any) -> Tensor:
    return standard(torch.empty_like(like, **settings))


def _normal(
    standard: StandardNormal,
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    **settings: Any,
) -> Tensor:
    like = mean + torch.as_tensor(std) if size is None else torch.empty(size, **settings)
    noise: Tensor = mean + std * standard(like)
    return noise


def _normal_(
    standard: StandardNormal, tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None
) -> Tensor:
    return tensor.copy_(mean + std * standard(tensor))


# Functions of torch that draw Gaussian noise, and their replacements, whose arguments have the names that torch gives
# them. Normal.rsample and nn.init.normal_ call these functions.
GAUSSIAN: dict[Any, Callable[..., Tensor]] = {
    torch.randn: _randn,
    torch.randn_like: _randn_like,
    torch.normal: _normal,
    torch.Tensor.normal_: _normal_,
}
