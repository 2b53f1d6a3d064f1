"""Record what a function does to one row.

No hooks: the operators are seen where torch dispatches them, so functional calls, modules that are used many times and
shared weights are all the same. Only one row is recorded, and ``torch.vmap`` carries the others, so that no operator
has to know where the axis of the rows went.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch._dispatch.python import enable_python_dispatcher
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from shapae.deepshap.tracing.decompositions import DECOMPOSITIONS
from shapae.deepshap.tracing.tape import Step, Tape, Variable, plain_name
from shapae.errors import UnsupportedOperator
from shapae.utils.torch_trace import Function, ModuleNames

IsPrimitive = Callable[[OpOverload, list[torch.dtype]], bool]

# They give back what they are given.
ALIASES = {"alias", "clone", "contiguous", "detach", "lift", "lift_fresh"}
# They look at the shape only.
SHAPE_ONLY = {
    *("empty_like", "full_like", "ones_like", "zeros_like", "new_empty", "new_full", "new_ones", "new_zeros"),
    *("rand_like", "randn_like", "randint_like"),
}


def record(function: Function, row: Tensor, whole: IsPrimitive, *anchor: Tensor) -> Tape:
    """Run ``function`` on one row, and take down what it does.

    Args:
        function: From rows (1, d), and anchors (1, a) if it is anchored, to (1,) or (1, k).
        row: (d,).
        whole: Is this operator, with live arguments of these dtypes, to be kept as it is? Others are taken apart by
            torch's own decompositions, as far as there are any.
        anchor: (a,), if ``function`` is anchored.

    Raises:
        RuntimeError: The function itself fails.
    """
    taken = [each.detach().clone().requires_grad_() for each in (row, *anchor)]

    def one(*taken: Tensor) -> Tensor:
        return function(*(each.unsqueeze(0).clone() for each in taken)).reshape(-1)

    try:
        # Torch makes writing into tensors functional; it refuses some custom autograd functions, though.
        try:
            recorder, result = _recorded(torch.func.functionalize(one), Recorder(function, taken, whole), taken)
        except RuntimeError as error:
            if not any(part in str(error) for part in ("functorch", "functionaliz")):
                raise
            recorder, result = _recorded(one, Recorder(function, taken, whole), taken)
    finally:
        # What a module keeps of its last run would be unusable from outside of the recording.
        with suppress(Exception), torch.no_grad():
            function(*(each.detach().clone().unsqueeze(0) for each in taken))
    slot = recorder.slots.get(id(result))
    steps = tuple(_needed(recorder.steps, {slot}))
    return Tape(steps, result.detach() if slot is None else Variable(slot), tuple(recorder.read), bool(anchor))


def _recorded(function: Function, recorder: "Recorder", taken: list[Tensor]) -> tuple["Recorder", Tensor]:
    # Fused kernels, of which nothing would be seen, are for values that need no gradients.
    with torch.enable_grad(), recorder, enable_python_dispatcher():
        return recorder, function(*taken)


def _needed(steps: list[Step], slots: set[int | None]) -> list[Step]:
    """The steps that the values in ``slots`` depend on."""
    kept = []
    for step in reversed(steps):
        if step.slot in slots:
            slots.update(step.live)
            kept.append(step)
    return kept[::-1]


class Recorder(TorchDispatchMode):
    """Takes down every operator that has something to do with the tensors that ``function`` takes."""

    def __init__(self, function: Function, taken: list[Tensor], whole: IsPrimitive) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.whole = whole
        self.places = ModuleNames(function)
        self.slots = {id(each): slot for slot, each in enumerate(taken)}
        self.kept = [*taken]  # id() stays valid: every live tensor is kept alive
        self.made: dict[int, Tensor] = {}  # new tensors that may be filled, by where they are stored
        self.steps: list[Step] = []
        self.read: list[str] = []

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator, or the parts that it is made of."""
        kwargs = kwargs or {}
        live = [leaf for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.slots]
        if not live:
            return op(*args, **kwargs)
        if plain_name(op) in SHAPE_ONLY:
            made = op(*args, **kwargs)
            self.made[made.untyped_storage().data_ptr()] = made
            return made
        if _writes(op) and (twin := _out_of_place(op)) is not None:
            return self._written(twin, args, kwargs)
        for parts in self._parts(op, [leaf.dtype for leaf in live]):
            with self:
                out = parts(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = op(*args, **kwargs)
        self._refuse(op, any(isinstance(leaf, Tensor) and leaf.is_complex() for leaf in tree_leaves(out)))
        self._take_down(op, args, kwargs, live, out)
        return out

    def _refuse(self, op: OpOverload, when: bool) -> None:
        if when:
            raise UnsupportedOperator([f"{op} in {self.places.here()}"])

    def _parts(self, op: OpOverload, kinds: list[torch.dtype]) -> Iterator[Callable[..., Any]]:
        """Functions that do the same as ``op`` by simpler operators, best first."""
        if plain_name(op) in DECOMPOSITIONS:
            yield DECOMPOSITIONS[plain_name(op)]
        if not self.whole(op, kinds) and not op._schema.is_mutable and plain_name(op) not in ALIASES:
            if op in decomposition_table:
                yield decomposition_table[op]
            yield op.decompose

    def _take_down(self, op: OpOverload, args: Any, kwargs: Any, live: list[Tensor], out: Any) -> None:
        if plain_name(op) in ALIASES:
            self._rename(out, live[0])
        elif not all(isinstance(leaf, Tensor) for leaf in tree_leaves(out)):
            self.read.append(f"{self.places.here()} reads {out!r} off a row")
        else:
            args, kwargs = tree_map(self._argument, (args, kwargs))
            kinds, place = tuple(leaf.dtype for leaf in live), self.places.here()
            for which, leaf in enumerate(tree_leaves(out)):
                slot = self.slots[id(leaf)] = len(self.kept)
                self.kept.append(leaf)
                self.steps.append(Step(op, args, kwargs, kinds, leaf.dtype, which, slot, place))

    def _argument(self, leaf: Any) -> Any:
        if id(leaf) in self.slots:
            return Variable(self.slots[id(leaf)])
        return leaf.detach() if isinstance(leaf, Tensor) else leaf

    def _written(self, twin: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What writes into its first argument, as an operator that gives something new.

        Torch makes all of the function's own writing functional, but not that within its composite kernels.
        """
        first, *rest = args
        with self:  # a clone, lest what is written changes a constant on the tape
            out = twin(first if id(first) in self.slots else first.clone(), *rest, **kwargs)
        base = self.made.get(first.untyped_storage().data_ptr(), first)
        self._refuse(twin, base.dtype != out.dtype or 0 in first.stride())
        self._rename(first.copy_(out.clone()), out)
        if base is not first:
            with self:
                self._rename(base, _write_view(base, out, first))
        return first

    def _rename(self, tensor: Tensor, value: Tensor) -> None:
        """``tensor`` stands for ``value`` from now on, which may be a constant."""
        self.kept.append(tensor)
        self.slots.pop(id(tensor), None)
        if id(value) in self.slots:
            self.slots[id(tensor)] = self.slots[id(value)]


def _out_of_place(op: OpOverload) -> OpOverload | None:
    """The operator that does not write, for one that writes into its first argument: add for add_."""
    packet = getattr(torch.ops.aten, op.overloadpacket.__name__.removesuffix("_"), None)
    twins = [getattr(packet, name) for name in packet.overloads()] if packet is not None else []
    same = (twin for twin in twins if not _writes(twin) and _argument_types(twin) == _argument_types(op))
    return next(same, None)


def _writes(op: OpOverload) -> bool:
    arguments = op._schema.arguments
    return bool(arguments) and bool(arguments[0].is_write)


def _argument_types(op: OpOverload) -> list[str]:
    return [str(argument.type) for argument in op._schema.arguments]


def _write_view(base: Tensor, value: Tensor, view: Tensor) -> Tensor:
    """``base`` with ``value`` where ``view`` looks at it."""
    everywhere = torch.arange(base.numel(), device=base.device)
    places = everywhere.as_strided(view.size(), view.stride(), view.storage_offset()).reshape(-1)
    return base.reshape(-1).scatter(0, places, value.reshape(-1)).view(base.shape)
