"""Gradients of rows with respect to the weights of a linear layer, as products of two factors."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from shapae.utils.blocks import block_bytes
from shapae.utils.memory import batches

# Bytes of the products of two blocks of gradients, which are held at once.
BLOCK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Factors:
    """Gradients of n scores with respect to the weights of a linear layer.

    The gradient of row i is the sum over its t positions of outputs[i, t] x inputs[i, t], a matrix (q, p). Most layers
    see a row at one position; layers of transformers see it at many. The inner product of two such gradients is the sum
    over all pairs of positions of <inputs, inputs'> <outputs, outputs'>, without any vector as long as the weights.

    Attributes:
        inputs: (n, t, p), inputs of the layer, with a column of ones for the bias.
        outputs: (n, t, q), gradients with respect to the outputs of the layer.

    Reference:
        Pruthi et al., 2020, section 4.2, https://arxiv.org/abs/2002.08484
    """

    inputs: Tensor
    outputs: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, block: slice) -> "Factors":
        return Factors(self.inputs[block], self.outputs[block])

    @property
    def nbytes(self) -> int:
        """Number of bytes of both factors."""
        return self.inputs.nbytes + self.outputs.nbytes

    @property
    def positions(self) -> int:
        """Number of positions, t."""
        return self.inputs.shape[1]

    @property
    def size(self) -> int:
        """Number of weights, q * p."""
        return self.inputs.shape[2] * self.outputs.shape[2]

    def dot(self, other: "Factors") -> Tensor:
        """Compute the inner products with the gradients of m other rows: (n, m)."""
        widths = self.inputs.shape[2] + self.outputs.shape[2]
        in_pairs = self.positions * other.positions * widths <= self.size or self.positions * other.positions == 1
        return self._dot_pairs(other) if in_pairs else self._dot_matrices(other)

    def squared_norms(self) -> Tensor:
        """Compute the squared norm of each gradient: (n,)."""
        pairs = [each @ each.transpose(1, 2) for each in (self.inputs, self.outputs)]
        return (pairs[0] * pairs[1]).sum(dim=(1, 2))

    def matrices(self) -> Tensor:
        """Compute the gradients themselves: (n, q, p)."""
        return self.outputs.transpose(1, 2) @ self.inputs

    def _dot_pairs(self, other: "Factors") -> Tensor:
        """Sum over all pairs of positions."""
        t, s, m = self.positions, other.positions, len(other)
        inputs, outputs = (each.flatten(0, 1).T for each in (other.inputs, other.outputs))
        row_bytes = max(1, 2 * t * s * m * self.inputs.element_size())
        parts = []
        for block in batches(len(self), max(1, block_bytes(BLOCK_BYTES, self.inputs) // row_bytes)):
            some = self[block]
            products = (some.inputs.flatten(0, 1) @ inputs).mul_(some.outputs.flatten(0, 1) @ outputs)
            parts.append(products.reshape(len(some), t, m, s).sum(dim=(1, 3)))
        return torch.cat(parts)

    def _dot_matrices(self, other: "Factors") -> Tensor:
        """Form the gradients of some rows at a time, where there are more pairs of positions than weights."""
        size = max(1, block_bytes(BLOCK_BYTES, self.inputs) // (self.size * self.inputs.element_size()))
        result = self.inputs.new_empty(len(self), len(other))
        for block in batches(len(self), size):
            some = self[block].matrices().flatten(1)
            for others in batches(len(other), size):
                result[block, others] = some @ other[others].matrices().flatten(1).T
        return result

    @classmethod
    def concatenate(cls, parts: Sequence["Factors"], dim: int = 0) -> "Factors":
        """Join the gradients of several blocks of rows; along ``dim`` 1 those of several uses of the layer."""
        if dim == 0:
            most = max(each.positions for each in parts)
            parts = [each._padded(most) for each in parts]
        return cls(torch.cat([each.inputs for each in parts], dim), torch.cat([each.outputs for each in parts], dim))

    @classmethod
    def of_matrices(cls, matrices: Tensor) -> "Factors":
        """Make factors of the gradients themselves, (n, q, p)."""
        n, q, _ = matrices.shape
        return cls(matrices, torch.eye(q).to(matrices).expand(n, q, q))

    def zeros(self, n: int) -> "Factors":
        """Make n gradients of zeros, of the same layer."""
        return Factors(*(each.new_zeros(n, 1, each.shape[2]) for each in (self.inputs, self.outputs)))

    def _padded(self, positions: int) -> "Factors":
        """Add positions of zeros, which count nothing."""
        more = positions - self.positions
        return Factors(pad(self.inputs, (0, 0, 0, more)), pad(self.outputs, (0, 0, 0, more))) if more else self


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer of a model, and the part of its gradient that is wanted.

    Attributes:
        path: Path of the layer within a module.
        weight: Whether the weight counts.
        bias: Whether the bias counts.
        rows_first: Whether the rows are the first axis of the inputs; otherwise they are the one before the last.
        positions: Number of positions of each row, at each use of the layer that matters to the scores. Layers that
            are run on some rows only have others.
    """

    path: str
    weight: bool
    bias: bool
    rows_first: bool = True
    positions: tuple[int, ...] = ()

    def parameters(self, module: nn.Module) -> list[nn.Parameter]:
        """List the weight and the bias that count, of the layer in a module."""
        layer, wanted = module.get_submodule(self.path), {"weight": self.weight, "bias": self.bias}
        return [layer.get_parameter(name) for name, counts in wanted.items() if counts]

    def fits(self, uses: Sequence[tuple[Tensor, Tensor]], n: int) -> bool:
        """Return whether n rows have the positions that are known."""
        return [inputs[..., 0].numel() for inputs, _ in uses] == [each * n for each in self.positions]

    def factors(self, uses: Sequence[tuple[Tensor, Tensor]], n: int) -> Factors:
        """Make the gradients of n rows from the inputs of each use of the layer, and the gradients of its outputs."""
        return Factors.concatenate([Factors(*map(self._by_rows, self._augment(*use), (n, n))) for use in uses], dim=1)

    def _augment(self, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        parts = [inputs] if self.weight else []
        parts += [inputs.new_ones(*inputs.shape[:-1], 1)] if self.bias else []
        return torch.cat(parts, dim=-1), outputs

    def _by_rows(self, tensor: Tensor, n: int) -> Tensor:
        """(..., p) -> (n, t, p)."""
        if self.rows_first:
            return tensor.reshape(n, -1, tensor.shape[-1])
        return tensor.reshape(-1, n, tensor.shape[-1]).transpose(0, 1)


Uses = dict[str, list[tuple[Tensor, Tensor]]]
_uses: ContextVar[Uses | None] = ContextVar("uses", default=None)


class RecordUse:
    """Hook that records each use of a layer: its input, and a tensor of zeros that is added to its output.

    The gradient with respect to this tensor is the gradient with respect to the output, also where the output is
    overwritten in place. Nothing is recorded outside of ``recorded``.

    Args:
        path: Path of the layer.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(
        self, layer: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor], output: Tensor
    ) -> Tensor | None:
        """Record the use, and return the output."""
        uses = _uses.get()
        if uses is None:
            return None
        added = torch.zeros_like(output, requires_grad=True)
        inputs = args[0] if args else kwargs["input"]
        uses.setdefault(self.path, []).append((inputs.detach(), added))
        return output + added


def add_hooks(module: nn.Module, paths: Sequence[str]) -> None:
    """Let the layers at some paths record their uses; the module must be a copy of the user's."""
    for path in paths:
        module.get_submodule(path).register_forward_hook(RecordUse(path), with_kwargs=True)


@contextmanager
def recorded() -> Iterator[Uses]:
    """Record the uses of layers with hooks in this thread: from paths to uses, in the order of the calls."""
    uses: Uses = {}
    token = _uses.set(uses)
    try:
        yield uses
    finally:
        _uses.reset(token)


def gradients_of_uses(scores: Tensor, uses: Uses) -> Uses:
    """Replace the added tensors by the gradients of the sum of the scores; layers that do not matter are left out."""
    added = [tensor for each in uses.values() for _, tensor in each]
    if not added or not scores.requires_grad:
        return {}
    found = iter(torch.autograd.grad(scores.sum(), added, allow_unused=True))
    paired = {path: [(inputs, next(found)) for inputs, _ in each] for path, each in uses.items()}
    known = {path: [(inputs, each) for inputs, each in pairs if each is not None] for path, pairs in paired.items()}
    return {path: pairs for path, pairs in known.items() if pairs}


def as_matrix(gradients: Sequence[Tensor]) -> Tensor:
    """Put the gradients of the weight and of the bias of a layer side by side: (q, p)."""
    return torch.cat([each.unsqueeze(-1) if each.ndim == 1 else each for each in gradients], dim=1)
