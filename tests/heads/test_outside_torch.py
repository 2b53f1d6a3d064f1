"""Heads and models that leave torch: numpy, lists, Python numbers."""

import numpy as np
import pytest
import torch

from shapae import Autoencoder, backends
from shapae.backends import Game
from shapae.errors import ModelError
from shapae.heads.functions import as_head
from shapae.heads.score import make_score
from tests import cases


def absolute(autoencoder, rows):
    """What all heads below compute."""
    return autoencoder(rows).abs().sum(dim=1)


def of_row(function):
    """A head from a function of one reconstructed row."""
    return lambda autoencoder, rows: torch.stack([
        torch.as_tensor(function(row), dtype=rows.dtype) for row in autoencoder(rows)
    ])


WITH_NUMPY = {
    "numpy": lambda autoencoder, rows: torch.as_tensor(np.abs(autoencoder(rows).numpy()).sum(axis=1)),
    "asarray": lambda autoencoder, rows: torch.as_tensor(np.abs(np.asarray(autoencoder(rows))).sum(axis=1)),
    "numpy of rows": lambda autoencoder, rows: absolute(autoencoder, torch.as_tensor(np.array(rows.numpy()))),
}
WITHOUT_GRADIENTS = {
    "detached": lambda autoencoder, rows: torch.as_tensor(np.abs(autoencoder(rows).detach().numpy()).sum(axis=1)),
    "in part": lambda autoencoder, rows: (
        torch.as_tensor(np.sign(autoencoder(rows).detach().numpy())) * autoencoder(rows)
    ).sum(dim=1),
    "lists": of_row(lambda row: sum(map(abs, row.tolist()))),
    "items": of_row(lambda row: sum(abs(number.item()) for number in row)),
    "floats": of_row(lambda row: float(row.detach().abs().sum())),
}


def game(head, background, model=None):
    background = torch.tensor(background)
    features = [f"feature {feature}" for feature in range(6)]
    autoencoder = model or Autoencoder(cases.build(cases.Question))
    return Game(make_score(autoencoder, as_head(head), features, background[:2]), background)


def values(backend, game, rows):
    return cases.attribution(backends.named(backend), game)(torch.tensor(rows), seeds=range(len(rows))).mean


@pytest.mark.parametrize("head", WITH_NUMPY | WITHOUT_GRADIENTS)
@pytest.mark.parametrize("backend", ["exact", "sampling", "shap_kernel"])
def test_backends_that_need_only_scores_take_them(head, backend, rows, background):
    got, want = (
        values(backend, game(each, background), rows[:2]) for each in ((WITH_NUMPY | WITHOUT_GRADIENTS)[head], absolute)
    )
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", WITH_NUMPY)
@pytest.mark.parametrize("backend", ["deep", "gradient", "shap_deep", "shap_gradient", "captum_deep"])
def test_numpy_is_refused_where_gradients_or_operators_are_needed(head, backend, rows, background):
    message = r"(the head score, or the model,|Score.head) leaves torch, .*backend='sampling', or backend='exact'"
    with pytest.raises(ModelError, match=message):
        values(backend, game(WITH_NUMPY[head], background), rows)


def test_a_model_that_leaves_torch_is_refused_too(rows, background):
    class ByNumpy(cases.Question):
        def forward(self, rows):
            return self.decoder(torch.as_tensor(np.maximum(self.encoder(rows).numpy(), 0)))

    for backend in ("deep", "gradient"):
        with pytest.raises(ModelError, match="(the head absolute, or the model,|Score.autoencoder.model) leaves torch"):
            values(backend, game(absolute, background, Autoencoder(cases.build(ByNumpy))), rows)


@pytest.mark.parametrize("head", WITHOUT_GRADIENTS)
def test_deep_sees_that_numbers_leave_torch(head, rows, background):
    """Rather than giving zeros."""
    message = "Score.head leaves torch" if head in ("detached", "in part", "lists") else "Score.head reads"
    with pytest.raises(ModelError, match=message):
        values("deep", game(WITHOUT_GRADIENTS[head], background), rows)


def test_constants_may_leave_torch(rows, background):
    """Also those that the function makes, which torch.func.functionalize does not give any memory."""

    def head(autoencoder, rows):
        weights = np.sqrt(torch.arange(6, dtype=rows.dtype).numpy()) + autoencoder.model.decoder[2].bias.tolist()
        return (autoencoder(rows) * torch.as_tensor(weights)).sum(dim=1)

    got, want = (values(backend, game(head, background), rows) for backend in ("deep", "exact"))
    np.testing.assert_allclose(got.sum(axis=1), want.sum(axis=1), rtol=0, atol=1e-12)
