"""Models without their wrappers, and copies of models."""

import copy
import io
import logging
import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Autoencoder, Explainer, score
from shapae.errors import ModelError
from shapae.models.unwrapping import deep_copy, share_parameters, unwrap
from shapae.utils.reachable import reachable
from tests import cases

X = torch.tensor(cases.table(4))


class Holding(nn.Module):
    """A wrapper that keeps the model as ``name``, as Lightning and Fabric do."""

    def __init__(self, name, model):
        super().__init__()
        setattr(self, name, model)


WRAPPERS = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "data parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "Fabric's": lambda model: Holding("_original_module", model),
    "Lightning's": lambda model: Holding("_forward_module", model),
    "two of them": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_wrappers_are_removed(kind, model):
    got = unwrap(WRAPPERS[kind](model))
    assert type(got) is cases.Question
    assert torch.equal(Autoencoder(WRAPPERS[kind](model)).encode(X), got.encoder(X))
    assert kind == "averaged" or got is model


def test_a_module_that_holds_another_one_is_no_wrapper():
    model = Holding("module", cases.build(cases.Question))
    assert unwrap(model) is model


def compiled_within(model):
    model.encoder = torch.compile(model.encoder, backend="eager")
    return model


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


@pytest.mark.parametrize("compiled", [compiled_within, compiled_in_place])
def test_compiled_parts_are_explained_like_uncompiled_ones_and_stay_compiled(compiled, rows, background):
    want = Explainer(cases.build(cases.Question), background)(rows).values
    model = compiled(cases.build(cases.Question))
    before = cases.snapshot(model)
    for backend in ("deep", "shap_deep"):
        torch.testing.assert_close(Explainer(model, background, backend=backend)(rows).values, want)
    assert cases.snapshot(model) == before


def test_the_copy_of_a_compiled_model_shares_its_parameters():
    model = compiled_within(compiled_in_place(cases.build(cases.Nested)))
    got = unwrap(model)
    assert type(got.encoder) is cases.Half
    assert all(one is other for one, other in zip(got.parameters(), model.parameters(), strict=True))
    assert all(one is other for one, other in zip(got.buffers(), model.buffers(), strict=True))


def test_results_of_the_last_forward_pass_can_be_copied():
    model = cases.build(cases.Question)
    model.encoder.last = model.encoder(X)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    twin = deep_copy(model)
    assert torch.equal(twin.encoder.last, model.encoder.last)
    assert twin.encoder.last is not model.encoder.last
    assert model.encoder.last.grad_fn is not None


@dataclass
class State:
    latents: object = None


class Keeping(cases.Question):
    """Keeps its latents in some way."""

    def __init__(self, kept, keep):
        super().__init__()
        self.kept, self.keep = kept, keep

    def forward(self, rows):
        latents = self.encoder(rows)
        self.keep(self.kept, latents)
        return self.decoder(latents)


KEEPING = {
    "list": (list, lambda kept, z: kept.append(z)),
    "pairs in a list": (list, lambda kept, z: kept.append((z, {"squared": z**2}))),
    "dict": (dict, lambda kept, z: kept.update(z=z)),
    "keys of a dict": (dict, lambda kept, z: kept.__setitem__(len(kept), z)),
    "nested": (lambda: {"a": [({},)]}, lambda kept, z: kept["a"][0][0].update(z=z)),
    "lists by name": (lambda: defaultdict(list), lambda kept, z: kept["z"].append(z)),
    "deque": (lambda: deque(maxlen=2), lambda kept, z: kept.append(z)),
    "set": (set, lambda kept, z: kept.add(z)),
    "dataclass": (State, lambda kept, z: setattr(kept, "latents", z)),
    "distribution": (State, lambda kept, z: setattr(kept, "latents", torch.distributions.Normal(z, 1.0))),
    "list of an object": (lambda: State([]), lambda kept, z: kept.latents.append(z)),
}


def keeping(kind, dtype=torch.float64):
    make, keep = KEEPING[kind]
    model = cases.build(Keeping, make(), keep, dtype=dtype)
    model(X.to(dtype))  # in the graph, which torch refuses to copy
    return model


