"""A tape of aten operators, recorded from one row of a function and replayed on other rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from shapae.utils.torch_private import OpOverload, tree_leaves, tree_map

Values = dict[int, Tensor]


def _slice_scatter(
    x: Tensor, source: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    size = x.shape[dim]
    return torch.slice_scatter(x, source, dim, start, size if end is None else min(end, size), step)


def _kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    values, positions = (each.narrow(dim, k - 1, 1) for each in x.sort(dim))
    return (values, positions) if keepdim else (values.squeeze(dim), positions.squeeze(dim))


# Equivalents of operators that vmap does not support in all cases: views of non-contiguous values, and an end beyond
# the size of the axis.
VMAP_SAFE: dict[str, Any] = {
    "view": torch.ops.aten.reshape,
    "_unsafe_view": torch.ops.aten.reshape,
    "slice_scatter": _slice_scatter,
    "kthvalue": _kthvalue,
}


def plain_name(op: OpOverload) -> str:
    """Strip the overload from the name of an operator, and the suffix of a view that copies."""
    return str(op.overloadpacket.__name__).removesuffix("_copy")


@dataclass(frozen=True)
class Variable:
    """Placeholder, in the arguments of a step, for a value that varies with the rows."""

    slot: int


@dataclass(frozen=True, eq=False)
class Step:
    """One output tensor of one operator, with the arguments of the operator.

    Attributes:
        op: The operator.
        args: Its arguments, with a ``Variable`` for each value that varies.
        kwargs: Its keyword arguments, likewise.
        input_dtypes: Dtypes of the variable arguments, in their order.
        dtype: Dtype of the tensor.
        output_index: Position of the tensor among the outputs of the operator.
        slot: Slot of the tensor on the tape.
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
        """Name of the operator without its overload, such as "mul"."""
        return plain_name(self.op)

    @cached_property
    def variables(self) -> list[int]:
        """Slots of the variable arguments, in their order."""
        return [leaf.slot for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Variable)]

    def fill(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Replace the variables in the arguments by ``values``, in their order."""
        remaining = iter(values)
        return _fill(self.args, remaining), {name: _fill(arg, remaining) for name, arg in self.kwargs.items()}

    def run(self, *values: Tensor) -> Tensor:
        """Run the operator on these values of its variables, which are cast to their recorded dtypes first."""
        return self.run_as_is(*(value.to(dtype) for value, dtype in zip(values, self.input_dtypes, strict=True)))

    def run_as_is(self, *values: Tensor) -> Tensor:
        """Run the operator on these values of its variables, in the dtypes that they have."""
        args, kwargs = self.fill(values)
        out: Tensor = tree_leaves(VMAP_SAFE.get(self.name, self.op)(*args, **kwargs))[self.output_index]
        return out.to(self.dtype) if self.dtype.is_floating_point else out

    def in_dtype(self, dtype: torch.dtype) -> "Step":
        """Cast all floating point constants and dtypes of the step to one dtype."""
        args, kwargs = tree_map(lambda leaf: _cast(leaf, dtype), (self.args, self.kwargs))
        own, *inputs = (dtype if each.is_floating_point else each for each in (self.dtype, *self.input_dtypes))
        return replace(self, args=args, kwargs=kwargs, dtype=own, input_dtypes=tuple(inputs))


def _cast(leaf: Any, dtype: torch.dtype) -> Any:
    return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _fill(arg: Any, remaining: Iterator[Any]) -> Any:
    if isinstance(arg, Variable):
        return next(remaining)
    return type(arg)(_fill(item, remaining) for item in arg) if isinstance(arg, (list, tuple)) else arg


@dataclass(frozen=True, eq=False)
class Tape:
    """The operators that a function runs on one row.

    Attributes:
        steps: All steps that the result depends on, in the order in which they ran.
        result: The scores (k,), variable or constant.
        reads: Places where the function read a Python number from the row, for example to decide by it.
        anchored: Whether the function also takes the anchor: the row being explained, in slot 1.
    """

    steps: tuple[Step, ...]
    result: Variable | Tensor
    reads: tuple[str, ...]
    anchored: bool = False

    @cached_property
    def constant_slots(self) -> set[int]:
        """Slots that depend on the anchor alone, so that a row and its background rows share their values."""
        constant = {1} if self.anchored else set()
        for step in self.steps:
            if constant.issuperset(step.variables):
                constant.add(step.slot)
        return constant

    @cached_property
    def mixed_steps(self) -> tuple[Step, ...]:
        """Steps that depend on the anchor and on the row that is scored with it, in their order."""
        mixed, slots = [], set(self.constant_slots)
        for step in self.steps:
            if step.slot not in slots and slots.intersection(step.variables):
                slots.add(step.slot)
                mixed.append(step)
        return tuple(mixed)

    def in_dtype(self, dtype: torch.dtype) -> "Tape":
        """Cast all floating point constants and dtypes of the tape to one dtype."""
        return replace(self, steps=tuple(step.in_dtype(dtype) for step in self.steps))

    def scores(self, values: Values) -> Tensor:
        """Return the scores (n, k), from the values of n rows on the tape."""
        if isinstance(self.result, Variable):
            return values[self.result.slot]
        return self.result.expand(len(values[0]), -1)


def select_rows(values: Values, rows: slice) -> Values:
    """Select some of the rows in each slot."""
    return {slot: value[rows] for slot, value in values.items()}


def replay(tape: Tape, rows: Tensor, *anchors: Tensor) -> Values:
    """Compute the values of other rows on the tape.

    Args:
        tape: Recorded from one row (d,).
        rows: (n, d).
        anchors: (n, a), if the function is anchored.

    Returns:
        For each slot (n, ...), in the dtype of ``rows``; truth values as 0 and 1. Slot 0 holds the rows.
    """
    values: Values = torch.vmap(partial(replay_row, tape))(rows, *anchors)
    return values


def replay_row(tape: Tape, *inputs: Tensor) -> Values:
    """Compute the values of one row (d,), and of its anchor (a,), on the tape."""
    values = dict(enumerate(inputs))
    for step in tape.steps:
        values[step.slot] = step.run(*(values[slot] for slot in step.variables))
    return {slot: value.to(inputs[0].dtype) for slot, value in values.items()}
