"""Sizes of blocks, calls and memory on devices other than a processor, whose sizes the processor takes here."""

import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from shapae import Explainer, heads
from shapae.deepshap import DeepShap
from shapae.deepshap.feedforward.contraction import ContractionOrder
from shapae.deepshap.feedforward.deviations import Deviations
from shapae.errors import MemoryWarning, TooLarge
from shapae.utils.blocks import DEVICE_FACTOR, HELD_BLOCKS, Room, block_bytes, block_rows, device_memory, memory_bound
from shapae.utils.moments import Moments
from tests import cases

# Operators that wait for the device, as a number or a shape is read from it.
WAITS = {"_local_scalar_dense", "nonzero", "equal", "unique2", "masked_select"}


@pytest.fixture
def device_sizes(monkeypatch):
    """The sizes and ways of another device: Moments stay tensors, too."""
    for name, module in list(sys.modules.items()):
        if name.startswith("shapae.") and hasattr(module, "on_processor"):
            monkeypatch.setattr(module, "on_processor", lambda like: False)


class Calls(TorchDispatchMode):
    """Counts the operators that run, but for views."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if not op.is_view:
            self.counts[op.overloadpacket.__name__] += 1
        return op(*args, **(kwargs or {}))

    @property
    def total(self):
        return self.counts.total()

    @property
    def waits(self):
        return sum(self.counts[name] for name in WAITS)


def calls(explainer, rows, method="__call__"):
    with Calls() as counted:
        getattr(explainer, method)(rows)
    return counted


class Wide(nn.Module):
    """Two layers each way, so that all outputs have many orders of their factors."""

    def __init__(self, d=40, h=30, narrow=12):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(d, h), nn.ReLU(), nn.Linear(h, narrow))
        self.decoder = nn.Sequential(nn.Linear(narrow, h), nn.ReLU(), nn.Linear(h, d))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def test_a_processor_has_the_same_blocks_for_any_memory():
    table = torch.zeros(3, 5)
    with memory_bound(Room(1000)):
        assert block_bytes(12345, table) == 12345
        assert block_rows(77, table) == 77


def test_another_device_has_larger_blocks_within_the_memory():
    table = torch.zeros(3, 5, device="meta")
    assert block_bytes(1000, table) == DEVICE_FACTOR * 1000
    assert block_rows(100, table) == DEVICE_FACTOR * 100
    with memory_bound(Room(HELD_BLOCKS * 2000)):
        assert block_bytes(1000, table) == 2000
        assert block_rows(1000, table) == 100
        assert block_rows(1000, torch.zeros(3, 5000, device="meta")) == 1  # at least one
    assert block_bytes(1000, table) == DEVICE_FACTOR * 1000


def test_the_bound_of_the_memory_ends_with_a_failure_too():
    table = torch.zeros(3, 5, device="meta")
    with pytest.raises(ZeroDivisionError), device_memory(8):
        1 / 0  # noqa: B018
    assert block_bytes(1000, table) == DEVICE_FACTOR * 1000


SETTINGS = {
    "plain": {},
    "groups": {"groups": {"some": ["feature 0", "feature 3"]}},
    "tolerance": {"tolerance": 0.05},
    "little memory": {"memory": 40_000_000},
}
BACKENDS = ("deep", "gradient", "coalitions", "sampling", "shap_gradient")


PAIRS = [(name, each) for name in BACKENDS for each in SETTINGS if (name, each) != ("shap_gradient", "tolerance")]


@pytest.mark.parametrize(("backend", "settings"), PAIRS, ids=map(", ".join, PAIRS))
@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
def test_values_are_those_of_a_processor(head, backend, settings, request):
    """In blocks of other sizes, and by tensors in place of arrays: the same sums up to rounding."""
    model, (rows, background) = cases.build(Wide), (cases.table(n, 40, seed=n) for n in (9, 21))

    def explain():
        explainer = Explainer(model, background, head=head, backend=backend, **SETTINGS[settings])
        return explainer(rows), explainer.summarize(rows), explainer.summarize(rows, by=["B", "T", "B"] * 3)

    want, want_averages, want_groups = explain()
    request.getfixturevalue("device_sizes")
    got, averages, groups = explain()
    near = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(got.values, want.values, **near)
    np.testing.assert_allclose(got.base_values, want.base_values, **near)
    np.testing.assert_allclose(averages.mean_abs, want_averages.mean_abs, **near)
    np.testing.assert_allclose(averages.over.sizes.standard_error, want_averages.over.sizes.standard_error, **near)
    np.testing.assert_allclose(groups.mean, want_groups.mean, **near)
    np.testing.assert_allclose(groups.mean_abs_error, want_groups.mean_abs_error, **near)
    if head == "reconstruction_error" and want.standard_errors is not None:
        np.testing.assert_allclose(got.standard_errors, want.standard_errors, rtol=1e-6, atol=1e-12)


def test_weights_and_workers_are_those_of_a_processor(device_sizes):
    model, (rows, background) = cases.build(Wide), (cases.table(n, 40, seed=n) for n in (9, 21))
    alone = Explainer(model, background, head="latent")(rows).values
    np.testing.assert_allclose(Explainer(model, background, head="latent", n_jobs=2)(rows).values, alone, rtol=1e-9)


def test_moments_stay_where_they_are_and_move_to_other_processes_as_arrays(device_sizes):
    mean = torch.ones(2, 3, 1)
    moments = Moments(4, mean, mean, sums=Moments(4, mean[:, :1]))
    both = moments + moments
    assert isinstance(both.mean, torch.Tensor)
    assert isinstance(both.standard_error, torch.Tensor)
    state = moments.__getstate__()
    assert [type(state[name]) for name in ("mean", "sum_of_squares")] == [np.ndarray] * 2
    assert isinstance(state["sums"].mean, np.ndarray)


ANCHORED = {
    "fixed": heads.ReconstructionError(target="fixed"),
    "absolute": heads.ReconstructionError("mae", target="fixed"),
    "label-free": "label_free",
    "worst": heads.FeatureError(worst=3),
}
HEADS = {name: name for name in ("reconstruction_error", "latent", "reconstruction", "feature_error")} | ANCHORED


@pytest.mark.parametrize("head", ANCHORED.values(), ids=list(ANCHORED))
def test_values_of_anchored_heads_are_those_of_a_processor(head, request):
    model, (rows, background) = cases.build(Wide), (cases.table(n, 40, seed=n) for n in (19, 21))
    want = Explainer(model, background, head=head)(rows)
    request.getfixturevalue("device_sizes")
    got = Explainer(model, background, head=head)(rows)
    np.testing.assert_allclose(got.values, want.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got.base_values, want.base_values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("head", HEADS.values(), ids=list(HEADS))
@pytest.mark.parametrize("method", ["__call__", "summarize"])
def test_calls_and_waits_do_not_grow_with_the_rows(head, method, device_sizes):
    """A device that gets ten times the rows gets larger calls, not more: 950 x 1000 would wait in 5 000 of them."""
    model, background = cases.build(Wide), cases.table(30, 40)
    few, many = (calls(Explainer(model, background, head=head), cases.table(n, 40, seed=1), method) for n in (40, 400))
    assert many.total <= 1.3 * few.total
    assert many.waits <= few.waits + 3
    assert many.waits <= 30


def test_calls_of_a_processor_grow_so_that_the_count_can_fail():
    explainer = Explainer(cases.build(Wide, 200, 150), cases.table(100, 200), head="latent")
    few, many = (calls(explainer, cases.table(n, 200, seed=1)) for n in (10, 300))
    assert many.total > 1.7 * few.total


@pytest.mark.parametrize(("backend", "d"), [("gradient", 40), ("coalitions", 70), ("sampling", 13)])
def test_rows_are_batched_by_backends_that_sample(backend, d, device_sizes):
    """A tenth of the calls of one row for each further row, or less."""
    explainer = Explainer(cases.build(Wide, d), cases.table(30, d), backend=backend)
    one, many = (calls(explainer, cases.table(n, d, seed=1)) for n in (1, 21))
    assert many.total - one.total <= 20 * one.total / 10


class Limited(nn.Module):
    """An autoencoder on a device that has memory for so many rows at once."""

    def __init__(self, most):
        super().__init__()
        self.inner, self.most = Wide(), most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
        return self.inner(x)


@pytest.mark.parametrize("backend", ["deep", "gradient", "sampling"])
@pytest.mark.parametrize("method", ["__call__", "summarize"])
def test_too_little_memory_is_met_with_smaller_blocks_and_said_once(backend, method, device_sizes):
    rows, background = cases.table(600 if backend == "deep" else 7, 40, seed=1), cases.table(30, 40)
    found = []
    for most in (10**9, 500):
        explainer = Explainer(cases.build(Limited, most), background, backend=backend, head="reconstruction:3")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.append(getattr(explainer, method)(rows))
        said = [str(each.message) for each in caught if each.category is MemoryWarning]
        assert len(said) == (most == 500)
        assert all("CUDA out of memory" in each and "memory=" in each for each in said)
    want, got = (each.values if method == "__call__" else each.mean_abs for each in found)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_a_background_that_is_too_large_is_met_with_smaller_blocks(device_sizes):
    """A single row can't be halved, so that only its blocks get smaller."""
    row, background = cases.table(1, 40, seed=1), cases.table(700, 40)
    want = Explainer(cases.build(Limited, 10**9), background)(row)
    with pytest.warns(MemoryWarning, match="smaller blocks are computed"):
        got = Explainer(cases.build(Limited, 500), background)(row)
    np.testing.assert_allclose(got.values, want.values, rtol=1e-9, atol=1e-12)


def test_pairs_are_not_taken_one_by_one_on_another_device(request):
    """On a processor the nonzero deviations of each pair are; the calls of each pair would take too long elsewhere."""
    model, background = cases.build(Wide, 500, 375, narrow=250), torch.tensor(cases.table(100, 500))
    kinds = [type(DeepShap(model, background)._order)]
    request.getfixturevalue("device_sizes")
    kinds.append(type(DeepShap(model, background)._order))
    assert kinds == [Deviations, ContractionOrder]


def test_too_little_memory_for_anything_is_said(device_sizes):
    explainer = Explainer(cases.build(Limited, 10**9), cases.table(30, 40))
    explainer._score.autoencoder.model.most = 0
    with pytest.raises(TooLarge, match=r"too little memory even for small blocks \(CUDA out of memory\)"):
        explainer.scores(cases.table(5, 40))
