"""A tape of aten operators: what a function does to one row; it can be replayed on others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map

Values = dict[int, Tensor]


def _slice_scatter(
    x: Tensor, source: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    size = x.shape[dim]
    return torch.slice_scatter(x, source, dim, start, size if end is None else min(end, size), step)


# The same as what was recorded, for operators that vmap does not take in all cases: views of values that do not lie
# in one piece, an end beyond all sizes.
VMAP_SAFE: dict[str, Any] = {
    "view": torch.ops.aten.reshape,
    "_unsafe_view": torch.ops.aten.reshape,
    "slice_scatter": _slice_scatter,
}


def plain_name(op: OpOverload) -> str:
    """Name of an operator without its overload, and without the copy that stands for a view."""
    return str(op.overloadpacket.__name__).removesuffix("_copy")


@dataclass(frozen=True)
class Variable:
    """Stands for a value that varies with the rows, in the arguments of a step."""

    slot: int


@dataclass(frozen=True, eq=False)
class Step:
    """One tensor that an operator gave, and what from.

    Attributes:
        op: The operator.
        args: Its arguments, with ``Variable`` for all that vary.
        kwargs: The same for those that have a name.
        kinds: dtypes of the live arguments, in their order.
        kind: dtype of the tensor.
        output_index: Position among the tensors that the operator gives.
        slot: Where the tensor belongs on the tape.
        place: The module that ran the operator.
    """

    op: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    input_dtypes: tuple[torch.dtype, ...]
    dtype: torch.dtype
    output_index: int
    slot: int
    place: str

    @property
    def name(self) -> str:
        """The operator without its overload: "mul"."""
        return plain_name(self.op)

    @cached_property
    def live(self) -> list[int]:
        """Slots of the live arguments, in their order."""
        return [each.slot for each in tree_leaves((self.args, self.kwargs)) if isinstance(each, Variable)]

    def filled(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with ``values`` in place of the live ones, in their order."""
        left = iter(values)
        return _filled(self.args, left), {name: _filled(arg, left) for name, arg in self.kwargs.items()}

    def run(self, *values: Tensor) -> Tensor:
        """What the operator gives for these live values, which may come in another dtype."""
        return self.run_as_is(*(value.to(kind) for value, kind in zip(values, self.input_dtypes, strict=True)))

    def run_as_is(self, *values: Tensor) -> Tensor:
        """The same in the dtype in which they come."""
        args, kwargs = self.filled(values)
        out: Tensor = tree_leaves(VMAP_SAFE.get(self.name, self.op)(*args, **kwargs))[self.output_index]
        return out.to(self.dtype) if self.dtype.is_floating_point else out

    def in_dtype(self, dtype: torch.dtype) -> "Step":
        """The same with all floating point numbers in one dtype."""
        args, kwargs = tree_map(lambda leaf: _cast(leaf, dtype), (self.args, self.kwargs))
        kind, *kinds = (dtype if each.is_floating_point else each for each in (self.dtype, *self.input_dtypes))
        return replace(self, args=args, kwargs=kwargs, dtype=kind, input_dtypes=tuple(kinds))


def _cast(leaf: Any, dtype: torch.dtype) -> Any:
    return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _filled(arg: Any, left: Iterator[Any]) -> Any:
    if isinstance(arg, Variable):
        return next(left)
    return type(arg)(_filled(each, left) for each in arg) if isinstance(arg, (list, tuple)) else arg


@dataclass(frozen=True, eq=False)
class Tape:
    """What a function does to a row.

    Attributes:
        steps: In the order in which they ran; only those that the result depends on.
        result: The scores (k,), live or constant.
        read: Where the function read a number off the row, to decide by or to count with.
        anchored: Whether the function is also handed the row being explained, the anchor; it is in slot 1, then.
    """

    steps: tuple[Step, ...]
    result: Variable | Tensor
    read: tuple[str, ...]
    anchored: bool = False

    @cached_property
    def constant_slots(self) -> set[int]:
        """Slots that depend on the anchor alone: the same for a row and all that it is compared with."""
        still = {1} if self.anchored else set()
        for step in self.steps:
            if still.issuperset(step.live):
                still.add(step.slot)
        return still

    @cached_property
    def mixed_steps(self) -> tuple[Step, ...]:
        """Steps that depend both on the anchor and on the row that is compared with it, in their order."""
        found, slots = [], set(self.constant_slots)
        for step in self.steps:
            if step.slot not in slots and slots.intersection(step.live):
                slots.add(step.slot)
                found.append(step)
        return tuple(found)

    def in_dtype(self, dtype: torch.dtype) -> "Tape":
        """The same with all floating point numbers in one dtype."""
        return replace(self, steps=tuple(step.in_dtype(dtype) for step in self.steps))

    def scores(self, values: Values) -> Tensor:
        """(n, k), from the values of n rows."""
        if isinstance(self.result, Variable):
            return values[self.result.slot]
        return self.result.expand(len(values[0]), -1)


def select_rows(values: Values, part: slice) -> Values:
    """The values of some of the rows."""
    return {slot: value[part] for slot, value in values.items()}


def replay(tape: Tape, rows: Tensor, *anchors: Tensor) -> Values:
    """The values on the tape for other rows.

    Args:
        tape: Recorded from one row (d,).
        rows: (n, d).
        anchors: (n, a), if the function is anchored.

    Returns:
        For each slot (n, ...), in the dtype of ``rows``; truth values as 0 and 1. Slot 0 are the rows.
    """
    values: Values = torch.vmap(partial(_values, tape))(rows, *anchors)
    return values


def _values(tape: Tape, *taken: Tensor) -> Values:
    values = dict(enumerate(taken))
    for step in tape.steps:
        values[step.slot] = step.run(*(values[slot] for slot in step.live))
    return {slot: value.to(taken[0].dtype) for slot, value in values.items()}
