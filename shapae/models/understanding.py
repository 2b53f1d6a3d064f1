"""The understanding of a model: its parts, whether they fit together, and how its noise is replaced."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from shapae.errors import ModelError
from shapae.models import outputs
from shapae.models.accessors import find_parts
from shapae.models.distribution import find_distribution
from shapae.models.noise import Noise, zero_noise
from shapae.models.resolver import ENCODERS, Resolver
from shapae.models.trials import Candidate, Runner, Trials, same

MEAN_NOTE = "the model draws Gaussian noise in eval mode; the mean of the noise is used in its place"
GIVEN_NOTE = "Gaussian noise that the model draws is replaced as given by noise="
Part = Any


@dataclass(frozen=True, eq=False)
class Understanding:
    """The understanding of a model by evidence.

    Attributes:
        parts: Accessors of reconstruct, encode, decode and latent_distribution; or the error that says why a part is
            not clear.
        shapes: Shapes of the tensors of the parts that have one, such as (n, 16).
        holds: Whether decode(encode(rows)) = reconstruct(rows) on a few rows; None if that can't be tested.
        noise: Replacement of the noise of the model.
        note: Sentence on the noise; empty if the model draws none.
    """

    parts: dict[str, Part | ModelError]
    shapes: dict[str, str]
    holds: bool | None
    noise: Noise | None
    note: str

    def record(self, *, if_found: bool = False) -> dict[str, str]:
        """Say in words what each part is, for people and for JSON.

        Args:
            if_found: Whether a model of which nothing is clear is an error.

        Raises:
            ModelError: Nothing is clear.
        """
        reconstruct, encode = self.parts["reconstruct"], self.parts["encode"]
        if if_found and isinstance(reconstruct, ModelError) and isinstance(encode, ModelError):
            raise ModelError(str(reconstruct))
        record = {label: self._words(name) for name, label in LABELS.items() if self._is_worth_saying(name)}
        if self.holds is not None:
            record["latents"] += f"; decode(encode(x)) = reconstruct(x): {'yes' if self.holds else 'no'}"
        return record | ({"noise": self.note} if self.note else {})

    def _words(self, name: str) -> str:
        part = self.parts[name]
        shape = f", {self.shapes[name]}" if name in self.shapes else ""
        return "not clear" if isinstance(part, ModelError) else f"{part}{shape}"

    def _is_worth_saying(self, name: str) -> bool:
        return name in ("reconstruct", "encode") or not isinstance(self.parts[name], ModelError)


LABELS = {
    "reconstruct": "reconstruction",
    "encode": "latents",
    "decode": "decoder",
    "latent_distribution": "latent distribution",
}


def understand(runner: Runner, given: dict[str, Any], rows: Tensor, *, settle_noise: bool) -> Understanding:
    """Find the parts of a model by evidence from a few rows.

    Args:
        runner: The model, in eval mode.
        given: The accessors that the user gave; None for others.
        rows: (n, d).
        settle_noise: Whether Gaussian noise is replaced by its mean if the model draws any.
    """
    noise = _settled_noise(runner, given, rows) if settle_noise else runner.noise
    trials = Trials(replace(runner, noise=None if noise is None else zero_noise), rows)  # at its mean, in any case
    resolver = Resolver(trials, given)
    shapes: dict[str, str] = {}

    def part(name: str, find: Callable[[], Any]) -> Part | ModelError:
        try:
            found = find()
        except ModelError as error:
            return error
        if not isinstance(found, Candidate):
            return found
        shapes[name] = found.shape
        return found.accessor

    parts = {
        "reconstruct": part("reconstruct", lambda: resolver.reconstruct),
        "encode": part("encode", lambda: resolver.encode),
        "decode": part("decode", lambda: resolver.decode),
        "latent_distribution": part("latent_distribution", lambda: find_distribution(resolver)),
    }
    note = "" if noise is None else MEAN_NOTE if settle_noise else GIVEN_NOTE
    return Understanding(parts, shapes, resolver.holds, noise, note)


def _settled_noise(runner: Runner, given: dict[str, Any], rows: Tensor) -> Noise | None:
    """Choose the mean of the noise if that makes a random model deterministic, and no replacement otherwise."""
    if not _is_random(runner, given, rows):
        return None
    return None if _is_random(replace(runner, noise=zero_noise), given, rows) else zero_noise


def _is_random(runner: Runner, given: dict[str, Any], rows: Tensor) -> bool:
    one, other = (_results(Trials(runner, rows), given) for _ in range(2))
    return len(one) != len(other) or not all(same(a, b) for a, b in zip(one, other, strict=True))


def _results(trials: Trials, given: dict[str, Any]) -> list[Tensor]:
    resolver = Resolver(trials, given)
    roots = [resolver.whole, *(given[name] or None for name in ("encode", "latent_distribution"))]
    roots += find_parts(trials.runner.model, ENCODERS)
    found = [tensor for root in roots if root for _, tensor in outputs.find_tensors(trials.output(root))]
    return [torch.nan_to_num(tensor) for tensor in found]
