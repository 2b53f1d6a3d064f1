"""Losses: differences between a reconstruction and its target."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from shapae.errors import DataError, ModelError
from shapae.utils.constraints import check_arguments
from shapae.utils.kinds import written
from shapae.utils.registry import Registry

__all__ = [
    "Absolute",
    "Cosine",
    "CrossEntropy",
    "CrossEntropyWithLogits",
    "Distance",
    "Elementwise",
    "GaussianNLL",
    "Huber",
    "LogSquare",
    "Loss",
    "Square",
]

LOSSES: Registry[Callable[[], "Loss"]] = Registry("loss")


class Elementwise(nn.Module):
    """An elementwise function as a module, so that explainers with hooks detect it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        check_arguments(function=function)
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

    def check(self, reconstruction: Tensor, target: Tensor) -> None:
        """Check both on rows as they are, before any are mixed; a loss of your own raises a ``ShapaeError``."""

    def expected(self, reconstruction: Tensor) -> Tensor:
        """(n, d) -> (n, d): the targets that the model expects, in the units of the target."""
        return reconstruction


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
        check_arguments(delta=delta)
        super().__init__(_Huber(delta))


@LOSSES.register("mse_of_log1p")
class LogSquare(Loss):
    """(r - log(1 + x))**2, for a model that takes counts and reconstructs their logarithms.

    Targets are not negative.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log, self.square = Elementwise(torch.log1p), Elementwise(torch.square)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        losses: Tensor = self.square(reconstruction - self.log(target))
        return losses

    def check(self, reconstruction: Tensor, target: Tensor) -> None:
        """See ``Loss.check``.

        Raises:
            DataError: Some targets are negative.
        """
        if (low := target.min()) < 0:
            raise DataError(
                f"the loss 'mse_of_log1p' takes targets that are not negative, such as counts, but the rows begin at "
                f"{low:.4g}. Give the counts, as in shapae.from_anndata(adata, layer='counts'), or use 'mse'."
            )

    def expected(self, reconstruction: Tensor) -> Tensor:
        """See ``Loss.expected``: the counts."""
        return reconstruction.expm1()


@LOSSES.register("gaussian_nll")
class GaussianNLL(Loss):
    """Negative log-likelihood of a normal distribution around r: (log(2 pi v) + (r - x)**2 / v) / 2.

    Args:
        variance: v, positive: a number, or one number per feature.
    """

    variance: Tensor

    def __init__(self, variance: float | Sequence[float] | Tensor = 1.0) -> None:
        super().__init__()
        check_arguments(variance=variance.tolist() if isinstance(variance, Tensor) else variance)
        self.register_buffer("variance", torch.as_tensor(variance, dtype=torch.float64).clone())
        self.square = Elementwise(torch.square)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        variance = self.variance.to(reconstruction)
        losses: Tensor = (torch.log(2 * math.pi * variance) + self.square(reconstruction - target) / variance) / 2
        return losses


@LOSSES.register("bce")
class CrossEntropy(Loss):
    """-x log r - (1 - x) log(1 - r), for reconstructions and targets between 0 and 1.

    The smallest normal number of the dtype is added to r and 1 - r, so that the logarithms are finite. The loss of
    other reconstructions is NaN.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log, self.log_rest = Elementwise(_log), Elementwise(_log)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        losses: Tensor = -target * self.log(reconstruction) - (1 - target) * self.log_rest(1 - reconstruction)
        return losses

    def check(self, reconstruction: Tensor, target: Tensor) -> None:
        """See ``Loss.check``."""
        check_shares("bce", target, reconstruction)


def _log(values: Tensor) -> Tensor:
    return (values + torch.finfo(values.dtype).tiny).log()


@LOSSES.register("bce_with_logits")
class CrossEntropyWithLogits(Loss):
    """``CrossEntropy`` of sigmoid(r): x softplus(-r) + (1 - x) softplus(r), for logits r.

    Targets are between 0 and 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.softplus, self.softplus_rest = Elementwise(_softplus), Elementwise(_softplus)

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """See ``Loss.forward``."""
        losses: Tensor = target * self.softplus(-reconstruction) + (1 - target) * self.softplus_rest(reconstruction)
        return losses

    def check(self, reconstruction: Tensor, target: Tensor) -> None:
        """See ``Loss.check``."""
        check_shares("bce_with_logits", target)

    def expected(self, reconstruction: Tensor) -> Tensor:
        """See ``Loss.expected``: the sigmoid of the logits."""
        return reconstruction.sigmoid()


def _softplus(values: Tensor) -> Tensor:
    return nn.functional.softplus(values, threshold=40)  # where exp(-values) is nothing beside values, in float64, too


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
        raise ModelError(
            f"the loss must be a name or a torch.nn.Module of (reconstruction, target), got {written(loss)}."
        )
    if by_feature and not getattr(module, "by_feature", True):
        names = [name for name, kind in LOSSES.items() if getattr(kind, "by_feature", True)]
        raise ModelError(f"the loss {loss!r} gives one number per row, not one per feature. Use one of {names}.")
    return module


def expected_targets(loss: nn.Module, reconstruction: Tensor) -> Tensor:
    """Convert reconstructions to the units of the target, as the loss reads them.

    Logits become probabilities, and the logarithms of torch's Poisson loss become means. A loss of your own says so by
    a method ``expected``; without this method its reconstructions are taken to be in the units of the target.

    Args:
        loss: A loss of shapae or of torch, or another module.
        reconstruction: (n, d).

    Returns:
        (n, d).
    """
    expected = getattr(loss, "expected", None)
    if callable(expected):
        return torch.as_tensor(expected(reconstruction))
    if isinstance(loss, nn.BCEWithLogitsLoss | nn.MultiLabelSoftMarginLoss):
        return reconstruction.sigmoid()
    return reconstruction.exp() if isinstance(loss, nn.PoissonNLLLoss) and loss.log_input else reconstruction


def check_shares(name: str, target: Tensor, reconstruction: Tensor | None = None) -> None:
    """Check that numbers are between 0 and 1.

    Args:
        name: Name of the loss.
        target: (n, d). Rounding of scaled columns is tolerated.
        reconstruction: (n, d); None if there are logits in its place.

    Raises:
        DataError: Some targets are not.
        ModelError: Some reconstructions are not.
    """
    rounding = torch.finfo(target.dtype).eps ** 0.5
    low, high = target.aminmax()
    if low < -rounding or high > 1 + rounding:
        raise DataError(
            f"the loss {name!r} takes targets between 0 and 1, but the rows go from {low:.4g} to {high:.4g} in the "
            f"units of the model. If the model was trained on scaled columns, scale them: Autoencoder(model, "
            f"preprocess=sklearn.preprocessing.MinMaxScaler().fit(X)). Otherwise use a loss that takes all numbers, "
            f"such as 'mse'."
        )
    if reconstruction is None:
        return
    low, high = reconstruction.aminmax()
    if low < 0 or high > 1:
        raise ModelError(
            f"the loss {name!r} takes reconstructions between 0 and 1, but those of the model go from {low:.4g} to "
            f"{high:.4g}. If they are logits, use the loss 'bce_with_logits': "
            f"head=shapae.heads.ReconstructionError('bce_with_logits')."
        )


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
