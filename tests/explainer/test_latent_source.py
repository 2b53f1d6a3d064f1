"""Latents as the source: which of them matter to the error, or to an output, through the decoder alone."""

import numpy as np
import pytest
import torch

from shapae import Explainer, heads
from shapae.errors import DataError, ModelError
from tests import cases
from tests.closed_forms import affine, linear, pairs


def encoded(model, rows):
    with torch.no_grad():
        return model.encoder(torch.tensor(rows)).numpy()


@pytest.mark.parametrize("backend", ["deep", "exact", "shap_deep", "captum_deep"])
def test_the_error_of_a_linear_decoder_has_the_values_of_the_closed_form(backend, rows, background):
    """phi_i = mean_b (z_i - b_i) [W' ((W z + c - x) + (W b + c - x)) / d]_i, with latents z and b of rows x."""
    model = cases.build(cases.Linear)
    w, c = affine(model.decoder)
    delta, total = pairs(encoded(model, rows), encoded(model, background))
    want = (delta * ((total @ w.T + 2 * c - 2 * rows[:, None]) @ w / len(w))).mean(axis=1)
    got = Explainer(model, background, backend=backend, source="latent")(rows)
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got.data, encoded(model, rows), rtol=0, atol=1e-12)
    assert got.feature_names == ["latent 0", "latent 1", "latent 2"]
    assert got.made_by["source"] == "latent"


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_outputs_of_a_linear_decoder_have_the_values_of_the_closed_form(backend, rows, background):
    model = cases.build(cases.Linear)
    want = linear(affine(model.decoder)[0], encoded(model, rows), encoded(model, background))
    got = Explainer(model, background, head="reconstruction", backend=backend, source="latent")(rows)
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-10)
    assert got.output_names == [f"feature {feature}" for feature in range(6)]


@pytest.mark.parametrize("head", ["reconstruction_error", "feature_error", heads.FeatureError(worst=2)])
@pytest.mark.parametrize("make", [cases.Question, cases.Nested])
def test_deep_adds_up_to_the_scores_that_rows_have_from_their_inputs(make, head, rows, background):
    model = cases.build(make)
    got = Explainer(model, background, head=head, source="latent")(rows)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    np.testing.assert_allclose(got.scores, Explainer(model, background, head=head).scores(rows), atol=1e-12)


def test_a_row_alone_and_averages_over_rows_are_those_of_all(model, rows, background):
    explainer = Explainer(model, background, source="latent", n_jobs=2)
    got = explainer(rows)
    np.testing.assert_allclose(explainer(rows[2:3]).values, got.values[2:3], atol=1e-12)
    np.testing.assert_allclose(explainer.summarize(rows).mean[:, 0], got.values.mean(axis=0), atol=1e-12)


def test_groups_are_of_latents(model, rows, background):
    groups = {"two": ["latent 0", "latent 2"]}
    whole = Explainer(model, background, backend="deep", source="latent")(rows)
    got = Explainer(model, background, backend="deep", source="latent", groups=groups)(rows)
    assert got.feature_names == ["two", "latent 1"]
    np.testing.assert_allclose(got.values[:, 0], whole.values[:, [0, 2]].sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("head", ["latent", "label_free", "kl"])
def test_latents_are_not_explained_by_themselves(head, model, background):
    with pytest.raises(ModelError, match="source='latent' explains the decoder alone, .* Use head='reconstruct"):
        Explainer(model, background, head=head, source="latent")


def test_an_unknown_source_is_refused(model, background):
    with pytest.raises(DataError, match="source must be 'input' or 'latent', got 'output'"):
        Explainer(model, background, source="output")


# Another head, scores alone, draws


@pytest.mark.parametrize("source", ["input", "latent"])
def test_an_explainer_with_another_head_is_one_that_was_made_with_it(source, model, rows, background):
    want = Explainer(model, background, head="feature_error", source=source)(rows)
    got = Explainer(model, background, source=source).with_head("feature_error")(rows)
    np.testing.assert_array_equal(got.values, want.values)
    assert got.made_by["head"] == want.made_by["head"] == "feature_error"


@pytest.mark.parametrize("head", ["reconstruction_error", "latent", heads.ReconstructionError(target="fixed")])
def test_scores_are_those_of_the_explanation(head, model, rows, background):
    explainer = Explainer(model, background, head=head)
    np.testing.assert_array_equal(explainer.scores(rows), explainer(rows).scores)


def test_draws_are_averaged_and_tell_their_standard_errors(rows, background):
    vae = cases.build(cases.Variational)
    got = Explainer(vae, background, head=heads.ELBO(draws=8))(rows)
    noise = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    each = np.stack([Explainer(vae, background, head=OneDraw(one))(rows).values for one in noise])
    np.testing.assert_allclose(got.values, each.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.standard_errors, each.std(axis=0, ddof=1) / 8**0.5, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    assert got.output_names == "ELBO"
    summary = Explainer(vae, background, head=heads.ELBO(draws=8)).summarize(rows)
    np.testing.assert_allclose(summary.mean[:, 0], got.values.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("backend", ["deep", "sampling"])
def test_the_record_says_that_errors_are_those_of_the_draws(backend, rows, background):
    got = Explainer(cases.build(cases.Variational), background, head=heads.ELBO(draws=4), backend=backend)(rows)
    assert got.made_by["standard errors"] == "over the draws of the head"
    assert "standard errors over the draws of the head up to" in repr(got)


class OneDraw(torch.nn.Module):
    """The ELBO with one noise."""

    def __init__(self, noise):
        super().__init__()
        self.noise, self.elbo = noise, heads.ELBO()

    def forward(self, autoencoder, rows):
        mean, log_variance = autoencoder.latent_distribution(rows)
        reconstruction = autoencoder.decode(mean + torch.exp(log_variance / 2) * self.noise)
        return -self.elbo.loss(reconstruction, rows).sum(dim=1) - self.elbo.divergence(mean, log_variance).sum(dim=1)


def test_a_tolerance_and_draws_are_one_too_many(background):
    with pytest.raises(DataError, match="has samples of its own, which a tolerance does not see"):
        Explainer(cases.build(cases.Variational), background, head=heads.ELBO(draws=8), tolerance=0.1)
    explainer = Explainer(cases.build(cases.Variational), background, head="kl", tolerance=0.1)
    with pytest.raises(DataError, match="has samples of its own, which a tolerance does not see"):
        explainer.with_head(heads.ELBO(draws=8))
