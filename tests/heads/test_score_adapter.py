"""The score as a module and as a function, in the hands of other libraries."""

import numpy as np
import pandas as pd
import pytest
import shap
import shapiq
import torch
from captum.attr import DeepLiftShap

import shapae
from shapae import Autoencoder, Explainer, backends, heads
from shapae.errors import DataError, ModelError, UnknownName
from tests import cases
from tests.closed_forms import CLOSED


@pytest.fixture
def tables(rows, background):
    return torch.tensor(rows), torch.tensor(background)


def adapters(model, background, **settings):
    """Both ways to the score of a model."""
    return [Explainer(model, background, **settings).score, shapae.score(model, background, **settings)]


@pytest.mark.parametrize("head", ["reconstruction_error", "latent", "latent:1"])
@pytest.mark.parametrize("make", [cases.Question, cases.Nested])
def test_shap_deep_explains_it_with_the_rules_that_it_lacks(head, make, tables):
    model, (x, b) = cases.build(make).train(), tables
    before, world = cases.snapshot(model), cases.world()
    for score in adapters(model, b, head=head):
        with backends.shap_rules():
            got = shap.DeepExplainer(score, b).shap_values(x, check_additivity=False)
        want = Explainer(model, b, head=head)(x).values.reshape(got.shape)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    assert (cases.snapshot(model), cases.world()) == (before, world)


def test_without_the_rules_shap_has_other_values(tables):
    """So that the test above can't pass because the rules are not needed."""
    x, b = tables
    score = shapae.score(cases.build(cases.Nested), b)
    with pytest.warns(UserWarning, match="unrecognized nn.Module"):
        got = shap.DeepExplainer(score, b).shap_values(x, check_additivity=False)
    assert np.abs(got[..., 0] - Explainer(cases.build(cases.Nested), b)(x).values).max() > 1e-3


def test_captum_explains_it_with_the_rules_that_it_lacks(tables):
    model, (x, b) = cases.build(cases.Nested), tables
    before = cases.snapshot(model), cases.world()
    with backends.captum_rules(), pytest.warns(UserWarning, match="Setting forward, backward hooks"):  # captum's own
        got = DeepLiftShap(shapae.score(model, b)).attribute(x, b, target=0)
    np.testing.assert_allclose(got.detach(), Explainer(model, b)(x).values, rtol=0, atol=1e-12)
    assert (cases.snapshot(model), cases.world()) == before


def test_shap_gradient_takes_it(tables):
    x, b = (table.float() for table in tables)
    model = cases.build(cases.Linear, dtype=torch.float32)
    got = shap.GradientExplainer(shapae.score(model, b), b).shap_values(x, nsamples=2000, rseed=0)[..., 0]
    want = CLOSED["reconstruction_error"](model, x.numpy(), b.numpy())
    np.testing.assert_allclose(got, want, rtol=0, atol=0.1 * np.abs(want).max())


def test_a_kernel_explainer_takes_its_function(tables):
    model, (x, b) = cases.build(cases.Question), tables
    got = shap.KernelExplainer(shapae.score(model, b).predict, b.numpy()).shap_values(x.numpy(), silent=True)
    np.testing.assert_allclose(got, Explainer(model, b, backend="exact")(x).values, rtol=0, atol=1e-10)


