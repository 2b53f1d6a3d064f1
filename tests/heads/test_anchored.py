"""Anchored heads: their forward takes the explained row."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Autoencoder, Explainer, backends, deepshap, heads
from shapae.errors import DataError, ModelError
from shapae.tables.background import weighted
from tests import cases
from tests.closed_forms import affine, pairs

HEADS = {
    "fixed mse": lambda: heads.ReconstructionError(target="fixed"),
    "fixed mae": lambda: heads.ReconstructionError("mae", target="fixed"),
    "fixed l2": lambda: heads.ReconstructionError("l2", target="fixed"),
    "fixed cosine": lambda: heads.ReconstructionError("cosine", target="fixed"),
    "label-free": heads.LabelFree,
    "worst errors": lambda: heads.FeatureError(worst=2),
    "worst reconstructions": lambda: heads.Reconstruction(worst=2),
    "from others": lambda: heads.ErrorFromOthers(2),
}
EXACT = [name for name in backends.names() if backends.named(name).additive]


class FixedAnchor(nn.Module):
    """A head with a constant anchor."""

    def __init__(self, head, anchor):
        super().__init__()
        self.head, self.anchor = head, torch.tensor(anchor)

    def forward(self, autoencoder, rows):
        return self.head(autoencoder, rows, self.anchor.expand_as(rows))


@pytest.mark.parametrize("backend", ["deep", "exact"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("make", [cases.Question, cases.Nested])
def test_each_row_has_the_values_of_a_head_with_its_constant_anchor(head, make, backend, rows, background):
    model = cases.build(make)
    got = Explainer(model, background, head=HEADS[head](), backend=backend)(rows)
    for place, row in enumerate(rows):
        alone = Explainer(model, background, head=FixedAnchor(HEADS[head](), row), backend=backend)(rows[[place]])
        for name in ("values", "base_values", "scores", "standard_errors"):
            one, other = getattr(got, name), getattr(alone, name)
            np.testing.assert_allclose(one[[place]], other, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("backend", ["deep", "exact", "shap_deep"])
def test_a_fixed_target_has_the_values_of_the_closed_form(backend, rows, background):
    """phi_i = mean_b (x_i - b_i) [W' ((W x + c - x) + (W b + c - x)) / d]_i."""
    model = cases.build(cases.Linear)
    w, c = affine(model.encoder, model.decoder)
    delta, total = pairs(rows, background)
    want = (delta * ((total @ w.T + 2 * c - 2 * rows[:, None]) @ w / len(w))).mean(axis=1)
    got = Explainer(model, background, head=HEADS["fixed mse"](), backend=backend)(rows)
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("head", HEADS)
def test_the_score_of_a_row_has_the_row_as_anchor(head, model, rows, background):
    got = Explainer(model, background, head=HEADS[head]())(rows)
    x = torch.tensor(rows)
    with torch.no_grad():
        want = HEADS[head]()(Autoencoder(model), x, x)
    np.testing.assert_allclose(got.scores, want, atol=1e-12)


@pytest.mark.parametrize("head", ["fixed mse", "label-free", "worst errors"])
def test_a_summary_averages_the_values(head, model, rows, background):
    explainer = Explainer(model, background, head=HEADS[head]())
    values, summary = explainer(rows), explainer.summarize(rows)
    np.testing.assert_allclose(summary.mean, values.values.reshape(5, 6, -1).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(summary.residual, 0, atol=1e-12)


@pytest.mark.parametrize("n", [5, 20])
def test_with_a_tolerance_each_row_has_the_base_value_of_its_own_background(n, model):
    rows, many = cases.table(n, seed=1), cases.table(400, seed=5)
    got = Explainer(model, many, head=HEADS["fixed mse"](), tolerance=0.3)(rows)
    assert got.used.min() < len(many)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


def leaves_torch(autoencoder, rows, anchors):
    return torch.from_numpy((autoencoder(rows) - anchors).detach().numpy()).abs().sum(dim=1)


def decides_by_values(autoencoder, rows, anchors):
    signs = [1.0 if float(row[0]) < float(anchor[0]) else 2.0 for row, anchor in zip(rows, anchors, strict=True)]
    return autoencoder(rows).sum(dim=1) * torch.tensor(signs)


leaves_torch.anchored = decides_by_values.anchored = True
WITHOUT_A_TAPE = {"leaves torch": lambda: leaves_torch, "decides by values": lambda: decides_by_values}


@pytest.mark.parametrize("weights", [None, range(1, 8)])
@pytest.mark.parametrize(
    ("head", "backend"),
    [*product(HEADS, ["deep", "exact", "sampling"]), *product(WITHOUT_A_TAPE, ["exact", "sampling"])],
)
def test_base_values_are_mean_scores_of_the_background(head, backend, weights, model, background):
    head, rows = (HEADS | WITHOUT_A_TAPE)[head](), cases.table(9, seed=1)
    against = background if weights is None else weighted(background, np.array(weights))
    got = Explainer(model, against, head=head, backend=backend)(rows)
    b = torch.tensor(background)
    with torch.no_grad():
        scores = [head(Autoencoder(model), b, torch.tensor(row).expand_as(b)).reshape(7, -1) for row in rows]
    want = np.stack([np.average(each, axis=0, weights=weights) for each in scores])
    np.testing.assert_allclose(got.base_values.reshape(9, -1), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "head", [each for each in HEADS if each not in ("from others", "label-free")]
)  # these are refused for latents
def test_latents_have_base_values_with_the_anchors_of_their_rows(head, model, background):
    rows, head = cases.table(9, seed=1), HEADS[head]()
    explainer = Explainer(model, background, head=head, source="latent")
    got, alone = explainer(rows), [explainer(rows[[place]]) for place in range(9)]
    np.testing.assert_allclose(got.base_values, np.concatenate([each.base_values for each in alone]), atol=1e-12)
    np.testing.assert_allclose(got.values, np.concatenate([each.values for each in alone]), atol=1e-12)


def test_base_values_do_not_run_the_model_for_each_pair(model):
    many, against, scored = cases.table(100, seed=1), cases.table(100, seed=2), []
    explainer = Explainer(model, against, head=HEADS["fixed mse"]())
    model.decoder.register_forward_hook(lambda module, inputs, output: scored.append(len(output)))
    explainer(many)
    assert sum(scored) < 100 * 100 / 4


def test_the_label_free_importance_does_not_depend_on_rotations_of_the_latents(model, rows, background):
    rotation = torch.tensor(np.linalg.qr(cases.table(3, 3))[0])
    rotated = Autoencoder(model, encode=lambda model, rows: model.encoder(rows) @ rotation)
    got, want = (Explainer(each, background, head="label_free")(rows).values for each in (rotated, model))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [heads.FeatureError, heads.Reconstruction])
def test_the_worst_features_have_the_values_of_named_features(make, model, rows, background):
    got = Explainer(model, background, head=make(worst=2))(rows)
    with torch.no_grad():
        errors = (model(torch.tensor(rows)).numpy() - rows) ** 2
    for place, worst in enumerate(np.argsort(-errors, axis=1)[:, :2]):
        named = Explainer(model, background, head=make(worst.tolist()))(rows[[place]])
        np.testing.assert_allclose(got.values[[place]], named.values, rtol=0, atol=1e-12)
        np.testing.assert_allclose(got.scores[[place]], named.scores, rtol=0, atol=1e-12)
    assert got.output_names == ["worst 1", "worst 2"]


def test_an_error_from_others_is_the_error_of_a_feature_that_is_not_replaced(model, rows, background):
    """The background gets the row's own value of the feature, one feature after the other."""
    got = Explainer(model, background, head=heads.ErrorFromOthers(2))(rows)
    with torch.no_grad():
        errors = (model(torch.tensor(rows)).numpy() - rows) ** 2
    for place, worst in enumerate(np.argsort(-errors, axis=1)[:, :2]):
        for output, feature in enumerate(worst.tolist()):
            held = background.copy()
            held[:, feature] = rows[place, feature]
            want = Explainer(model, held, head=heads.FeatureError([feature]))(rows[[place]])
            np.testing.assert_allclose(got.values[place, :, output], want.values[0], rtol=0, atol=1e-12)
            np.testing.assert_allclose(got.base_values[place, output], want.base_values[0], rtol=0, atol=1e-12)
            assert got.values[place, feature, output] == 0


@pytest.mark.parametrize("weights", [None, range(1, 8)])
def test_outputs_that_are_explained_one_by_one_have_the_values_of_all_outputs_at_once(weights, model, background):
    x, b = torch.tensor(cases.table(9, seed=1)), torch.tensor(background)
    against = background if weights is None else weighted(background, np.array(weights))
    explainer = Explainer(model, against, head=heads.ErrorFromOthers(3))
    shares = None if weights is None else torch.tensor(weights).to(b)
    got, want = explainer(x), deepshap.DeepShap(explainer._score, b, b, weights=shares).moments(x, x)
    np.testing.assert_allclose(got.values, want.mean, rtol=0, atol=1e-13)
    if weights is None:
        np.testing.assert_allclose(got.standard_errors, want.standard_error, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"worst": 0}, "worst must be an integer, at least 1, or None, got 0"),
        ({"worst": 2, "features": ["a"]}, "worst=2 and features= can't be combined"),
    ],
)
def test_other_numbers_of_worst_features_are_refused(settings, message):
    with pytest.raises((DataError, ModelError), match=message):
        heads.FeatureError(**settings)


