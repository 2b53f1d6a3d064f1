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
    root = State({"list": [old, old], "deque": deque([old], maxlen=2), "set": {old}, "dict": defaultdict(list, a=old)})
    names, pairs = ["a"], [old]
    root.kept |= {"names": names, "pairs": pairs}
    with pytest.raises(KeyError), results_removed(root):
        for each in (root.kept["list"], root.kept["deque"]):
            each += [new, new]
        root.kept["set"].add(new)
        root.kept["dict"]["b"].append(new)
        names.append("b")
        pairs.append((0, {"mean": new}))
        raise KeyError
    assert root.kept == {"list": [old, old], "deque": deque([old]), "set": {old}, "dict": {"a": old}} | {
        "names": ["a", "b"], "pairs": [old]}  # fmt: skip
