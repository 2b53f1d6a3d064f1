"""The latent distribution of a model: by name, by type, or by the noise that the model draws when it is trained."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from shapae.models import outputs
from shapae.models.accessors import FORWARD, Field, Part, find_parts, has_forward
from shapae.models.noise import zero_noise
from shapae.models.refusals import refuse
from shapae.models.resolver import ENCODERS, Resolver, or_none
from shapae.models.trials import Candidate, Trials, same
from shapae.models.unwrapping import deep_copy
from shapae.utils.context import seeded
from shapae.utils.rounding import rounding_error

# Meanings of a tensor beside the mean: how its standard deviation and its log variance are computed.
SPREADS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "log variance": (lambda v: torch.exp(v / 2), torch.clone),
    "log standard deviation": (torch.exp, lambda v: 2 * v),
    "standard deviation": (torch.clone, lambda v: 2 * torch.log(v)),
    "variance": (torch.sqrt, torch.log),
    "softplus of the standard deviation": (F.softplus, lambda v: 2 * torch.log(F.softplus(v))),
}


# Names of modules that compute log variances, such as "fc_logvar".
LOG_VARIANCE = re.compile(r"log_?(var|sigma_?(2|sq))|(var|sigma2)_?log", re.IGNORECASE)


@dataclass(frozen=True)
class Named:
    """Mean and log variance by type or by name, see ``outputs.named_distribution``.

    Attributes:
        inner: Accessor of the output that holds them.
    """

    inner: Any

    def __call__(self, model: Any, rows: Tensor) -> Any:
        """Run the inner accessor and return the pair."""
        return outputs.named_distribution(self.inner(model, rows))

    def __str__(self) -> str:
        return str(self.inner)


@dataclass(frozen=True)
class Tested:
    """Mean and log variance by their places in an output, of a model whose noise has this spread.

    Attributes:
        inner: Accessor of the output that holds them.
        mean: Key of the mean.
        spread: Key of the spread.
        meaning: A key of ``SPREADS``.
    """

    inner: Any
    mean: Any
    spread: Any
    meaning: str

    def __call__(self, model: Any, rows: Tensor) -> Any:
        """Run the inner accessor and return the pair."""
        fields = outputs.output_fields(self.inner(model, rows))
        return fields[self.mean], SPREADS[self.meaning][1](fields[self.spread])

    def __str__(self) -> str:
        return f"{self.inner}[{self.mean!r}], with {self.inner}[{self.spread!r}] as its {self.meaning}"


@dataclass(frozen=True)
class Both:
    """Two accessors, as a pair.

    Attributes:
        first: The first accessor.
        second: The second accessor.
    """

    first: Any
    second: Any

    def __call__(self, model: Any, rows: Tensor) -> Any:
        """Run both."""
        return self.first(model, rows), self.second(model, rows)

    def __str__(self) -> str:
        return f"({self.first}, {self.second})"

    def code(self, x: str = "x") -> str:
        """Return the expression."""
        return f"({self.first.code(x)}, {self.second.code(x)})"


def find_distribution(resolver: Resolver) -> Any:
    """Find the accessor of mean and log variance of the latents.

    Raises:
        ModelError: There is no distribution by name or by type, and none whose noise could be tested.
    """
    if resolver.given["latent_distribution"]:
        return resolver.given["latent_distribution"]
    trials, latents = resolver.trials, or_none(resolver, "encode")
    roots: list[Any] = [resolver.given["encode"]] if resolver.given["encode"] else []
    roots += [*find_parts(resolver.model, ENCODERS), *([FORWARD] if has_forward(resolver.model) else [])]
    nested = [each for root in roots for each in [root, *_nested(trials, root)]]
    for root in nested:
        pair = outputs.named_distribution(trials.output(root))
        if latents and pair is not None and _is_pair(pair) and same(pair[0].squeeze(), latents.flat.squeeze()):
            return _by_noise(resolver, root) or Named(root)
    for root in nested:
        found = _unnamed(resolver, root, latents) if latents else None
        if found:
            return found
    for spread in resolver.modules_like(latents.tensor) if latents else []:
        found = _unnamed(resolver, Both(latents.accessor, spread), latents)
        if found:
            return found
    reason = "no tensors are its mean and its log variance by name or type, and no noise has such a spread"
    return refuse("latent_distribution", trials, reason, _pairs(trials, nested), roots)


def _by_noise(resolver: Resolver, root: Any) -> Tested | None:
    """Find another meaning of a named spread than its name has, which the noise of the model shows."""
    fields = outputs.output_fields(resolver.trials.output(root))
    mean = next((name for name in outputs.MEANS if name in fields), None)
    spread = next((name for name in outputs.VARIANCES if name in fields), None)
    meaning = _meaning(resolver, root, mean, spread) if mean and spread else None
    if not meaning or not spread:
        return None
    by_name, by_noise = outputs.VARIANCES[spread](fields[spread]), SPREADS[meaning][1](fields[spread])
    return None if same(by_noise, by_name) else Tested(root, mean, spread, meaning)


def _pairs(trials: Trials, roots: list[Any]) -> list[Candidate]:
    """List the neighbours in outputs that might be a mean and a log variance, for refusals."""
    pairs = []
    for root in roots:
        found = trials.candidates(root)
        for one, other in zip(found, found[1:], strict=False):
            if one.tensor.shape == other.tensor.shape and one.tensor.ndim == 2 and not trials.is_table(one.tensor):
                pairs.append(Candidate(Both(one.accessor, other.accessor), one.tensor))
    return pairs


def _nested(trials: Trials, root: Any) -> list[Any]:
    """List the accessors of the fields of an output that are outputs of their own."""
    fields = outputs.output_fields(trials.output(root))
    return [Field(root, key) for key, value in fields.items() if not isinstance(value, Tensor)]


def _is_pair(pair: tuple[Any, Any]) -> bool:
    return all(isinstance(each, Tensor) and each.shape == pair[0].shape and each.ndim > 1 for each in pair)


def _unnamed(resolver: Resolver, root: Any, latents: Candidate) -> Tested | None:
    """Find a tensor beside the mean that is the spread of the noise, or the output of a module of such a name."""
    fields = outputs.output_fields(resolver.trials.output(root))
    alike = [key for key, each in fields.items() if isinstance(each, Tensor) and each.shape == latents.tensor.shape]
    mean = next((key for key in alike if same(fields[key], latents.tensor)), None)
    for key in alike if mean is not None else []:
        meaning = None if key == mean else _meaning(resolver, root, mean, key) or _named(resolver, root, fields[key])
        if meaning:
            return Tested(root, mean, key, meaning)
    return None


def _named(resolver: Resolver, root: Any, tensor: Tensor) -> str | None:
    """Return "log variance" if ``tensor`` is the output of a module that is named after it."""
    names = [name for name, _ in resolver.model.named_modules() if LOG_VARIANCE.search(name.rpartition(".")[2])]
    returned = (each for name in names for each in resolver.trials.returned(Part(name), root))
    return "log variance" if any(same(each, tensor) for each in returned) else None


def _meaning(resolver: Resolver, root: Any, mean: Any, spread: Any) -> str | None:
    """Compare what the decoder receives with noise 0 and with noise 1: the difference is the standard deviation."""
    try:
        model = deep_copy(resolver.model).train()
    except Exception:  # a model that can't be copied can't be tested
        return None
    still, moved = (resolver.trials.in_state(model, noise) for noise in (zero_noise, _one))
    for decoder in resolver.decoders:
        pair = [_seeded(trials, decoder, resolver.whole) for trials in (still, moved)]
        fields = outputs.output_fields(_seeded_output(still, root))
        if not all(pair) or mean not in fields or not same(pair[0][0], fields[mean]):
            continue
        difference = pair[1][0] - pair[0][0]
        for meaning, (deviation, _) in SPREADS.items():
            if _close(difference, deviation(fields[spread])):
                return meaning
    return None


def _seeded(trials: Trials, decoder: Any, whole: Any) -> list[Tensor]:
    with seeded(0, trials.rows):  # the same dropout each time
        return trials.received(decoder, whole)


def _seeded_output(trials: Trials, root: Any) -> Any:
    with seeded(0, trials.rows):
        return trials.run(root)


def _close(difference: Tensor, deviation: Tensor) -> bool:
    """Compare with some room: the difference of two sums is less precise than the sums."""
    eps = rounding_error(difference.dtype) ** 0.5
    return difference.shape == deviation.shape and bool(
        torch.isfinite(deviation).all() and ((difference - deviation).abs() <= eps * deviation.abs().max()).all()
    )


def _one(like: Tensor, n: int, call: int) -> Tensor:
    return torch.ones_like(like)
