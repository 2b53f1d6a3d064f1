"""Losses: differences between a reconstruction and its target."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.utils.registry import Registry

__all__ = ["Absolute", "Cosine", "CrossEntropy", "Distance", "Elementwise", "GaussianNLL", "Huber", "Loss", "Square"]

LOSSES: Registry[Callable[[], "Loss"]] = Registry("loss")


class Elementwise(nn.Module):
    """An elementwise function as a module, so that explainers with hooks detect it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return self.function(values)

    def extra_repr(self) -> str:
        """Return the name of the function."""
        return str(getattr(self.function, "__name__", self.function))


class Loss(nn.Module):
    """Base of the losses with a name.

    A user's own loss is any nn.Module with this ``forward``.

    Attributes:
        by_feature: Whether there is one loss per feature.
    """

    by_feature = True

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """(n, d), (n, d) -> (n, d); (n,) if ``by_feature`` is False."""
        raise NotImplementedError


class ElementwiseLoss(Loss):
    """A function of the difference r - x."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = Elementwise(function)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        losses: Tensor = self.function(reconstruction - target)
        return losses


@LOSSES.register("mse")
class Square(ElementwiseLoss):
    """(r - x)**2."""

    def __init__(self) -> None:
        super().__init__(torch.square)


@LOSSES.register("mae")
class Absolute(ElementwiseLoss):
    """|r - x|."""

    def __init__(self) -> None:
        super().__init__(torch.abs)


class _Huber:
    def __init__(self, delta: float) -> None:
        self.delta = delta

    def __call__(self, difference: Tensor) -> Tensor:
        return nn.functional.huber_loss(difference, torch.zeros_like(difference), reduction="none", delta=self.delta)

    def __repr__(self) -> str:
        return f"huber, delta={self.delta}"


@LOSSES.register("huber")
class Huber(ElementwiseLoss):
    """(r - x)**2 / 2 if |r - x| <= delta, otherwise delta * (|r - x| - delta / 2).

    Args:
        delta: Positive, in the units of the target.
    """

    def __init__(self, delta: float = 1.0) -> None:
        _check_positive("delta", delta)
        super().__init__(_Huber(delta))


@LOSSES.register("gaussian_nll")
class GaussianNLL(Loss):
    """Negative log-likelihood of a normal distribution around r: (log(2 pi v) + (r - x)**2 / v) / 2.

    Args:
        variance: v, positive: a number, or one number per feature.
    """

    variance: Tensor

    def __init__(self, variance: float | Sequence[float] | Tensor = 1.0) -> None:
        super().__init__()
        self.register_buffer("variance", torch.as_tensor(variance, dtype=torch.float64).clone())
        _check_positive("variance", self.variance)
        self.square = Elementwise(torch.square)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        variance = self.variance.to(reconstruction)
        losses: Tensor = (torch.log(2 * math.pi * variance) + self.square(reconstruction - target) / variance) / 2
        return losses


@LOSSES.register("bce")
class CrossEntropy(Loss):
    """-x log r - (1 - x) log(1 - r), for reconstructions and targets between 0 and 1.

    If r or 1 - r is 0, it is replaced by the smallest normal number of the dtype.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log, self.log_rest = Elementwise(_log), Elementwise(_log)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        losses: Tensor = -target * self.log(reconstruction) - (1 - target) * self.log_rest(1 - reconstruction)
        return losses


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=torch.finfo(values.dtype).tiny).log()


@LOSSES.register("l2")
class Distance(Loss):
    """Euclidean distance, sqrt(sum_j (r_j - x_j)**2)."""

    by_feature = False

    def __init__(self) -> None:
        super().__init__()
        self.square, self.root = Elementwise(torch.square), Elementwise(torch.sqrt)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        distance: Tensor = self.root(self.square(reconstruction - target).sum(dim=1))
        return distance


@LOSSES.register("cosine")
class Cosine(Loss):
    """1 - cosine of the angle between r and x."""

    by_feature = False

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        return 1 - nn.functional.cosine_similarity(reconstruction, target, dim=1)


def as_loss(loss: str | nn.Module, *, by_feature: bool = False) -> nn.Module:
    """Make the loss with a name, or return a module unchanged.

    Args:
        loss: Name of the loss, or a module.
        by_feature: Whether there must be one loss per feature.

    Raises:
        UnknownName: There is no such loss.
        ModelError: ``loss`` is neither a name nor a module; or there must be one loss per feature, but it is per row.
    """
    module = LOSSES[loss]() if isinstance(loss, str) else loss
    if not isinstance(module, nn.Module):
        raise ModelError(f"the loss must be a name or a torch.nn.Module of (reconstruction, target), got {loss!r}.")
    if by_feature and not getattr(module, "by_feature", True):
        names = [name for name, kind in LOSSES.items() if getattr(kind, "by_feature", True)]
        raise ModelError(f"the loss {loss!r} gives one number per row, not one per feature. Use one of {names}.")
    return module


def _check_positive(name: str, number: float | Tensor) -> None:
    value = torch.as_tensor(number)
    if not (torch.isfinite(value) & (value > 0)).all():
        raise ModelError(f"{name} must be positive, got {value.tolist()}.")


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
