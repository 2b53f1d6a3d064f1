"""Gradients of single rows with respect to any parameters, as one vector a row."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from shapae.heads.score import Score
from shapae.utils.context import ignore_batching_warnings


@dataclass(frozen=True)
class ExampleGradients:
    """Function from rows (n, d) to the gradients of their scores (n, P), one row after the other.

    Attributes:
        score: A score of one output.
        names: Names of parameters of the score.
    """

    score: Score
    names: Sequence[str]

    @property
    def size(self) -> int:
        """Length of a gradient, P."""
        return sum(each.numel() for each in self.parameters.values())

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters by name."""
        named = dict(self.score.named_parameters())
        return {name: named[name] for name in self.names}

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, P)."""
        parameters = [*self.parameters.values()]
        gradients = (gradients_of_row(self.score, row[None], parameters) for row in rows)
        return torch.stack([torch.cat([each.flatten() for each in of_row]) for of_row in gradients])


class VectorizedGradients(ExampleGradients):
    """Gradients of all rows at once, by ``torch.func``, which does not take every model."""

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, P)."""

        def number(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
            used = {slot: parameters[name] for name, own in slots.items() for slot in own}
            score: Tensor = functional_call(self.score, used, (row[None], row[None]), tie_weights=False)
            return score.sum()

        parameters, slots = {name: each.detach() for name, each in self.parameters.items()}, self._slots()
        with ignore_batching_warnings(), torch.no_grad():  # no graph of the gradients themselves
            gradients = vmap(grad(number), in_dims=(None, 0), randomness="same")(parameters, rows)
        return torch.cat([gradients[name].flatten(1) for name in self.names], dim=1)

    def _slots(self) -> dict[str, list[str]]:
        """Find the names under which each parameter is held, one in each module.

        A module with two paths counts once: torch does not put its parameters back if they are replaced twice.
        """
        modules = [*self.score.named_modules()]
        return {
            name: [
                f"{path}.{own}".lstrip(".")
                for path, module in modules
                for own, each in module.named_parameters(recurse=False)
                if each is parameter
            ]
            for name, parameter in self.parameters.items()
        }


def gradients_of_row(score: Score, row: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Compute the gradients of the score of one row (1, d): one for each parameter, zeros where it is not used."""
    number = score.self_scores(row).sum()
    if not parameters or not number.requires_grad:
        return [torch.zeros_like(each) for each in parameters]
    found = torch.autograd.grad(number, parameters, allow_unused=True)
    return [
        torch.zeros_like(each) if gradient is None else gradient
        for each, gradient in zip(parameters, found, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Sketch:
    """Random projection of vectors of length P to r numbers, whose inner products are the same on average.

    Each coordinate is added to one of the r numbers, with a random sign, so that no matrix (P, r) is formed. The
    standard deviation of an inner product is at most sqrt(2 / r) times the product of both norms.

    Attributes:
        places: (P,). Number to which each coordinate is added.
        signs: (P,), 1 or -1.
        size: r.

    Reference:
        Weinberger et al., 2009, section 3, https://arxiv.org/abs/0902.2206
    """

    places: Tensor
    signs: Tensor
    size: int

    @classmethod
    def draw(cls, length: int, size: int, seed: int, like: Tensor) -> "Sketch":
        """Draw a projection of vectors of this length, to tensors like ``like``; the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        places = torch.randint(size, (length,), generator=generator)
        signs = torch.randint(2, (length,), generator=generator, dtype=torch.int8)
        return cls(places.to(like.device), (2 * signs - 1).to(like), size)

    def __call__(self, vectors: Tensor) -> Tensor:
        """(n, P) -> (n, r)."""
        return vectors.new_zeros(len(vectors), self.size).index_add_(1, self.places, vectors * self.signs)
