"""Feed-forward chains: tapes on which affine maps and elementwise functions take turns."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from shapae.deepshap.rules import is_affine, is_nonlinearity, rule_for
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import merge_terms, sum_terms
from shapae.deepshap.tracing.tape import Step, Tape, Values, Variable

# So many random signs tell a diagonal matrix from all others; so many numbers of a matrix are computed at once.
SIGNS, NUMBERS_AT_ONCE = 32, 2**24
# So many multiplications in a matrix product take as long as one pass over one number.
TRAFFIC = 8
# What matrix products fill has rows that are so many numbers apart, or a multiple: else they take up to a third longer.
ALIGNMENT = 16


@dataclass(frozen=True, eq=False)
class Affine:
    """An affine map, as the steps of a tape that it consists of.

    Attributes:
        steps: In the order in which they ran.
        source: The slot that it starts from.
        target: The slot where it ends.
        shapes: Of both, and of other slots that the steps start from, which are 0 here.
        like: A tensor in the dtype and on the device in which it is computed.
    """

    steps: tuple[Step, ...]
    source: int
    target: int
    shapes: dict[int, torch.Size]
    like: Tensor

    @property
    def sizes(self) -> tuple[int, int]:
        """How many numbers come out, and go in."""
        return prod(self.shapes[self.target]), prod(self.shapes[self.source])

    @property
    def multiplications(self) -> int:
        """For one vector."""
        return 0 if self.diagonal is not None else prod(self.sizes)

    @cached_property
    def diagonal(self) -> Tensor | None:
        """(in,), if all else in the matrix is 0: then each number that comes out follows the sign of its own alone."""
        if self.sizes[0] != self.sizes[1]:
            return None
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(2, (SIGNS, self.sizes[1]), generator=generator).to(self.like) * 2 - 1
        out = self._all(self._pull, signs) * signs
        return out[0] if torch.equal(out, out[:1].expand_as(out)) else None

    @cached_property
    def matrix(self) -> Tensor:
        """(out, in)."""
        out, into = self.sizes
        if out <= into:
            return self._all(self._pull, torch.eye(out).to(self.like))
        push = torch.func.vjp(self._pull, self.like.new_zeros(out))[1]  # the transpose of the transpose
        return self._all(lambda vector: push(vector)[0], torch.eye(into).to(self.like)).mT.contiguous()

    def _pull(self, multipliers: Tensor) -> Tensor:
        pulled: Tensor = torch.func.vjp(self.run, self.like.new_zeros(self.sizes[1]))[1](multipliers)[0]
        return pulled

    def _all(self, function: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
        size = max(1, NUMBERS_AT_ONCE // max(prod(shape) for shape in self.shapes.values()))
        mapped: Tensor = torch.vmap(function, chunk_size=size)(vectors)
        return mapped

    @property
    def dense(self) -> Tensor:
        """(out, in), also where it is diagonal."""
        return self.matrix if self.diagonal is None else torch.diag(self.diagonal)

    @cached_property
    def transposed(self) -> Tensor:
        """(in, out), in one piece."""
        return self.dense.mT.contiguous()

    def run(self, values: Tensor) -> Tensor:
        """(in,) -> (out,)."""
        at = {slot: self.like.new_zeros(shape) for slot, shape in self.shapes.items()}
        at[self.source] = values.reshape(self.shapes[self.source])
        for step in self.steps:
            at[step.slot] = step.run(*(at[slot] for slot in step.live))
        return at[self.target].reshape(-1)

    def forward(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """The linear part of it: (..., in) -> (..., out), into the tensor ``out`` if there is one."""
        if self.diagonal is None:
            return torch.matmul(values, self.matrix.mT, out=out)
        return torch.mul(values, self.diagonal, out=out)

    def after(self, columns: Tensor) -> Tensor:
        """The linear part of it: (in, m) -> (out, m)."""
        return self.matrix @ columns if self.diagonal is None else self.diagonal.unsqueeze(1) * columns

    def back(self, multipliers: Tensor) -> Tensor:
        """The transpose: (..., out) -> (..., in)."""
        if self.diagonal is not None:
            return multipliers * self.diagonal
        flat = multipliers.flatten(0, -2)
        out = torch.mm(flat, self.matrix, out=padded_empty(flat, len(flat), self.sizes[1]))
        return out.reshape(*multipliers.shape[:-1], self.sizes[1])


def padded_empty(like: Tensor, *shape: int) -> Tensor:
    """Room for what a product of matrices fills, see ``ALIGNMENT``."""
    *leading, width = shape
    return like.new_empty(*leading, -(-width // ALIGNMENT) * ALIGNMENT)[..., :width]


@dataclass(frozen=True, eq=False)
class LinearSegment:
    """What comes from the last bend to the next, and past it: affine maps to the same target, to be added up."""

    maps: tuple[Affine, ...]
    op = "an affine map"

    @property
    def place(self) -> str:
        """The module that ran the last of it."""
        return self.maps[0].steps[-1].place

    @property
    def slot(self) -> int:
        """Where they end."""
        return self.maps[0].target

    @property
    def live(self) -> list[int]:
        """Where they start."""
        return [each.source for each in self.maps]

    def back(self, terms: list[Tensor]) -> list[list[Tensor]]:
        """From the multipliers of the target to those of each source, in terms with three leading axes."""
        flat = [term.flatten(3) for term in terms]
        return [[_unflattened(each.back(term), each.shapes[each.source]) for term in flat] for each in self.maps]


def _unflattened(term: Tensor, shape: torch.Size) -> Tensor:
    return term.reshape(*term.shape[:3], *shape)


@dataclass(frozen=True, eq=False)
class FeedForward:
    """A tape as affine maps and elementwise functions that take turns.

    Attributes:
        maps: From the row to the scores. Where a narrow value lies between two bends, there are two maps between them.
        nonlinearities: The elementwise step after each map but the last; None where there is none.
        skip: From the row to the last bend, past all others, as a reconstruction error has it.
        weights: How many numbers the tape itself multiplies with.
    """

    maps: tuple[Affine, ...]
    nonlinearities: tuple[Step | None, ...]
    skip: Affine | None
    weights: int

    @property
    def widths(self) -> list[int]:
        """How many features there are, how many numbers go into each bend, and how many outputs there are."""
        return [self.maps[0].sizes[1], *(each.sizes[0] for each in self.maps)]

    @property
    def multiplications(self) -> int:
        """For one vector through all maps."""
        return sum(each.multiplications for each in (*self.maps, self.skip) if each is not None)

    @property
    def saving(self) -> int:
        """Multiplications for each pair and output that are saved by what is merged."""
        return self.weights - self.multiplications

    @property
    def preparation(self) -> int:
        """Multiplications to get all matrices."""
        return sum(each.multiplications * min(each.sizes) for each in self.maps)

    @cached_property
    def steps(self) -> tuple[Step | LinearSegment, ...]:
        """Links and bends in turn: what is affine between two bends is one product, or two."""
        links = [
            LinearSegment((each, self.skip) if self.skip and self.skip.target == each.target else (each,))
            for each in self.maps
        ]
        turns = [step for pair in zip(links, (*self.nonlinearities, None), strict=True) for step in pair]
        return tuple(step for step in turns if step is not None and step.slot not in step.live)

    @property
    def result(self) -> Variable:
        """The scores."""
        return Variable(self.maps[-1].target)

    @property
    def slots(self) -> list[int]:
        """Where the row is, and what goes into the bends and comes out of them."""
        return [0, *(slot for bend in self.nonlinearities if bend for slot in (bend.slot, bend.live[0]))]


def pair_values(x: Values, b: Values) -> dict[int, Pair]:
    """Values of rows and of background rows, (n, 1, ...) and (1, b, ...)."""
    return {slot: Pair(x[slot].unsqueeze(1), b[slot].unsqueeze(0)) for slot in b}


def slopes(bend: Step | None, pairs: dict[int, Pair]) -> Tensor:
    """The slopes of a bend between all pairs (n, b, width); (1, 1, 1) where there is no bend."""
    if bend is None:
        return pairs[0].x.new_ones(1, 1, 1)
    rule = rule_for(bend.op, bend.input_dtypes)
    assert rule is not None
    out, into = (pairs[slot].each(torch.Tensor.unsqueeze, 0) for slot in (bend.slot, bend.live[0]))
    parts = rule(bend, [torch.ones_like(out.x[:1, :1])], out, [into for _ in bend.live])
    found = sum_terms(merge_terms([term for terms in parts for term in terms]))[0]
    return found.expand(len(out.x[0]), len(out.b[0, 0]), *found.shape[2:]).flatten(2)


class _Finder:
    """Finds what lies between the bends of a tape; a bend is a step that is not affine."""

    def __init__(self, tape: Tape, values: Values) -> None:
        self.steps, self.like = tape.steps, values[0]
        self.shapes = {slot: value.shape[1:] for slot, value in values.items()}
        self.nonlinearities = [step for step in tape.steps if not is_affine(step)]
        self.stops = {0, *(bend.slot for bend in self.nonlinearities)}

    def reached(self, target: int, *stops: int) -> tuple[set[int], tuple[Step, ...]]:
        """The bends and ``stops`` that ``target`` depends on directly, and the steps on the way."""
        wanted, found = {target}, set()
        steps = []
        for step in (None, *self.steps)[::-1]:
            slot = step.slot if step else 0
            if slot in wanted and slot in {*self.stops, *stops}:
                found.add(slot)
            elif slot in wanted and step:
                steps.append(step)
                wanted.update(step.live)
        return found, tuple(steps[::-1])

    def affine(self, source: int, target: int) -> Affine:
        """The map from ``source`` to ``target``."""
        found, steps = self.reached(target, source)
        shapes = {slot: self.shapes[slot] for slot in {*found, source, target}}
        return Affine(steps, source, target, shapes, self.like)

    def split(self, whole: Affine) -> list[Affine]:
        """``whole``; or two maps by way of the narrowest value that all of it goes through, where these cost less."""
        out, into = whole.sizes
        cost = {step.slot: prod(self.shapes[step.slot]) * (out + into) for step in whole.steps[:-1]}
        for slot in sorted(cost, key=lambda slot: cost[slot]):
            if cost[slot] < whole.multiplications and whole.source not in self.reached(whole.target, slot)[0]:
                return [self.affine(whole.source, slot), self.affine(slot, whole.target)]
        return [whole]


def as_feedforward(tape: Tape, values: Values) -> FeedForward | None:
    """The chain that a tape is.

    Args:
        tape: Of a function.
        values: Of any rows on the tape.

    Returns:
        None if it is no chain, or in several dtypes; or if its matrices hold many more numbers than the tape
        multiplies with, as those of a convolution do.
    """
    finder = _Finder(tape, values)
    bends = finder.nonlinearities
    kinds = {kind for step in tape.steps for kind in (step.dtype, *step.input_dtypes)}
    if not isinstance(tape.result, Variable) or not bends or kinds != {finder.like.dtype}:
        return None
    if not all(is_nonlinearity(step, finder.shapes) for step in bends):
        return None
    starts, ends = [0, *(bend.slot for bend in bends)], [*(bend.live[0] for bend in bends), tape.result.slot]
    sources = [finder.reached(end)[0] for end in ends]
    skips = len(bends) > 1 and 0 in sources[-2]
    sources[-2] -= {0} if skips else set()
    if sources != [{start} for start in starts]:
        return None
    links = [finder.split(finder.affine(*link)) for link in zip(starts, ends, strict=True)]
    after = [
        bend for link, bend in zip(links, [*bends, None], strict=True) for bend in [None] * (len(link) - 1) + [bend]
    ]
    weights = sum(leaf.numel() for leaf in tree_leaves([step.args for step in tape.steps]) if isinstance(leaf, Tensor))
    skip = finder.affine(0, ends[-2]) if skips else None
    found = FeedForward(tuple(each for link in links for each in link), tuple(after[:-1]), skip, weights)
    return found if found.multiplications <= 2 * weights else None
