"""State that is changed inside a context comes back, also after an exception."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from shapae.utils.context import eval_mode, inference_state, preserve_rng, torch_threads
from tests import cases


@pytest.fixture(params=[False, True], ids=["well", "raising"])
def ending(request):
    """Leaves a block in the usual way, or with an exception that the test does not see."""

    def leave():
        if request.param:
            raise KeyboardInterrupt

    return leave


def enter(context, inside, ending):
    try:
        with context:
            inside()
            ending()
    except KeyboardInterrupt:
        pass


def test_modes_are_borrowed(ending):
    model = nn.Sequential(nn.Sequential(nn.Dropout(), nn.ReLU()), nn.BatchNorm1d(3)).train()
    model[0].eval()
    model[0][1].train()
    before, seen = cases.snapshot(model), []
    enter(eval_mode(model), lambda: seen.extend(module.training for module in model.modules()), ending)
    assert seen == [False] * 5
    assert cases.snapshot(model) == before


def draw():
    return random.random(), np.random.random(), float(torch.rand(1))


def test_generators_are_borrowed(ending):
    before = cases.world()
    enter(preserve_rng(torch.zeros(1)), draw, ending)
    assert cases.world() == before
    with preserve_rng():
        first = draw()
    with preserve_rng():
        assert draw() == first


def test_threads_are_borrowed(ending):
    before, seen = torch.get_num_threads(), []
    enter(torch_threads(before + 1), lambda: seen.append(torch.get_num_threads()), ending)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("gradients", [False, True])
def test_a_model_is_run_in_eval_mode_also_within_inference_mode(gradients, ending):
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout()).train()
    before, seen = (cases.snapshot(model), cases.world()), []

    def run():
        draw()
        seen.append((model.training, model(torch.ones(1, 2)).requires_grad, torch.is_inference_mode_enabled()))

    with torch.inference_mode():
        enter(inference_state(model, torch.zeros(1), gradients=gradients), run, ending)
    assert seen == [(False, gradients, False)]
    assert (cases.snapshot(model), cases.world()) == before
