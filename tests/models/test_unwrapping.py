"""Models without their wrappers, and copies of models."""

import copy

import pytest
import torch
from torch import nn

from shapae import Autoencoder, Explainer
from shapae.models.unwrapping import deep_copy, unwrap
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
