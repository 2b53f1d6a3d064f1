"""Checks of the tensors of a model, and of files of weights, before anything is run."""

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Autoencoder, Explainer
from shapae.errors import ModelError
from shapae.models import outputs
from shapae.models.files import read_state
from shapae.models.weights import check_weights
from tests import cases


def test_all_tensors_of_a_fault_are_named_and_those_without_are_not():
    model = nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(2), nn.LazyLinear(2, bias=False))
    with pytest.raises(ModelError, match=r"its tensors 1\.weight, 1\.bias, 2\.weight have no shape yet"):
        check_weights(model)
    model(torch.zeros(1, 2))
    check_weights(model)


def test_the_advice_for_a_model_on_meta_works():
    with torch.device("meta"):
        model = cases.Question()
    with pytest.raises(ModelError, match=r"model\.load_state_dict\(state, assign=True\)"):
        Autoencoder(model).understand(torch.zeros(5, 6))
    model.load_state_dict(cases.build(cases.Question, dtype=torch.float32).state_dict(), assign=True)
    assert np.abs(Explainer(model, cases.table(9))(cases.table(3)).residual).max() < 1e-5


def test_the_advice_for_a_lazy_model_works():
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(6))
    autoencoder = Autoencoder(model)  # whose weights may be loaded later
    with pytest.raises(ModelError, match=r"model\(torch\.zeros\(2, d\)\)"):
        Explainer(autoencoder, cases.table(9))
    model(torch.zeros(2, 6))
    assert np.abs(Explainer(autoencoder, cases.table(9))(cases.table(3)).residual).max() < 1e-5


@pytest.mark.parametrize("backend", ["exact", "sampling"])
def test_a_model_made_in_inference_mode_has_values_without_gradients(backend):
    with torch.inference_mode():
        model = cases.build(cases.Question)
    got = Explainer(model, cases.table(9), backend=backend)(cases.table(3))
    np.testing.assert_allclose(got.residual, 0, atol=1e-10)


@pytest.mark.parametrize(
    ("tensor", "dense"),
    [
        (torch.ones(2, 2), True),
        (torch.ones(2, 2).to_sparse(), False),
        (torch.ones(2, 2, device="meta"), False),
    ],
    ids=["strided", "coo", "meta"],
)
def test_only_dense_tensors_are_found_in_outputs(tensor, dense):
    assert len([*outputs.find_tensors({"out": tensor})]) == dense
    assert outputs.describe_output(tensor)


def test_a_checkpoint_by_its_other_name_is_read(tmp_path):
    state = cases.build(cases.Linear).state_dict()
    torch.save({"model_state_dict": state, "epoch": 3}, tmp_path / "weights.pt")
    assert read_state(tmp_path / "weights.pt").keys() == state.keys()
