"""A search for operators that draw random numbers."""

import pickle
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shapae.utils.dispatch import DispatchMode
from shapae.utils.torch_private import is_mutable, tree_leaves
from shapae.utils.torch_trace import Function, ModuleNames


class RandomTracer(DispatchMode):
    """Dispatch mode that lists the operators that torch calls random, with their inputs and outputs."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.module_names = ModuleNames(function)
        self.calls: list[tuple[Any, str, list[Tensor], list[Tensor]]] = []

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator, and list it if it is random."""
        if torch.Tag.nondeterministic_seeded not in op.tags:
            return op(*args, **(kwargs or {}))
        inputs = [] if is_mutable(op) else _copies((args, kwargs))
        out = op(*args, **(kwargs or {}))
        self.calls.append((op, self.module_names.here(), inputs, _copies(out)))
        return out


def _copies(values: Any) -> list[Tensor]:
    return [leaf.detach().clone() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _equal(tensors: list[Tensor], others: list[Tensor]) -> bool:
    return len(tensors) == len(others) and all(map(torch.equal, tensors, others))


def draws_globally(function: Function, rows: Tensor) -> bool:
    """Return whether ``function`` draws from a global generator, as far as this can be told from some rows."""
    before = _global_states()
    with torch.no_grad(), RandomTracer(function) as tracer:
        function(rows)
    return bool(tracer.calls) or before != _global_states()


def random_operators(function: Function, rows: Tensor) -> dict[str, str]:
    """Find what draws random numbers that differ between two runs of ``function``.

    Operators with a generator of their own that starts anew in each run are not random in this sense.

    Returns:
        From the names of operators, and of generators of Python and numpy, to the module that draws from them.
    """
    runs = []
    for _ in range(2):
        before = _global_states()
        with torch.no_grad(), RandomTracer(function) as tracer:
            function(rows)
        after = _global_states()
        runs.append(tracer.calls)
    pairs = zip(*runs, strict=False)
    found = {
        str(op): place
        for (op, place, inputs, out), (_, _, other_inputs, other_out) in pairs
        if _equal(inputs, other_inputs) and not _equal(out, other_out)
    }
    return found | {name: "some module" for name, state in before.items() if state != after[name]}


def _global_states() -> dict[str, Any]:
    """Get the states of the global generators that torch does not trace: a function may draw from them."""
    of_numpy = pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002
    return {"Python's random": random.getstate(), "numpy.random": of_numpy}
