"""A snapshot tells each change of what an object holds, and nothing else."""

import gc
import sys
from array import array
from collections import deque
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from shapae.utils import snapshot
from shapae.utils.snapshot import take_snapshot

ROOM = 1e6
NUMBER = 1.0


class Holder:
    number = 1.0

    def __init__(self, **parts):
        vars(self).update(parts)

    def method(self):
        return self.number * NUMBER


class Slotted:
    __slots__ = ("part",)


def module(name="settings", **names):
    made = type(snapshot)(name)
    vars(made).update(names)
    return made


def closure(number):
    return lambda: number


def change_cell(function):
    function.__closure__[0].cell_contents = 2.0


# What is held, and what changes it.
CHANGES = {
    "item": lambda: ([1.0], lambda x: x.__setitem__(0, 2.0)),
    "order": lambda: ([[1.0], [2.0]], lambda x: x.reverse()),
    "end to start": lambda: ([[0.5, "a"], ["b"]], lambda x: x[1].insert(0, x[0].pop())),
    "start to end": lambda: ([[0.5, "a"], ["b"]], lambda x: x[1].append(x[0].pop(0))),
    "key": lambda: ({"a": 1.0}, lambda x: x.update(b=x.pop("a"))),
    "set": lambda: ({1.0}, lambda x: x.add(2.0)),
    "deque": lambda: (deque([1.0]), lambda x: x.append(2.0)),
    "attribute": lambda: (Holder(a=1.0), lambda x: setattr(x, "a", 2.0)),
    "class": lambda: (Holder(), lambda x: setattr(x, "__class__", type("Other", (Holder,), {}))),
    "tensor": lambda: (torch.zeros(3), lambda x: x.data.add_(1)),
    "numpy's view of a tensor": lambda: (torch.zeros(3), lambda x: x.numpy().fill(1)),
    "sign of zero": lambda: (torch.zeros(3), lambda x: x.neg_()),
    "shape": lambda: (torch.zeros(4), lambda x: x.resize_(2, 2)),
    "memory": lambda: (torch.zeros(4), lambda x: setattr(x, "data", torch.zeros(4))),
    "part of a tensor": lambda: (torch.zeros(4, 4)[:, 1], lambda x: x.data[2:3].add_(1)),
    "one byte": lambda: (torch.zeros(3, dtype=torch.bool), lambda x: x.data[2:].fill_(True)),
    "attribute of a tensor": lambda: (torch.zeros(3), lambda x: setattr(x, "order", [1, 0, 2])),
    "bytearray": lambda: (bytearray(b"ab"), lambda x: x.__setitem__(0, 0)),
    "array of Python": lambda: (array("d", [1.0]), lambda x: x.__setitem__(0, 2.0)),
    "module": lambda: (module(gain=1.0), lambda x: setattr(x, "gain", 2.0)),
    "list in a module": lambda: (module(gains=[1.0]), lambda x: x.gains.append(2.0)),
    "module in a module": lambda: (
        module(inner=module("settings.inner", gain=1.0)),
        lambda x: setattr(x.inner, "gain", 2.0),
    ),
    "array": lambda: (np.zeros(3), lambda x: x.fill(1)),
    "array of objects": lambda: (np.array(["a", [1]], dtype=object), lambda x: x.__setitem__(0, "b")),
    "list in an array": lambda: (np.array(["a", [1]], dtype=object), lambda x: x[1].append(2)),
    "closure": lambda: (closure(1.0), change_cell),
    "default": lambda: (lambda number=1.0: number, lambda x: setattr(x, "__defaults__", (2.0,))),
    "attribute of a function": lambda: (closure(1.0), lambda x: setattr(x, "number", 2.0)),
    "code": lambda: (closure(1.0), lambda x: setattr(x, "__code__", (lambda: x).__code__)),
    "partial": lambda: (partial(print, [1.0]), lambda x: x.args[0].append(2.0)),
    "method": lambda: (Holder(a=1.0).method, lambda x: setattr(x.__self__, "a", 2.0)),
    "buffer": lambda: (nn.BatchNorm1d(2), lambda x: x.running_mean.add_(1)),
    "hook": lambda: (nn.Linear(2, 2), lambda x: x.register_forward_hook(print)),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("depth", [0, 2])
def test_a_change_is_told(kind, depth):
    held, change = CHANGES[kind]()
    part = Slotted()
    part.part = [held]
    found = take_snapshot(part if depth else held, ROOM)
    gc.collect()
    assert found.is_current()
    assert found.is_current()
    change(held)
    assert not found.is_current()


def test_a_class_and_a_global_are_followed(monkeypatch):
    found = take_snapshot(Holder(), ROOM)
    monkeypatch.setattr(Holder, "number", 2.0)
    assert not found.is_current()
    found = take_snapshot(Holder(), ROOM)
    monkeypatch.setitem(globals(), "NUMBER", 2.0)
    assert not found.is_current()
    found = take_snapshot(lambda: snapshot.MAX_OBJECTS, ROOM)
    assert found.is_current()


def test_a_module_of_the_user_is_followed_by_its_names(monkeypatch):
    settings = module(gain=1.0, other=1.0)
    monkeypatch.setitem(globals(), "settings", settings)
    found = take_snapshot(lambda: settings_gain(), ROOM)
    settings.other = 2.0
    assert found.is_current()
    settings.gain = 2.0
    assert not found.is_current()


def settings_gain():
    return settings.gain  # noqa: F821


def test_modules_that_a_function_reaches_by_a_path_or_imports_are_followed(monkeypatch):
    package = module("package", config=module("package.config", gain=1.0))
    monkeypatch.setitem(globals(), "package", package)
    for name, each in (("package", package), ("package.config", package.config), ("tests.utils.nearby", module())):
        monkeypatch.setitem(sys.modules, name, each)
    for function in (by_path, imported, imported_relatively):
        package.config.gain = sys.modules["tests.utils.nearby"].gain = 1.0
        found = take_snapshot(function, ROOM)
        assert found.is_current()
        package.config.gain = sys.modules["tests.utils.nearby"].gain = 2.0
        assert not found.is_current(), function


def by_path():
    return package.config.gain  # noqa: F821


def imported():
    from package.config import gain

    return gain


def imported_relatively():
    from .nearby import gain

    return gain


def test_the_environment_and_hooks_of_all_modules_are_told(monkeypatch):
    found = take_snapshot([], ROOM)
    monkeypatch.setenv("SHAPAE_TEST", "1")
    assert not found.is_current()
    found = take_snapshot([], ROOM)
    hook = nn.modules.module.register_module_forward_pre_hook(lambda *_: None)
    assert not found.is_current()
    hook.remove()
    assert found.is_current()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_there_is_none_of_what_holds_its_state_outside_of_python():
    assert take_snapshot(nn.Sequential(torch.jit.script(nn.Linear(2, 2))), ROOM) is None


class Fails(list):
    """A container that fails when it is looked at for the third time; its count is not kept in Python."""

    looks = count(1)

    def __len__(self):
        if next(self.looks) > 2:
            raise RuntimeError("no length")
        return 0


def test_what_fails_when_it_is_looked_at_is_not_kept():
    held = Fails()
    found = take_snapshot(held, ROOM)
    assert found.is_current()
    assert not found.is_current()
    assert take_snapshot(held, ROOM) is None


def test_settings_of_torch_are_told():
    found = take_snapshot([], ROOM)
    with torch.autocast("cpu"):
        assert not found.is_current()
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if before == torch.float32 else torch.float32)
        assert not found.is_current()
    finally:
        torch.set_default_dtype(before)
    assert found.is_current()


def test_gradients_and_runs_are_no_changes():
    model = nn.Linear(2, 2)
    found = take_snapshot(model, ROOM)
    torch.autograd.backward(model(torch.ones(1, 2)).sum())
    assert model.weight.grad is not None
    assert found.is_current()


def test_nan_is_itself():
    assert take_snapshot(torch.full((3,), torch.nan), ROOM).is_current()


@pytest.mark.parametrize(
    "root", [torch.zeros(300), np.zeros(300), torch.eye(2).to_sparse()], ids=["tensor", "array", "sparse"]
)
def test_there_is_none_of_too_much_or_of_what_has_no_bits(root):
    assert take_snapshot([root], 1000) is None


def test_there_is_none_of_too_many_objects(monkeypatch):
    monkeypatch.setattr(snapshot, "MAX_OBJECTS", 10)
    assert take_snapshot([[] for _ in range(9)], ROOM) is not None
    assert take_snapshot([[] for _ in range(10)], ROOM) is None
