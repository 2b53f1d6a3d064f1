"""Record what a function does to one row, as a tape of aten operators; replay it on others.

No hooks: the operators are seen where torch dispatches them, so functional calls, modules that are used many times and
shared weights are all the same. One row is recorded, and ``torch.vmap`` carries the others, so no operator has to know
where the axis of the rows went.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch._dispatch.python import enable_python_dispatcher
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from shapae.deepshap.parts import PARTS

# They give back what they are given.
ALIASES = {"alias", "clone", "contiguous", "detach", "lift", "lift_fresh"}
# They look at the shape only.
SHAPED = {"empty_like", "full_like", "ones_like", "zeros_like", "new_empty", "new_full", "new_ones", "new_zeros"}


def _slice_scatter(
    x: Tensor, source: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    size = x.shape[dim]
    return torch.slice_scatter(x, source, dim, start, size if end is None else min(end, size), step)


# The same as what was recorded, for operators that vmap does not take in all cases: views of values that do not lie
# in one piece, an end beyond all sizes.
RELAXED: dict[str, Any] = {
    "view": torch.ops.aten.reshape,
    "_unsafe_view": torch.ops.aten.reshape,
    "slice_scatter": _slice_scatter,
}


@dataclass(frozen=True)
class Live:
    """Stands for a value that varies with the rows, in the arguments of a step."""

    slot: int


@dataclass(frozen=True, eq=False)
class Step:
    """One tensor that an operator gave, and what from.

    Attributes:
        op: The operator.
        args: Its arguments, with ``Live`` for all that vary.
        kwargs: The same for those that have a name.
        kind: dtype of the tensor.
        kinds: dtypes of the live arguments, in their order.
        which: Position among the tensors that the operator gives.
        slot: Where the tensor belongs on the tape.
        place: The module that ran the operator.
    """

    op: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    kind: torch.dtype
    kinds: tuple[torch.dtype, ...]
    which: int
    slot: int
    place: str

    @property
    def name(self) -> str:
        """The operator without its overload: "mul"."""
        return plain_name(self.op)

    @property
    def live(self) -> list[int]:
        """Slots of the live arguments, in their order."""
        return [each.slot for each in tree_leaves((self.args, self.kwargs)) if isinstance(each, Live)]

    def filled(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with ``values`` in place of the live ones, in their order."""
        left = iter(values)
        args, kwargs = tree_map(lambda each: next(left) if isinstance(each, Live) else each, (self.args, self.kwargs))
        return args, kwargs

    def run(self, *values: Tensor) -> Tensor:
        """What the operator gives for these live values, which may come in another dtype."""
        return self.run_as_is(*(value.to(kind) for value, kind in zip(values, self.kinds, strict=True)))

    def run_as_is(self, *values: Tensor) -> Tensor:
        """The same in the dtype in which they come."""
        args, kwargs = self.filled(values)
        out: Tensor = tree_leaves(RELAXED.get(self.name, self.op)(*args, **kwargs))[self.which]
        return out


@dataclass(frozen=True, eq=False)
class Tape:
    """What a function does to a row.

    Attributes:
        steps: In the order in which they ran; only those that the result depends on.
        result: The scores (k,), live or constant.
        read: Numbers that the function read off a row, to decide by or to count with: their slot, what it read, and
            the place.
    """

    steps: tuple[Step, ...]
    result: Live | Tensor
    read: tuple[tuple[int, Any, str], ...]


def plain_name(op: OpOverload) -> str:
    """Name of an operator without its overload, and without the copy that stands for a view."""
    return str(op.overloadpacket.__name__).removesuffix("_copy")


def record(
    function: Callable[[Tensor], Tensor], row: Tensor, whole: Callable[[OpOverload, list[torch.dtype]], bool]
) -> Tape:
    """Run ``function`` on one row, and take down what it does.

    Args:
        function: From rows (1, d) to (1,) or (1, k).
        row: (d,).
        whole: Is this operator, with live arguments of these dtypes, to be kept as it is? Others are taken apart by
            torch's own decompositions, as far as there are any.
    """
    row = row.detach().clone().requires_grad_()
    # Torch makes writing into tensors functional; it refuses some custom autograd functions, though.
    try:
        recorder, result = _recorded(
            torch.func.functionalize(_on_one_row(function)), Recorder(function, row, whole), row
        )
    except RuntimeError:
        recorder, result = _recorded(_on_one_row(function), Recorder(function, row, whole), row)
    slot = recorder.slots.get(id(result))
    found = result.detach() if slot is None else Live(slot)
    needed = {slot} | {slot for slot, _, _ in recorder.read}
    return Tape(tuple(_needed(recorder.steps, needed)), found, tuple(recorder.read))


def _recorded(function: Callable[[Tensor], Tensor], recorder: "Recorder", row: Tensor) -> tuple["Recorder", Tensor]:
    # Fused kernels, of which nothing would be seen, are for values that need no gradients.
    with torch.enable_grad(), recorder, enable_python_dispatcher():
        return recorder, function(row)


