"""Record the operators that a function runs on one row.

There are no hooks: the operators are seen where torch dispatches them. Functional calls, modules that are used many
times and shared weights therefore need no special treatment. Only one row is recorded, and ``torch.vmap`` adds the axis
of the rows, so that no operator has to know the position of this axis.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from shapae.deepshap.tracing.boundary import Boundary
from shapae.deepshap.tracing.decompositions import DECOMPOSITIONS
from shapae.deepshap.tracing.quantiles import QuantilesReplaced
from shapae.deepshap.tracing.tape import Step, Tape, Variable, plain_name
from shapae.errors import UnsupportedOperator
from shapae.utils.dispatch import DispatchMode
from shapae.utils.torch_private import (
    OpOverload,
    argument_types,
    decomposition_table,
    enable_python_dispatcher,
    is_mutable,
    tree_leaves,
    tree_map,
    writes_into_first,
)
from shapae.utils.torch_trace import Function, ModuleNames

IsPrimitive = Callable[[OpOverload, list[torch.dtype]], bool]

# Operators that return their input unchanged; no step is recorded for them.
ALIASES = {"alias", "clone", "contiguous", "detach", "lift", "lift_fresh"}
# Operators that read only the shape of their input, so that their output does not vary with the row.
SHAPE_ONLY = {
    *("empty_like", "full_like", "ones_like", "zeros_like", "new_empty", "new_full", "new_ones", "new_zeros"),
    *("rand_like", "randn_like", "randint_like"),
}
# Operators whose result is dense, also if one of their arguments is a sparse constant.
DENSE_RESULTS = {"mm", "bmm", "mv", "addmm", "baddbmm", "addmv", "_sparse_addmm", "add", "sub"}


def record(function: Function, row: Tensor, is_primitive: IsPrimitive, *anchor: Tensor) -> Tape:
    """Run ``function`` on one row, and record its operators.

    Args:
        function: From rows (1, d), and anchors (1, a) if it is anchored, to (1,) or (1, k).
        row: (d,).
        is_primitive: Whether an operator with variable arguments of these dtypes is recorded as it is. Other operators
            are decomposed by torch, if torch has a decomposition.
        anchor: (a,), if ``function`` is anchored.

    Raises:
        RuntimeError: The function itself fails.
        ModelError: Numbers that depend on the row leave torch.
    """
    inputs = [each.detach().clone().requires_grad_() for each in (row, *anchor)]

    def run(*inputs: Tensor) -> Tensor:
        return function(*(each.unsqueeze(0).clone() for each in inputs)).reshape(-1)

    try:
        # Functionalization removes writes into tensors, but fails for some custom autograd functions.
        try:
            recorder, result = _run(torch.func.functionalize(run), Recorder(function, inputs, is_primitive), inputs)
        except RuntimeError as error:
            if not any(part in str(error).lower() for part in ("functorch", "functionaliz")):
                raise
            recorder, result = _run(run, Recorder(function, inputs, is_primitive), inputs)
    finally:
        # Run once more, so that tensors which a module stores can be used outside of the recording.
        with suppress(Exception), torch.no_grad():
            function(*(each.detach().clone().unsqueeze(0) for each in inputs))
    slot = recorder.slots.get(id(result))
    steps = tuple(_prune(recorder.steps, {slot}))
    return Tape(steps, result.detach() if slot is None else Variable(slot), tuple(recorder.reads), bool(anchor))


def _run(function: Function, recorder: "Recorder", inputs: list[Tensor]) -> tuple["Recorder", Tensor]:
    # With gradients enabled, torch does not choose fused kernels, whose operators could not be seen.
    boundary = Boundary(recorder.slots, recorder.module_names)
    with torch.enable_grad(), boundary, recorder, enable_python_dispatcher(), QuantilesReplaced():
        return recorder, function(*inputs)


def _prune(steps: list[Step], slots: set[int | None]) -> list[Step]:
    """Keep the steps that the values in ``slots`` depend on."""
    needed = []
    for step in reversed(steps):
        if step.slot in slots:
            slots.update(step.variables)
            needed.append(step)
    return needed[::-1]


class Recorder(DispatchMode):
    """Dispatch mode that records each operator with an argument that depends on the inputs of ``function``."""

    def __init__(self, function: Function, inputs: list[Tensor], is_primitive: IsPrimitive) -> None:
        super().__init__()
        self.is_primitive = is_primitive
        self.module_names = ModuleNames(function)
        self.slots = {id(each): slot for slot, each in enumerate(inputs)}
        self.tensors = [*inputs]  # id() stays valid: every variable tensor is kept alive
        self.allocated: dict[int, Tensor] = {}  # new tensors that may be filled later, by their storage
        self.steps: list[Step] = []
        self.reads: list[str] = []

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator, or its decomposition."""
        kwargs = kwargs or {}
        variables = [leaf for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.slots]
        if not variables:
            return op(*args, **kwargs)
        if plain_name(op) in DENSE_RESULTS:
            args, kwargs = tree_map(self._dense, (args, kwargs))
        if plain_name(op) in SHAPE_ONLY:
            new = op(*args, **kwargs)
            self.allocated[new.untyped_storage().data_ptr()] = new
            return new
        if writes_into_first(op) and (functional := _out_of_place(op)) is not None:
            if torch.Tag.inplace_view in op.tags:
                return self._reshape(op, functional, args, kwargs)
            return self._write(functional, args, kwargs)
        for decomposition in self._decompositions(op, [leaf.dtype for leaf in variables]):
            with self:
                out = decomposition(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = op(*args, **kwargs)
        if any(isinstance(leaf, Tensor) and leaf.is_complex() for leaf in tree_leaves(out)):
            self._refuse(op, have_gradients=True)
        self._record(op, args, kwargs, variables, out)
        return out

    def _refuse(self, op: OpOverload, *, have_gradients: bool = False) -> None:
        raise UnsupportedOperator([f"{op} in {self.module_names.here()}"], have_gradients)

    def _decompositions(self, op: OpOverload, dtypes: list[torch.dtype]) -> Iterator[Callable[..., Any]]:
        """Yield functions that compute ``op`` by simpler operators, best first."""
        if plain_name(op) in DECOMPOSITIONS:
            yield DECOMPOSITIONS[plain_name(op)]
        if not self.is_primitive(op, dtypes) and not is_mutable(op) and plain_name(op) not in ALIASES:
            if op in decomposition_table:
                yield decomposition_table[op]
            yield op.decompose

    def _record(self, op: OpOverload, args: Any, kwargs: Any, variables: list[Tensor], out: Any) -> None:
        if plain_name(op) in ALIASES:
            self._set_slot(out, variables[0])
        elif not all(isinstance(leaf, Tensor) for leaf in tree_leaves(out)):
            self.reads.append(f"{self.module_names.here()} reads {out!r} from a row")
        else:
            args, kwargs = tree_map(self._argument, (args, kwargs))
            dtypes, place = tuple(leaf.dtype for leaf in variables), self.module_names.here()
            for output_index, leaf in enumerate(tree_leaves(out)):
                slot = self.slots[id(leaf)] = len(self.tensors)
                self.tensors.append(leaf)
                self.steps.append(Step(op, args, kwargs, dtypes, leaf.dtype, output_index, slot, place))

    def _dense(self, leaf: Any) -> Any:
        """Return a sparse constant as a dense one: neither vmap nor the rules of products take sparse tensors."""
        sparse = isinstance(leaf, Tensor) and leaf.layout != torch.strided and id(leaf) not in self.slots
        return leaf.to_dense() if sparse else leaf

    def _argument(self, leaf: Any) -> Any:
        if id(leaf) in self.slots:
            return Variable(self.slots[id(leaf)])
        return leaf.detach() if isinstance(leaf, Tensor) else leaf

    def _write(self, functional: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an operator that writes into its first argument as an operator with a new output.

        Torch functionalizes the writes of the function itself, but not the writes inside composite kernels.
        """
        first, *rest = args
        with self:  # a clone, so that the write does not change a constant on the tape
            out = functional(first if id(first) in self.slots else first.clone(), *rest, **kwargs)
        base = self.allocated.get(first.untyped_storage().data_ptr(), first)
        if base.dtype != out.dtype or 0 in first.stride():
            self._refuse(functional)
        self._set_slot(first.copy_(out.clone()), out)
        if base is not first:
            with self:
                self._set_slot(base, _write_view(base, out, first))
        return first

    def _reshape(self, op: OpOverload, functional: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an operator that gives its argument another shape, such as squeeze_, as one with a new output."""
        with self:
            out = functional(*args, **kwargs)
        reshaped = op(*args, **kwargs)
        self._set_slot(reshaped, out)
        return reshaped

    def _set_slot(self, tensor: Tensor, value: Tensor) -> None:
        """Give ``tensor`` the slot of ``value``, or none if ``value`` is a constant."""
        self.tensors.append(tensor)
        self.slots.pop(id(tensor), None)
        if id(value) in self.slots:
            self.slots[id(tensor)] = self.slots[id(value)]


def _out_of_place(op: OpOverload) -> OpOverload | None:
    """Find the operator that returns a new tensor instead of writing into its first argument: add for add_."""
    packet = getattr(torch.ops.aten, op.overloadpacket.__name__.removesuffix("_"), None)
    overloads = [getattr(packet, name) for name in packet.overloads()] if packet is not None else []
    matches = (each for each in overloads if not writes_into_first(each) and argument_types(each) == argument_types(op))
    return next(matches, None)


def _write_view(base: Tensor, value: Tensor, view: Tensor) -> Tensor:
    """Return ``base`` with ``value`` at the positions of ``view``, a view of ``base``."""
    positions = torch.arange(base.numel(), device=base.device)
    positions = positions.as_strided(view.size(), view.stride(), view.storage_offset()).reshape(-1)
    return base.reshape(-1).scatter(0, positions, value.reshape(-1)).view(base.shape)
