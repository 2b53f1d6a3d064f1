"""The rules of the native engine; ``terms`` says what they have in common."""

from collections.abc import Sequence

import torch
from torch._ops import OpOverload

import shapae.deepshap.rules.axes  # noqa: F401 (it fills the table)
from shapae.deepshap.rules.elementwise import duel, rescale
from shapae.deepshap.rules.linear import INDEXING
from shapae.deepshap.rules.slopes import SLOPES
from shapae.deepshap.rules.terms import RULES, Rule
from shapae.deepshap.tape import plain_name


def rule_for(op: OpOverload, kinds: Sequence[torch.dtype]) -> Rule | None:
    """The rule of an operator with live arguments of these dtypes, if there is one."""
    name = plain_name(op)
    if op._schema.is_mutable or (name in INDEXING and not all(kind.is_floating_point for kind in kinds)):
        return None
    if name in RULES:
        return RULES[name]
    elementwise = torch.Tag.pointwise in op.tags or name in SLOPES  # not all of torch's are marked as such
    return {1: rescale, 2: duel}.get(len(kinds)) if elementwise else None