def test_shapiq_takes_its_function(tables):
    model, (x, b) = cases.build(cases.Question), tables
    predict = shapae.score(model, b).predict
    explainer = shapiq.Explainer(predict, b.numpy(), index="SV", max_order=1, imputer="marginal", sample_size=len(b))
    got = explainer.explain(x[0].numpy(), budget=2**6).get_n_order_values(1)
    np.testing.assert_allclose(got, Explainer(model, b, backend="exact")(x[:1]).values[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize(("head", "shape"), [("latent_norm", (5,)), ("latent", (5, 3))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [np.float32, np.float64, np.int64, "frame", "list"])
def test_predict_scores_whatever_is_an_array(head, shape, dtype, given, rows, background):
    model = cases.build(cases.Question, dtype=dtype).train()
    before = cases.snapshot(model)
    table = {"frame": pd.DataFrame, "list": np.ndarray.tolist}.get(given, lambda x: x.astype(given))(10 * rows)
    got = shapae.score(model, background, head).predict(table)
    assert (got.shape, got.dtype) == (shape, np.dtype(str(dtype).removeprefix("torch.")))
    np.testing.assert_array_equal(got, Explainer(model, background, head=head).scores(np.asarray(table)))
    assert cases.snapshot(model) == before


def test_it_follows_the_weights_of_the_model(rows, background):
    """An optimiser's step and new weights from a file are seen: parameters are shared, not copied."""
    model = cases.build(cases.Question)
    score = Explainer(model, background).score
    with torch.no_grad():
        model.encoder[0].weight.mul_(2)
    model.decoder.load_state_dict(cases.build(cases.Question, seed=5).decoder.state_dict())
    np.testing.assert_array_equal(score.predict(rows), Explainer(model, background).scores(rows))


def test_a_row_is_enough_and_names_choose_outputs(background):
    frame = pd.DataFrame(background[:1], columns=list("abcdef"))
    score = shapae.score(cases.build(cases.Question), frame, "reconstruction:c")
    with torch.no_grad():
        want = cases.build(cases.Question)(torch.tensor(background))[:, [2]]
        torch.testing.assert_close(score(torch.tensor(background)), want)
    assert score.outputs() == ["c"]
    named = shapae.score(cases.build(cases.Question), background[:1], "reconstruction:c", feature_names=list("abcdef"))
    assert named.outputs() == ["c"]


@pytest.mark.parametrize("head", [heads.ReconstructionError(target="fixed"), "label_free"])
def test_an_anchored_score_is_bound_to_its_row_first(head, tables):
    """Else a mixture of two rows would be compared with itself: values that add up, of another score."""
    model, (x, b) = cases.build(cases.Linear), tables
    want = Explainer(model, b, head=head)(x).values
    for score in adapters(model, b, head=head):
        with pytest.raises(ModelError, match=r"its anchor, and got none. Explain one row .* score.anchored_at\(row\)"):
            score(x)
        for row, values in zip(x, want, strict=True):
            bound = score.anchored_at(row.numpy())
            got = shap.KernelExplainer(bound.predict, b.numpy()).shap_values(row.numpy(), silent=True)
            np.testing.assert_allclose(got, values, rtol=0, atol=1e-10)


@pytest.mark.parametrize("change", ["double", "half", "freeze", "backward", "hook", "train", "attribute"])
def test_changes_of_the_score_are_not_changes_of_the_model(change, tables):
    model, (x, b) = cases.build(cases.Nested).train(), tables
    before = cases.snapshot(model)
    for score in adapters(model, b):
        match change:
            case "double" | "half":
                getattr(score, change)()
            case "freeze":
                score.requires_grad_(False)
            case "backward":
                torch.autograd.backward(score(x).sum())
            case "hook":
                score.autoencoder.model.encoder.register_forward_hook(lambda *_: None)
            case "train":
                score.train()
            case "attribute":
                score.autoencoder.model.decoder.x = 1
    assert cases.snapshot(model) == before


@pytest.mark.parametrize("rules", [backends.shap_rules, backends.captum_rules])
def test_lent_rules_come_back_after_nested_failing_and_overlapping_use(rules):
    before = cases.world()
    with pytest.raises(KeyError), rules(), rules():
        raise KeyError
    assert cases.world() == before
    first, second = rules(), rules()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert cases.world() != before  # the second still uses them
    second.__exit__(None, None, None)
    assert cases.world() == before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros(6), "the rows must have two axes"),
        (np.zeros((2, 5)), "got 5 columns in the rows, expected 6"),
        (np.full((2, 6), np.nan), "must be finite"),
        (np.full((2, 6), 1e300), "too large for the model's torch.float32"),
        (np.full((2, 6), "a"), "must be a table of real numbers"),
    ],
)
def test_predict_says_what_is_wrong_with_a_table(table, message, background):
    score = shapae.score(cases.build(cases.Question, dtype=torch.float32), background)
    with pytest.raises(DataError, match=message):
        score.predict(table)


def test_predict_takes_views_and_tensors_with_gradients(rows, background):
    score = shapae.score(cases.build(cases.Question), background)
    want = score.predict(rows)
    np.testing.assert_array_equal(score.predict(rows[::-1]), want[::-1])
    np.testing.assert_array_equal(score.predict(torch.tensor(rows, requires_grad=True)), want)


def test_predict_scores_many_rows_in_batches(background, monkeypatch):
    model, rows = cases.build(cases.Question), cases.table(400, seed=9)
    want = Explainer(model, background, head="latent").scores(rows)
    monkeypatch.setattr("shapae.heads.score.CHUNK_BYTES", 4000)
    np.testing.assert_allclose(shapae.score(model, background, "latent").predict(rows), want, rtol=0, atol=1e-14)


def test_it_is_in_eval_mode_whatever_the_model_is(tables):
    """BatchNorm and Dropout of the model are in training mode, where its scores would be others."""
    model, (x, b) = cases.build(cases.Nested).train(), tables
    want = Explainer(model, b).scores(x)
    for score in adapters(model, b):
        assert not any(module.training for module in score.modules())
        torch.testing.assert_close(score(x)[:, 0].detach().numpy(), want)
    assert model.training


def test_what_can_not_be_scored_is_refused(background):
    model = cases.build(cases.Question)
    with pytest.raises(ModelError, match=r"called with a tensor, got ndarray. Use score.predict for arrays"):
        shapae.score(model, background)(background)
    with pytest.raises(ModelError, match=r"an anchor is one row, of shape \(6,\), got \(7, 6\). Bind each row by"):
        shapae.score(model, background, "label_free").anchored_at(background)
    with pytest.raises(DataError, match="the rows must have two axes"):
        shapae.score(model, background[0])
    with pytest.raises(UnknownName, match="no head is called 'latant'"):
        shapae.score(model, background, "latant")
    with pytest.raises(ModelError, match="can't be found"):
        shapae.score(Autoencoder(torch.nn.Identity()), background, "latent")
