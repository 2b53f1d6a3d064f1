"""While a part of a user's model runs: gradients flow through it, and its Gaussian noise is what was asked for."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# (like, n, call) -> standard normal noise, in the shape and dtype and on the device of ``like``, for a part that is run
# on n rows and asks for noise for the ``call``-th time.
Noise = Callable[[Tensor, int, int], Tensor]


def zero_noise(like: Tensor, n: int, call: int) -> Tensor:
    """The mean of all draws."""
    return torch.zeros_like(like)


class FixedNoise:
    """One draw of the noise, the same for all rows: a row alone has the one that it has among others.

    Args:
        number: Which one, from 0.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, like: Tensor, n: int, call: int) -> Tensor:
        """See ``Noise``. The first axis of length n is that of the rows."""
        axis = list(like.shape).index(n) if n in like.shape else None
        shape = [1 if place == axis else size for place, size in enumerate(like.shape)]
        drawn = np.random.default_rng((self.number, call)).standard_normal(shape)
        one = torch.as_tensor(drawn, dtype=like.dtype, device=like.device)
        return one.expand_as(like).clone()  # models write into their noise


class ForwardMode(TorchFunctionMode):
    """What a part of a model asks of torch is answered like this, in this thread, while the part runs.

    Where the caller wants gradients, ``torch.no_grad`` and ``torch.inference_mode`` are without effect.

    Args:
        noise: Replaces the Gaussian numbers that the part draws; None to let it draw.
        n: On how many rows the part is run.
    """

    def __init__(self, noise: Noise | None, n: int) -> None:
        super().__init__()
        self.noise, self.n, self.calls = noise, n, 0
        self.graded, self.inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def __torch_function__(
        self, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``function``, or what stands for it."""
        kwargs = kwargs or {}
        if function is torch._C._set_grad_enabled and self.graded and not args[0]:
            return None
        if torch.is_inference_mode_enabled() and not self.inference:
            with torch.inference_mode(False), torch.set_grad_enabled(self.graded):
                return self._run(function, args, kwargs)
        return self._run(function, args, kwargs)

    def _run(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        draw = GAUSSIAN.get(function)
        if draw is None or self.noise is None or "out" in kwargs:
            return function(*args, **kwargs)
        return draw(partial(self._standard, self.noise), *args, **kwargs)

    def _standard(self, noise: Noise, like: Tensor) -> Tensor:
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


# By the function of torch that draws: Normal.rsample, too, and nn.init.normal_ draw by these.
GAUSSIAN: dict[Any, Callable[..., Tensor]] = {
    torch.randn: _randn,
    torch.randn_like: _randn_like,
    torch.normal: _normal,
    torch.Tensor.normal_: _normal_,
}