def test_an_anchored_function_is_explained_for_each_row_separately():
    """The tape is recorded once for all anchors, including sorting of the anchors, which has no rule."""
    runs = []

    def function(rows, anchors):
        runs.append(len(rows))
        order = anchors.sort(dim=1).values
        return torch.tanh(rows * order).sum(dim=1) * anchors[:, 0]

    x, b = torch.tensor(cases.table(20, 4, seed=1)), torch.tensor(cases.table(30, 4, seed=2))
    got = deepshap.attribute(function, x, b, anchors=x)
    assert len(runs) < 20
    for place, row in enumerate(x):
        alone = deepshap.attribute(lambda rows, row=row: function(rows, row.expand_as(rows)), x[[place]], b)
        torch.testing.assert_close(got[[place]], alone, rtol=0, atol=1e-12)


def test_values_do_not_depend_on_the_size_of_blocks_of_pairs(monkeypatch):
    def function(rows, anchors):
        return torch.exp((rows * anchors).mean(dim=1))

    x, b = torch.tensor(cases.table(7, 4, seed=1)), torch.tensor(cases.table(11, 4, seed=2))
    want = deepshap.attribute(function, x, b, anchors=x)
    monkeypatch.setattr("shapae.deepshap.backward.BLOCK_BYTES", 200)
    torch.testing.assert_close(deepshap.attribute(function, x, b, anchors=x), want, rtol=0, atol=1e-14)


class Doubled(heads.ErrorFromOthers):
    """A head of a user that changes the numbers of a head of shapae."""

    def forward(self, autoencoder, rows, anchors=None):
        return 2 * super().forward(autoencoder, rows, anchors)


def test_a_changed_head_is_not_explained_by_the_method_that_it_did_not_change(model, rows, background):
    got, want = (Explainer(model, background, head=head)(rows) for head in (Doubled(2), heads.ErrorFromOthers(2)))
    np.testing.assert_allclose(got.values, 2 * want.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got.scores, 2 * want.scores, rtol=1e-12)
