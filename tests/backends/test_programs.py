"""Models that torch has turned into programs have the values of the models that they were made from."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Explainer
from shapae.errors import ModelError
from tests.cases import table

ROWS, BACKGROUND = table(4, seed=1), table(9, seed=2)


def model():
    torch.manual_seed(0)
    hidden = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.5))
    return nn.Sequential(hidden, nn.BatchNorm1d(5), nn.Linear(5, 6)).double().eval()


def export(module):
    batch = ({0: torch.export.Dim("rows")},)
    return torch.export.export(module, (torch.tensor(BACKGROUND),), dynamic_shapes=batch).module()


SCRIPTED = {
    "scripted": torch.jit.script,
    "frozen": lambda module: torch.jit.freeze(torch.jit.script(module)),
    "traced": lambda module: torch.jit.trace(module, torch.tensor(BACKGROUND)),
    "frozen trace": lambda module: torch.jit.freeze(torch.jit.trace(module, torch.tensor(BACKGROUND))),
    "optimized": lambda module: torch.jit.optimize_for_inference(torch.jit.script(module)),
}
PROGRAMS = SCRIPTED | {
    "exported": export,
    "symbolically traced": torch.fx.symbolic_trace,
    "compiled": lambda module: torch.compile(module, backend="eager"),
}


def program(name):
    with warnings.catch_warnings(action="ignore"):  # torch.jit is deprecated
        return PROGRAMS[name](model())


def explain(module, backend):
    with warnings.catch_warnings(action="ignore"):
        return Explainer(module, BACKGROUND, backend=backend)(ROWS)


@pytest.mark.parametrize("backend", ["deep", "gradient", "sampling", "exact"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_the_values_of_its_model(name, backend):
    want = explain(model(), backend)
    for module in (program(name), nn.Sequential(program(name), nn.Identity())):
        got = explain(module, backend)
        np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-10 * np.abs(want.values).max())
        np.testing.assert_allclose(got.scores, want.scores, rtol=1e-10)


def test_modules_around_a_program_are_put_into_eval_mode_and_get_their_own_mode_back():
    dropout = nn.Dropout(0.5)
    for name in ("frozen", "exported"):
        module = nn.Sequential(program(name), dropout.train())
        np.testing.assert_allclose(explain(module, "deep").values, explain(model(), "deep").values, rtol=0, atol=1e-12)
        assert dropout.training


@pytest.mark.parametrize("backend", ["shap_deep", "captum_deep"])
@pytest.mark.parametrize("name", SCRIPTED)
def test_backends_that_need_hooks_refuse_scripted_models(name, backend):
    if backend == "captum_deep":
        pytest.importorskip("captum")
    with pytest.raises(ModelError, match=r"scripted, frozen or traced by torch\.jit.* Use backend='deep'"):
        explain(nn.Sequential(program(name), nn.Identity()), backend)
