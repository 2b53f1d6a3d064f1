"""Arguments that are read back from objects, and objects that are alike."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from shapae.utils.arguments import alike, read_arguments


class Named:
    """Keeps its arguments under their names."""

    def __init__(self, first, second=2):
        self.first, self.second = first, second


class Counted(Named):
    """Makes a number of its argument, which is then no argument."""

    def __init__(self, first):
        super().__init__(len(first))


class Failing(Named):
    """Can be made once."""

    def __init__(self, first=1):
        if first == "again":
            raise ValueError("no")
        super().__init__("again")


@pytest.mark.parametrize(
    ("made", "arguments"),
    [
        (Named("a", [1, None]), {"first": "a", "second": [1, None]}),
        (nn.Dropout(0.3), {"p": 0.3, "inplace": False}),
        (Named(len), None),
        (Named(np.ones(2)), None),
        (Counted("abc"), None),
        (Failing(), None),
        (nn.Linear(2, 3), None),
    ],
)
def test_arguments_are_read_back_if_they_make_an_equal_object(made, arguments):
    assert read_arguments(made) == arguments


def changed(module, change):
    twin = copy.deepcopy(module)
    change(twin)
    return twin


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda m: None, True),
        (lambda m: m.eval(), True),
        (lambda m: m[0].weight.data.mul_(2), False),
        (lambda m: m[0].double(), False),
        (lambda m: setattr(m[1], "inplace", True), False),
        (lambda m: m.append(nn.ReLU()), False),
        (lambda m: m.register_forward_hook(print), False),
        (lambda m: setattr(m, "mine", torch.ones(1)), False),
    ],
)
def test_modules_are_alike_if_all_that_they_hold_is_equal_but_their_modes(change, same):
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert alike(module, changed(module, change)) is same


def test_objects_of_other_classes_are_not_alike():
    assert not alike(1, 1.0)
    assert not alike(Named(1), Counted("a"))
    assert alike(Named(np.ones(2)), Named(np.ones(2)))
    assert not alike(Named(np.ones(2)), Named(np.ones(3)))
    assert not alike(Named(len), Named(abs))
