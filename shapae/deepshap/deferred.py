"""Elementwise steps whose multipliers are 0 but for one number: their slopes are factors, computed for each pair.

Multipliers are linear in those of the output. Where a single number of an elementwise function matters, such as the
square of one feature's error, or a root, its slope is therefore a factor of all multipliers that come after it. The
backward pass can go on without it, with multipliers that pairs share, and multiply by the slope of each pair later.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from shapae.deepshap.rules import is_nonlinearity, rule_of
from shapae.deepshap.rules.slopes import Pair
from shapae.deepshap.rules.terms import Terms, sum_terms
from shapae.deepshap.tracing.tape import Step, Values
from shapae.utils.torch_private import tree_leaves


@dataclass(frozen=True, eq=False)
class Deferred:
    """An elementwise step whose slopes are yet to be computed.

    Attributes:
        step: The step.
        positions: (outputs, rows), position of the number in the flattened value, for each output and row; (outputs, 1)
            if the rows share it.
    """

    step: Step
    positions: Tensor

    def select(self, rows: slice) -> "Deferred":
        """Select some of the rows."""
        return self if self.positions.shape[1] == 1 else Deferred(self.step, self.positions[:, rows])

    def slopes(self, x: Values, b: Values) -> Tensor:
        """Compute the slope of each pair: (outputs, rows, background); an axis may have length 1.

        Args:
            x: Values of the rows, (rows, 1, ...).
            b: Values of the background rows, (1, background, ...), or (rows, background, ...).
        """
        out, *inputs = (
            Pair(self._pick(x[slot]), self._pick(b[slot])) for slot in (self.step.slot, *self.step.variables)
        )
        parts = rule_of(self.step)(self.step, [torch.ones_like(out.x[:1, :1, :1])], out, inputs)
        return sum_terms(reduce(add, parts)).squeeze(3)

    def _pick(self, value: Tensor) -> Tensor:
        """(rows, background, ...) -> (outputs, rows, background, 1)."""
        rows = torch.arange(len(value), device=value.device)
        return value.flatten(2)[rows, :, self.positions].unsqueeze(3)


def defer(step: Step, terms: Terms, x: Values) -> Deferred | None:
    """Defer an elementwise step with these multipliers of its output, which are then also those of its input.

    Args:
        step: On a tape.
        terms: Its multipliers.
        x: Values of the rows, (rows, 1, ...).

    Returns:
        None if the step is no function of each element, has different arguments for the elements, or if multipliers
        depend on the background row or have more than one number that is not 0.
    """
    constants = [leaf for leaf in tree_leaves((step.args, step.kwargs)) if isinstance(leaf, Tensor)]
    shapes = {slot: x[slot].shape[2:] for slot in (step.slot, *step.variables)}
    by_background = any(term.shape[2] > 1 for term in terms)
    if by_background or any(each.numel() > 1 for each in constants) or not is_nonlinearity(step, shapes):
        return None
    numbers = sum_terms(terms).squeeze(2).flatten(2) != 0
    return Deferred(step, numbers.int().argmax(dim=2)) if (numbers.sum(dim=2) <= 1).all() else None
