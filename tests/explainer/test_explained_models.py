"""Models of many kinds in an Explainer: those that are explained, and those that are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shapae import Autoencoder, Explainer, backends
from shapae.errors import AdditivityWarning, ModelError, ShapeError, UnknownName
from tests import cases

NAMES = list("abcdef")
every_backend = pytest.mark.parametrize("backend", backends.names())


def named(table):
    return pd.DataFrame(table, columns=NAMES)


def polars_frame(table):
    return pytest.importorskip("polars").DataFrame(table, schema=NAMES)


class Functional(cases.Question):
    """As the autoencoder of the question, but its activations are no modules."""

    def forward(self, rows):
        hidden = self.encoder[2](F.relu(self.encoder[0](rows)))
        return self.decoder[2](F.relu(self.decoder[0](hidden)))


class Reusing(cases.Question):
    """As the autoencoder of the question, but with one ReLU for both of its halves."""

    def __init__(self):
        super().__init__()
        self.decoder[1] = self.encoder[1]


class Verbs(cases.Question):
    """Has no forward."""

    forward = nn.Module.forward

    def encode(self, rows):
        return self.encoder(rows)

    def decode(self, latents):
        return self.decoder(latents)


class Detached(cases.Question):
    """Its latents have no gradient."""

    def forward(self, rows):
        return self.decoder(self.encoder(rows).detach())


def hooked(module, inputs, output):
    return output.clone()


@every_backend
@pytest.mark.parametrize("make", [cases.Keeping, Verbs], ids=lambda make: make.__name__)
def test_models_of_all_kinds_have_the_values_of_the_plain_one(backend, make, model, rows, background):
    other = cases.build(make)
    if make is cases.Keeping:
        other.encoder.loss = other(torch.tensor(rows)).sum()
    other.encoder.register_forward_hook(hooked)
    want, got = (Explainer(each, background, backend=backend)(rows).values for each in (model, other))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_a_model_in_training_mode_is_explained_as_it_predicts(background, rows):
    model = cases.build(cases.Nested)
    want = Explainer(model, background)(rows).values
    np.testing.assert_array_equal(Explainer(model.train(), background)(rows).values, want)
    assert model.training


@every_backend
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_switched_off_outside(backend, mode, model, rows, background):
    want = Explainer(model, background, backend=backend)(rows).values
    with mode():
        got = Explainer(model, background, backend=backend)(rows).values
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("make", [Functional, Reusing])
def test_a_result_outside_the_promise_is_a_warning_with_size_rows_and_remedy(make, rows, background):
    model = cases.build(make)
    message = (
        r"the values of \d of 5 rows do not add up to their scores: the residual is up to [\d.e-]+, where the scores "
        r"spread over [\d.e-]+; first in row \d\. shap sees torch's own elementwise modules only.*"
        r"backend='deep'"
    )
    with pytest.warns(AdditivityWarning, match=message) as caught:
        got = Explainer(model, background, backend="shap_deep")(rows)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    assert f"up to {np.abs(got.residual).max():.3g}," in str(caught[0].message)
    for backend in ("deep", "exact", "gradient", "shap_gradient"):  # the remedies; a warning would be an error
        Explainer(model, background, backend=backend)(rows)


class Softmaxed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.Softmax(dim=1))

    def forward(self, rows):
        return self.layers(rows)


def test_a_model_that_mixes_only_many_rows_is_refused(rows):
    model = Function(lambda x: x - x.mean(dim=0) if len(x) > 8 else x)
    with pytest.raises(ModelError, match="mixes rows"):
        Explainer(model, cases.table(30))(rows)


def test_softmax_which_is_not_elementwise_is_not_taken_for_it(rows, background):
    """With shap's own rule the values add up and are wrong: as far from the exact ones as these are large."""
    with pytest.warns(AdditivityWarning, match=r"softmax"):
        Explainer(cases.build(Softmaxed), 9 * background, head="reconstruction", backend="shap_deep")(9 * rows)


@pytest.mark.parametrize("offset", [100, 1000])
def test_a_residual_is_compared_with_the_spread_of_the_scores_not_with_their_level(offset, rows, background):
    model = cases.build(Functional)
    above = Autoencoder(model, reconstruct=lambda m, x: 1e-7 * m(x) + offset)
    with pytest.warns(AdditivityWarning, match=r"do not add up"):
        Explainer(above, background, head="reconstruction", backend="shap_deep")(rows)


def test_a_path_without_gradients_is_seen_in_the_residual(rows, background):
    with pytest.warns(AdditivityWarning, match=r"of 5 rows do not add up"):
        Explainer(cases.build(Detached), background, backend="shap_deep")(rows)


class Constant(nn.Module):
    def forward(self, rows):
        return torch.ones_like(rows)


@every_backend
def test_a_score_that_never_changes_has_the_value_zero(backend, rows, background):
    got = Explainer(Constant(), background, head="reconstruction", backend=backend)(rows)
    np.testing.assert_array_equal(got.values, 0)
    np.testing.assert_array_equal(got.residual, 0)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, rows):
        return self.function(rows)


BAD_MODELS = {
    "NaN": (lambda x: x * torch.nan, ModelError, r"NaN or infinite scores for 5 of 5 .*rows.*first for row 0"),
    "NaN in one row": (lambda x: (x - X_BAD).log().nan_to_num(0, 1, 1) / (x - X_BAD), ModelError, "for 1 of 5"),
    "mixing": (lambda x: x - x.mean(dim=0), ModelError, "mixes rows: a row alone has another score than in a batch"),
    "random": (lambda x: x + torch.rand_like(x), ModelError, "random in eval mode"),
    "tuple": (lambda x: (x[:, 1:], 0), ShapeError, r"forward gives tuple with 0 of shape .*the shape \(n, 6\)"),
    "narrow": (lambda x: x[:, :3], ShapeError, r"forward gives shape \(8, 3\)\. Expected is the shape \(n, 6\)"),
}
X_BAD = torch.tensor(cases.table(5, seed=1))[3]


@every_backend
@pytest.mark.parametrize("kind", BAD_MODELS)
def test_models_that_can_not_be_explained_are_refused(backend, kind, rows, background):
    function, error, message = BAD_MODELS[kind]
    before = cases.world()
    with pytest.raises(error, match=message):
        Explainer(Function(function), background, backend=backend)(rows)
    assert cases.world() == before


def test_a_nan_in_the_scores_of_the_background_is_told_from_one_in_the_rows(rows, background):
    model = Function(lambda x: x / (x - torch.tensor(background[5])))
    with pytest.raises(ModelError, match="NaN or infinite scores for 1 of 7 background rows, first for row 5"):
        Explainer(model, background)(rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "latant"}, "no head is called 'latant'; there are: latent"),
        ({"head": "latent:3"}, "no output of Latent is called '3'; there are: latent 0, latent 1, latent 2"),
        ({"backend": "shap_dep"}, "no backend is called 'shap_dep'; there are: shap_deep, "),
    ],
)
def test_unknown_names_are_refused(settings, message, model, background):
    with pytest.raises(UnknownName, match=message):
        Explainer(model, background, **settings)


def test_a_model_without_latents_is_refused_where_they_are_wanted(background):
    with pytest.raises(ModelError, match="latents of Identity can't be found: no encoder has a usual name"):
        Explainer(nn.Identity(), background, head="latent")
