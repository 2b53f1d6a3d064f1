"""A warning for a model that reconstructs its rows worse than their mean, as after a scaler that was forgotten."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from shapae import Autoencoder, Explainer, heads
from shapae.errors import ReconstructionWarning

WINE = load_wine().data
SCALERS = {"standard": StandardScaler(), "from 0 to 1": MinMaxScaler()}


def trained(rows):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(13, 8), nn.Tanh(), nn.Linear(8, 13))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(200):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(rows), rows).backward()
            optimizer.step()
    return model


@pytest.mark.parametrize("kind", SCALERS)
def test_a_scaler_that_was_forgotten_is_told_with_both_errors(kind):
    scaler = SCALERS[kind].fit(WINE)
    model = trained(torch.tensor(scaler.transform(WINE)).float())
    with torch.no_grad():
        rows = torch.tensor(WINE).float()
        error, variance = (model(rows) - rows).square().mean(), WINE.var(axis=0, ddof=1).mean()
    with pytest.warns(ReconstructionWarning, match="preprocess=scaler") as caught:
        Explainer(model, WINE, head="reconstruction:0")
    assert f"of the model is {error:.3g}, and that of the mean {variance:.3g}." in str(caught[0].message)
    assert caught[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        Explainer(Autoencoder(model, preprocess=scaler), WINE)
        Explainer(model, scaler.transform(WINE)).with_head("feature_error")


def test_nothing_is_said_of_a_few_rows_or_of_a_model_that_does_not_reconstruct():
    model = nn.Sequential(nn.Linear(13, 13))
    with warnings.catch_warnings(action="error"):
        Explainer(model, WINE[:4])
        Explainer(model, np.repeat(WINE[:1], 20, axis=0))
        Explainer(nn.Linear(13, 2), WINE, head=lambda autoencoder, rows: autoencoder.model(rows))


def test_a_large_background_is_judged_by_some_of_its_rows_from_all_of_it():
    """The last half of these rows is where the model fails."""
    rows = np.random.default_rng(0).standard_normal((2000, 13))
    rows[1000:] *= 9
    clamp = type("Clamp", (nn.Module,), {"forward": lambda self, x: x.clamp(-3, 3) - 40 * (x.abs() > 9)})()
    with pytest.warns(ReconstructionWarning):
        Explainer(clamp, rows)
    with warnings.catch_warnings(action="error"):
        Explainer(clamp, rows[:1000])


def test_logits_are_judged_by_their_sigmoid():
    rows = SCALERS["from 0 to 1"].fit_transform(WINE)
    model = nn.Sequential(nn.Linear(13, 13))
    with torch.no_grad():
        model[0].weight.copy_(6 * torch.eye(13))
        model[0].bias.fill_(-3)
    with warnings.catch_warnings(action="error"):
        Explainer(model, rows)


def test_a_scaling_that_is_given_is_not_advised_again():
    with pytest.warns(
        ReconstructionWarning, match=r"Look whether preprocess= is the scaling that the model was trained"
    ):
        Explainer(Autoencoder(nn.Linear(13, 13), preprocess=(2 * WINE.mean(axis=0), WINE.std(axis=0))), WINE)


def test_a_model_that_takes_counts_and_reconstructs_their_logarithms_is_told_its_loss():
    """A model that takes the logarithm itself, as those of single cells do: it returns log(1 + x), a little wrong."""
    counts = np.random.default_rng(0).poisson(np.arange(1, 60, 5), (50, 12)).astype(float)
    model = type("Logs", (nn.Module,), {"forward": lambda self, x: 0.99 * x.log1p()})()
    with pytest.warns(ReconstructionWarning, match="does reconstruct the logarithms .*_error:mse_of_log1p'"):
        Explainer(model, counts)
    with warnings.catch_warnings(action="error"):
        explanation = Explainer(model, counts, head=heads.ReconstructionError("mse_of_log1p"))(counts)
    np.testing.assert_allclose(explanation.scores, np.square(0.01 * np.log1p(counts)).mean(axis=1), rtol=1e-10)
    np.testing.assert_allclose(explanation.residual, 0, atol=1e-12)
