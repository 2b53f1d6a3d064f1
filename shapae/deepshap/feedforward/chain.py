"""Feed-forward chains: tapes of alternating affine maps and elementwise functions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from shapae.deepshap.rules import is_affine, is_nonlinearity
from shapae.deepshap.tracing.tape import Step, Tape, Values, Variable
from shapae.deepshap.tracing.transpose import transpose_of
from shapae.utils.torch_private import tree_leaves

# Number of random sign vectors that distinguish a diagonal matrix from others, so large that chance plays no role.
SIGN_VECTORS = 32
# Elements of the values that are computed at once for a matrix, chosen to bound the memory.
CHUNK_ELEMENTS = 2**24
# Cost of one memory pass over one number: the multiplications of a matrix product that take as long.
MEMORY_COST = 8
# Row stride of the outputs of matrix products, in numbers; with other strides the products take up to a third longer.
ALIGNMENT = 16


@dataclass(frozen=True, eq=False)
class Affine:
    """An affine map, as a sequence of steps on a tape.

    Attributes:
        steps: The steps, in the order in which they ran.
        source: Slot of the input.
        target: Slot of the output.
        shapes: Shapes of both, and of other slots that the steps start from, which are set to 0 here.
        like: A tensor in the dtype and on the device of the computation.
    """

    steps: tuple[Step, ...]
    source: int
    target: int
    shapes: dict[int, torch.Size]
    like: Tensor

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of output and input."""
        return prod(self.shapes[self.target]), prod(self.shapes[self.source])

    @property
    def multiplications(self) -> int:
        """Number of multiplications for one vector."""
        return 0 if self.diagonal is not None else prod(self.sizes)

    @cached_property
    def diagonal(self) -> Tensor | None:
        """The diagonal (in,), if the matrix is diagonal: then the sign of each output follows its own input alone."""
        if self.sizes[0] != self.sizes[1]:
            return None
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(2, (SIGN_VECTORS, self.sizes[1]), generator=generator).to(self.like) * 2 - 1
        out = self._map_vectors(self._transpose, signs) * signs
        return out[0] if torch.equal(out, out[:1].expand_as(out)) else None

    @cached_property
    def matrix(self) -> Tensor:
        """Matrix (out, in)."""
        n_out, n_in = self.sizes
        if n_out <= n_in:
            return self._map_vectors(self._transpose, torch.eye(n_out).to(self.like))
        pushforward = transpose_of(self._transpose, self.like.new_zeros(n_out))  # the transpose of the transpose
        return self._map_vectors(lambda vector: pushforward(vector)[0], torch.eye(n_in).to(self.like)).mT.contiguous()

    @cached_property
    def _transpose(self) -> Callable[[Tensor], Tensor]:
        apply = transpose_of(self.run, self.like.new_zeros(self.sizes[1]))
        return lambda multipliers: apply(multipliers)[0]

    def _map_vectors(self, function: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
        size = max(1, CHUNK_ELEMENTS // max(prod(shape) for shape in self.shapes.values()))
        mapped: Tensor = torch.vmap(function, chunk_size=size)(vectors)
        return mapped

    @property
    def dense(self) -> Tensor:
        """Matrix (out, in), also of a diagonal map."""
        return self.matrix if self.diagonal is None else torch.diag(self.diagonal)

    @cached_property
    def transposed(self) -> Tensor:
        """Transposed matrix (in, out), contiguous."""
        return self.dense.mT.contiguous()

    def run(self, values: Tensor) -> Tensor:
        """Apply the affine map: (in,) -> (out,)."""
        filled = {slot: self.like.new_zeros(shape) for slot, shape in self.shapes.items()}
        filled[self.source] = values.reshape(self.shapes[self.source])
        for step in self.steps:
            filled[step.slot] = step.run(*(filled[slot] for slot in step.variables))
        return filled[self.target].reshape(-1)

    def forward(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """Apply the linear part: (..., in) -> (..., out), into the tensor ``out`` if it is given."""
        if self.diagonal is None:
            return torch.matmul(values, self.matrix.mT, out=out)
        return torch.mul(values, self.diagonal, out=out)

    def forward_columns(self, columns: Tensor) -> Tensor:
        """Apply the linear part to columns: (in, m) -> (out, m)."""
        return self.matrix @ columns if self.diagonal is None else self.diagonal.unsqueeze(1) * columns

    def backward(self, multipliers: Tensor) -> Tensor:
        """Apply the transpose: (..., out) -> (..., in)."""
        if self.diagonal is not None:
            return multipliers * self.diagonal
        flat = multipliers.flatten(0, -2)
        out = torch.mm(flat, self.matrix, out=padded_empty(flat, len(flat), self.sizes[1]))
        return out.reshape(*multipliers.shape[:-1], self.sizes[1])


def padded_empty(like: Tensor, *shape: int) -> Tensor:
    """Allocate the output of a matrix product, with the row stride ``ALIGNMENT``."""
    *leading, width = shape
    return like.new_empty(*leading, -(-width // ALIGNMENT) * ALIGNMENT)[..., :width]


@dataclass(frozen=True, eq=False)
class LinearSegment:
    """Sum of affine maps with the same target: from one nonlinearity to the next, and of the skip connection."""

    maps: tuple[Affine, ...]
    op = "an affine map"

    @property
    def place(self) -> str:
        """Module that ran the last step."""
        return self.maps[0].steps[-1].place

    @property
    def slot(self) -> int:
        """Slot of the output."""
        return self.maps[0].target

    @property
    def variables(self) -> list[int]:
        """Slots of the inputs."""
        return [affine.source for affine in self.maps]

    def backward(self, terms: list[Tensor]) -> list[list[Tensor]]:
        """Compute the multipliers of each input from those of the output, in terms with three leading axes."""
        flat = [term.flatten(3) for term in terms]
        return [
            [_unflatten(affine.backward(term), affine.shapes[affine.source]) for term in flat] for affine in self.maps
        ]


def _unflatten(term: Tensor, shape: torch.Size) -> Tensor:
    return term.reshape(*term.shape[:3], *shape)


@dataclass(frozen=True, eq=False)
class FeedForward:
    """A tape as alternating affine maps and elementwise functions.

    Attributes:
        maps: Affine maps from the row to the scores. A narrow value between two nonlinearities splits the map in two.
        nonlinearities: The elementwise step after each map but the last; None between the two halves of a split map.
        skip: Affine map from the row to the last nonlinearity, as in a reconstruction error; None without a skip.
        weights: Number of weights on the tape itself.
    """

    maps: tuple[Affine, ...]
    nonlinearities: tuple[Step | None, ...]
    skip: Affine | None
    weights: int

    @property
    def widths(self) -> list[int]:
        """Number of features, input width of each nonlinearity, and number of outputs."""
        return [self.maps[0].sizes[1], *(affine.sizes[0] for affine in self.maps)]

    @property
    def multiplications(self) -> int:
        """Number of multiplications for one vector through all maps."""
        return sum(affine.multiplications for affine in (*self.maps, self.skip) if affine is not None)

    @property
    def saving(self) -> int:
        """Number of multiplications per pair and output that the merged maps save."""
        return self.weights - self.multiplications

    @property
    def preparation(self) -> int:
        """Number of multiplications to compute all matrices."""
        return sum(affine.multiplications * min(affine.sizes) for affine in self.maps)

    @cached_property
    def steps(self) -> tuple[Step | LinearSegment, ...]:
        """Alternating linear segments and nonlinearities."""
        segments = [
            LinearSegment((affine, self.skip) if self.skip and self.skip.target == affine.target else (affine,))
            for affine in self.maps
        ]
        steps = [step for pair in zip(segments, (*self.nonlinearities, None), strict=True) for step in pair]
        return tuple(step for step in steps if step is not None and step.slot not in step.variables)

    @property
    def result(self) -> Variable:
        """Placeholder of the scores."""
        return Variable(self.maps[-1].target)

    @property
    def slots(self) -> list[int]:
        """Slots of the row, and of the inputs and outputs of the nonlinearities."""
        return [0, *(slot for step in self.nonlinearities if step for slot in (step.slot, step.variables[0]))]


class _SegmentFinder:
    """Search for the affine maps between the nonlinearities of a tape, which are its steps that are not affine."""

    def __init__(self, tape: Tape, values: Values) -> None:
        self.steps, self.like = tape.steps, values[0]
        self.shapes = {slot: value.shape[1:] for slot, value in values.items()}
        self.nonlinearities = [step for step in tape.steps if not is_affine(step)]
        self.stops = {0, *(step.slot for step in self.nonlinearities)}

    def trace_back(self, target: int, *stops: int) -> tuple[set[int], tuple[Step, ...]]:
        """Find the nonlinearities and ``stops`` that ``target`` depends on directly, and the steps between them."""
        pending, sources = {target}, set()
        steps = []
        for step in (None, *self.steps)[::-1]:
            slot = step.slot if step else 0
            if slot in pending and slot in {*self.stops, *stops}:
                sources.add(slot)
            elif slot in pending and step:
                steps.append(step)
                pending.update(step.variables)
        return sources, tuple(steps[::-1])

    def affine(self, source: int, target: int) -> Affine:
        """Build the map from ``source`` to ``target``."""
        sources, steps = self.trace_back(target, source)
        shapes = {slot: self.shapes[slot] for slot in {*sources, source, target}}
        return Affine(steps, source, target, shapes, self.like)

    def split(self, whole: Affine) -> list[Affine]:
        """Split ``whole`` at its narrowest bottleneck if the two maps cost less."""
        n_out, n_in = whole.sizes
        cost = {step.slot: prod(self.shapes[step.slot]) * (n_out + n_in) for step in whole.steps[:-1]}
        for slot in sorted(cost, key=lambda slot: cost[slot]):
            if cost[slot] < whole.multiplications and whole.source not in self.trace_back(whole.target, slot)[0]:
                return [self.affine(whole.source, slot), self.affine(slot, whole.target)]
        return [whole]


def as_feedforward(tape: Tape, values: Values) -> FeedForward | None:
    """Convert a tape to a feed-forward chain.

    Args:
        tape: Recorded from a function.
        values: Values of any rows on the tape.

    Returns:
        None if the tape is not a chain or has several dtypes. Also None if the matrices have many more elements than
        the tape has weights, as for a convolution.
    """
    finder = _SegmentFinder(tape, values)
    nonlinearities = finder.nonlinearities
    dtypes = {dtype for step in tape.steps for dtype in (step.dtype, *step.input_dtypes)}
    if not isinstance(tape.result, Variable) or not nonlinearities or dtypes != {finder.like.dtype}:
        return None
    if not all(is_nonlinearity(step, finder.shapes) for step in nonlinearities):
        return None
    starts = [0, *(step.slot for step in nonlinearities)]
    ends = [*(step.variables[0] for step in nonlinearities), tape.result.slot]
    sources = [finder.trace_back(end)[0] for end in ends]
    has_skip = len(nonlinearities) > 1 and 0 in sources[-2]
    sources[-2] -= {0} if has_skip else set()
    if sources != [{start} for start in starts]:
        return None
    segments = [finder.split(finder.affine(source, target)) for source, target in zip(starts, ends, strict=True)]
    after = [
        each
        for segment, step in zip(segments, [*nonlinearities, None], strict=True)
        for each in [None] * (len(segment) - 1) + [step]
    ]
    weights = sum(leaf.numel() for leaf in tree_leaves([step.args for step in tape.steps]) if isinstance(leaf, Tensor))
    skip = finder.affine(0, ends[-2]) if has_skip else None
    maps = tuple(affine for segment in segments for affine in segment)
    chain = FeedForward(maps, tuple(after[:-1]), skip, weights)
    return chain if chain.multiplications <= 2 * weights else None