@pytest.mark.parametrize("kind", KEEPING)
@pytest.mark.parametrize("backend", ["deep", "exact", "shap_deep", "captum_deep", "shap_kernel"])
def test_models_that_keep_results_in_containers_have_the_values_of_the_plain_one(kind, backend, rows, background):
    model = keeping(kind)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    got = Explainer(model, background, backend=backend)(rows)
    want = Explainer(cases.build(cases.Question), background, backend=backend)(rows)
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KEEPING)
def test_models_in_bfloat16_that_keep_results_are_explained_and_scored(kind, rows, background):
    model = keeping(kind, torch.bfloat16)
    plain = cases.build(cases.Question, dtype=torch.bfloat16)
    np.testing.assert_array_equal(*(Explainer(each, background)(rows).values for each in (model, plain)))
    np.testing.assert_array_equal(*(score(each, rows).predict(rows) for each in (model, plain)))


@pytest.mark.parametrize("kind", KEEPING)
@pytest.mark.parametrize("backend", ["deep", "exact", "gradient", "shap_deep"])
def test_containers_of_results_do_not_grow_and_can_be_used(kind, backend, rows, background):
    model = keeping(kind)
    size = len(model.kept) if hasattr(model.kept, "__len__") else None
    Explainer(model, background, backend=backend)(rows)
    assert size == (len(model.kept) if hasattr(model.kept, "__len__") else None)
    assert all(torch.isfinite(each).all() for each in reachable(model.kept) if isinstance(each, torch.Tensor))
    deep_copy(model)


UNCOPYABLE = {
    "lock": threading.Lock,
    "condition": threading.Condition,
    "lock in a dict": lambda: {"lock": threading.RLock()},
    "file": lambda: open(__file__),  # noqa: SIM115
    "generator": lambda: (row for row in range(3)),
    "module": lambda: np,
    "logger with a handler": lambda: SimpleNamespace(
        log=logging.getLogger("a"), to=logging.StreamHandler(io.StringIO())
    ),
    "iterator of a loader": lambda: iter(torch.utils.data.DataLoader(X)),
    "thread's own": threading.local,
}


@pytest.mark.parametrize("kind", UNCOPYABLE)
def test_what_can_not_be_copied_is_shared(kind, rows, background):
    model, plain = (cases.build(cases.Question) for _ in range(2))
    model.kept = UNCOPYABLE[kind]()
    with pytest.raises((TypeError, NotImplementedError)):
        copy.deepcopy(model)
    for twin in (deep_copy(model), share_parameters(model)):
        assert torch.equal(twin(X), model(X))
        assert kind not in ("lock", "file", "generator", "module") or twin.kept is model.kept
    np.testing.assert_array_equal(*(Explainer(m, background, backend="shap_deep")(rows).values for m in (model, plain)))
    if kind == "file":
        model.kept.close()


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
def test_sparse_parameters_and_buffers_can_be_copied(layout):
    matrix = torch.eye(3).to_sparse(layout=layout)
    module = nn.Linear(3, 3)
    module.register_buffer("buffer", matrix)
    if layout == torch.sparse_coo:
        module.sparse = nn.Parameter(matrix.clone(), requires_grad=False)
    twin = deep_copy(module)
    assert torch.equal(twin.buffer.to_dense(), torch.eye(3))
    assert twin.buffer is not matrix
    assert [type(each) for each in twin.parameters()] == [type(each) for each in module.parameters()]
    assert [each.requires_grad for each in twin.parameters()] == [each.requires_grad for each in module.parameters()]


class Refusing:
    def __deepcopy__(self, memo):
        raise TypeError("not me")


def test_what_refuses_to_be_copied_is_named():
    model = cases.build(cases.Question)
    model.kept = Refusing()
    with pytest.raises(ModelError, match="Question holds something that can't be copied: not me"):
        deep_copy(model)


def test_a_module_within_two_compiled_parts_stays_one_module():
    shared = nn.ReLU()
    parts = [torch.compile(nn.Sequential(nn.Linear(6, 6), shared), backend="eager") for _ in range(2)]
    got = unwrap(nn.Sequential(*parts))
    assert got[0][1] is got[1][1]
