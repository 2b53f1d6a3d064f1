"""Objects that an object holds, and results that its containers collect."""

import logging
import math
from collections import defaultdict, deque
from dataclasses import dataclass
from functools import partial

import pytest
import torch

from shapae.utils.reachable import reachable, results_removed


@dataclass
class State:
    kept: object


class Slotted:
    __slots__ = ("kept",)

    def __init__(self, kept):
        self.kept = kept


NESTS = {
    "list": lambda x: [0, [x]],
    "dict": lambda x: {"a": {"b": (x,)}},
    "set": lambda x: {x},
    "deque": lambda x: deque([x]),
    "dataclass": lambda x: State(State(x)),
    "slots": Slotted,
    "partial": lambda x: partial(print, x),
    "method": lambda x: State(x).__eq__,
}


@pytest.mark.parametrize("kind", NESTS)
def test_what_is_held_is_found_at_any_depth(kind):
    tensor = torch.zeros(1)
    assert sum(each is tensor for each in reachable(NESTS[kind](tensor))) == 1


def test_cycles_end_and_the_process_is_not_searched():
    cycle = [math, logging.getLogger(), test_cycles_end_and_the_process_is_not_searched]
    cycle.append(cycle)
    assert len([*reachable(cycle)]) == 4


def test_tensors_that_come_in_go_out_again_and_all_else_stays():
    old, new = torch.zeros(1), torch.ones(1)
    kept = {"list": [old, old], "deque": deque([old], maxlen=2), "set": {old}, "dict": defaultdict(list, a=old)}
    names, pairs = ["a"], [old]
    with results_removed(State([kept, names, pairs])):
        kept["list"] += [new, new]
        kept["deque"] += [new, new]
        kept["set"].add(new)
        kept["dict"]["b"].append(new)
        names.append("b")
        pairs.append((0, {"mean": new}))
    assert kept == {"list": [old, old], "deque": deque([old]), "set": {old}, "dict": {"a": old}}
    assert (names, pairs) == (["a", "b"], [old])


def test_tensors_go_out_again_after_an_exception():
    kept = []

    def fail():
        with results_removed(kept):
            kept.append(torch.zeros(1))
            raise KeyError

    pytest.raises(KeyError, fail)
    assert kept == []
