"""Gradients of scores with respect to the parameters of a model, row by row, without vectors of their length."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

from shapae.analysis.influence.examples import ExampleGradients, Sketch, gradients_of_row
from shapae.analysis.influence.factors import Factors, LinearLayer, Uses, as_matrix, gradients_of_uses, recorded
from shapae.heads.score import Score
from shapae.utils.memory import batches, bytes_per_row

# Number of copies of the numbers of a row that are held while its gradient is computed: activations, their gradients,
# and tensors that autograd saves.
COPIES = 4
# Lock that is held while ``torch.func`` swaps the parameters of a module, which other threads may run.
SWAPPING = Lock()


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of the scores of n rows.

    Attributes:
        scores: (n,).
        layers: From paths of linear layers to the gradients with respect to their weights; layers that do not matter
            to the scores are left out.
        rest: (n, P), gradients with respect to all other parameters; or (n, r), their random projection.
    """

    scores: Tensor
    layers: Mapping[str, Factors]
    rest: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.rest.nbytes + sum(each.nbytes for each in self.layers.values())

    def dot(self, other: "Gradients") -> Tensor:
        """Compute the inner products with the gradients of m other rows: (n, m)."""
        products = self.rest @ other.rest.T
        for path in self.layers.keys() & other.layers.keys():
            products += self.layers[path].dot(other.layers[path])
        return products

    def squared_norms(self) -> Tensor:
        """Compute the squared norm of the gradient of each row: (n,)."""
        return self.rest.square().sum(dim=1) + sum(each.squared_norms() for each in self.layers.values())

    @classmethod
    def concatenate(cls, parts: Sequence["Gradients"]) -> "Gradients":
        """Join the gradients of several blocks of rows."""
        known = {path: factors for each in parts for path, factors in each.layers.items()}
        layers = {
            path: Factors.concatenate([each.layers.get(path, some.zeros(len(each))) for each in parts])
            for path, some in known.items()
        }
        return cls(torch.cat([each.scores for each in parts]), layers, torch.cat([each.rest for each in parts]))


@dataclass(frozen=True, eq=False)
class RowGradients:
    """Function from rows to the gradients of their scores.

    Attributes:
        score: A score of one output, whose layers have hooks.
        layers: Linear layers, whose gradients are kept as factors.
        rest: Gradients with respect to all other parameters; None if there are none.
        sketch: Random projection of the latter; None to keep them as they are.
        batch_size: Number of rows whose gradients are computed at once.
    """

    score: Score
    layers: Sequence[LinearLayer]
    rest: ExampleGradients | None = None
    sketch: Sketch | None = None
    batch_size: int = 1

    def __call__(self, rows: Tensor) -> Gradients:
        """(n, d) -> gradients of n rows."""
        alone: AbstractContextManager[object] = SWAPPING if self.rest else nullcontext()
        with alone, torch.enable_grad():
            return Gradients.concatenate([self._of_batch(rows[each]) for each in batches(len(rows), self.batch_size)])

    def bytes_while_computed(self, rows: Tensor) -> float:
        """Measure the bytes that are held for each row while its gradient is computed."""
        activations = bytes_per_row(self.score.self_scores, rows[:2])
        return COPIES * (activations + (rows.element_size() * self.rest.size if self.rest else 0))

    def _of_batch(self, rows: Tensor) -> Gradients:
        n = len(rows)
        with recorded() as uses:
            scores = self.score.self_scores(rows)[:, 0]
        found = gradients_of_uses(scores, uses)
        layers = self._of_layers(found, rows)
        rest = self.rest(rows) if self.rest else rows.new_zeros(n, 0)
        return Gradients(scores.detach(), layers, self.sketch(rest) if self.sketch else rest)

    def _of_layers(self, found: Uses, rows: Tensor) -> dict[str, Factors]:
        """Make the factors of each layer; those of layers that are run on some of the rows only, row by row."""
        n = len(rows)
        fitting = {each.path: each.fits(found.get(each.path, []), n) for each in self.layers}
        layers = {
            each.path: each.factors(found[each.path], n)
            for each in self.layers
            if fitting[each.path] and each.path in found
        }
        others = {each.path: each.parameters(self.score) for each in self.layers if not fitting[each.path]}
        if others:
            flat = list(dict.fromkeys(each for own in others.values() for each in own))
            of_rows = [dict(zip(flat, gradients_of_row(self.score, row[None], flat), strict=True)) for row in rows]
            for path, own in others.items():
                layers[path] = Factors.of_matrices(torch.stack([as_matrix([row[p] for p in own]) for row in of_rows]))
        return layers