def _on_one_row(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda row: function(row.unsqueeze(0)).reshape(-1)


def _needed(steps: list[Step], slots: set[int | None]) -> list[Step]:
    """The steps that the values in ``slots`` depend on."""
    kept = []
    for step in reversed(steps):
        if step.slot in slots:
            slots.update(step.live)
            kept.append(step)
    return kept[::-1]


class Recorder(TorchDispatchMode):
    """Takes down every operator that has something to do with the row."""

    def __init__(self, function: Any, row: Tensor, whole: Callable[[OpOverload, list[torch.dtype]], bool]) -> None:
        super().__init__()
        self.whole = whole
        self.slots = {id(row): 0}
        self.kept = [row]  # id() stays valid: every live tensor is kept alive
        self.made: dict[int, Tensor] = {}  # new tensors to be filled, by where they are stored
        self.steps: list[Step] = []
        self.read: list[tuple[int, Any, str]] = []
        self.names = {
            id(module): ".".join(filter(None, [type(function).__name__, name]))
            for name, module in (function.named_modules() if isinstance(function, nn.Module) else ())
        }

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator, or the parts that it is made of."""
        kwargs = kwargs or {}
        live = [leaf for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.slots]
        if not live:
            return op(*args, **kwargs)
        if plain_name(op) in SHAPED:
            made = op(*args, **kwargs)
            self.made[made.untyped_storage().data_ptr()] = made
            return made
        if op._schema.is_mutable and (twin := _twin(op)) is not None:
            return self._written(twin, args, kwargs)
        for parts in self._parts(op, [leaf.dtype for leaf in live]):
            with self:
                out = parts(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = op(*args, **kwargs)
        self._take_down(op, args, kwargs, live, out)
        return out

    def _written(self, twin: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """What writes into its first argument, as an operator that gives something new.

        Torch makes all of the function's own writing functional, but not that within its composite kernels.
        """
        first, *rest = args
        with self:  # a clone, lest what is written changes a constant on the tape
            out = twin(first if id(first) in self.slots else first.clone(), *rest, **kwargs)
        written: Tensor = first.copy_(out)
        self._rename(written, out)
        base = self.made.get(written.untyped_storage().data_ptr(), written)
        if base is not written:
            with self:
                self._rename(base, _written_into(base, out, written))
        return written

    def _rename(self, tensor: Tensor, value: Tensor) -> None:
        """``tensor`` stands for ``value`` from now on."""
        self.slots[id(tensor)] = self.slots[id(value)]
        self.kept.append(tensor)

    def _parts(self, op: OpOverload, kinds: list[torch.dtype]) -> Iterator[Callable[..., Any]]:
        """Functions that do the same as ``op`` by simpler operators, best first."""
        if plain_name(op) in PARTS:
            yield PARTS[plain_name(op)]
        if not self.whole(op, kinds) and not op._schema.is_mutable and plain_name(op) not in ALIASES:
            if op in decomposition_table:
                yield decomposition_table[op]
            yield op.decompose

    def _take_down(self, op: OpOverload, args: Any, kwargs: Any, live: list[Tensor], out: Any) -> None:
        if plain_name(op) in ALIASES and not op._schema.is_mutable:
            self._rename(out, live[0])
            return
        place = self._place()
        if not all(isinstance(leaf, Tensor) for leaf in tree_leaves(out)):
            self.read.append((self.slots[id(live[0])], out, place))
            return
        args, kwargs = tree_map(
            lambda leaf: Live(self.slots[id(leaf)]) if id(leaf) in self.slots else _constant(leaf), (args, kwargs)
        )
        kinds = tuple(leaf.dtype for leaf in live)
        for which, leaf in enumerate(tree_leaves(out)):
            slot = len(self.kept)
            self.kept.append(leaf)
            self.slots[id(leaf)] = slot
            self.steps.append(Step(op, args, kwargs, leaf.dtype, kinds, which, slot, place))

    def _place(self) -> str:
        """Name of the innermost module whose method is running."""
        for frame in _frames(sys._getframe(1)):
            module = frame.f_locals.get("self")
            if isinstance(module, nn.Module):
                return self.names.get(id(module), type(module).__name__)
        return "the function"


def _twin(op: OpOverload) -> OpOverload | None:
    """The operator that does not write, for one that writes into its first argument: add for add_."""
    packet = getattr(torch.ops.aten, op.overloadpacket.__name__.removesuffix("_"), None)
    found: OpOverload | None = getattr(packet, op._overloadname, None)
    return None if found is op else found


def _written_into(base: Tensor, value: Tensor, view: Tensor) -> Tensor:
    """``base`` with ``value`` where ``view`` looks at it."""
    everywhere = torch.arange(base.numel(), device=base.device)
    places = everywhere.as_strided(view.size(), view.stride(), view.storage_offset()).reshape(-1)
    return base.reshape(-1).scatter(0, places, value.reshape(-1)).view(base.shape)


def _constant(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def replay(tape: Tape, rows: Tensor) -> dict[int, Tensor]:
    """The values on the tape for other rows.

    Args:
        tape: Recorded from one row (d,).
        rows: (n, d).

    Returns:
        For each slot (n, ...), in the dtype of ``rows``; truth values as 0 and 1.
    """
    values: dict[int, Tensor] = torch.vmap(partial(_values, tape))(rows)
    return values


def _values(tape: Tape, row: Tensor) -> dict[int, Tensor]:
    values = {0: row}
    for step in tape.steps:
        values[step.slot] = step.run(*(values[slot] for slot in step.live))
    return {slot: value.to(row.dtype) for slot, value in values.items()}
