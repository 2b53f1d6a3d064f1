"""Libraries with hooks, and scores that run the same modules on the rows and on constants."""

import copy
import pickle

import numpy as np
import pytest
import shap
import torch
from captum.attr import DeepLiftShap
from torch import nn

import shapae
from shapae import Autoencoder, Explainer, backends, heads
from shapae.errors import ModelError
from shapae.utils.hooks import hide_constants
from tests import cases


class Distance(nn.Module):
    """The squared distance from the anchor, behind a network of the head's own that runs on both."""

    anchored = True

    def __init__(self, first):
        super().__init__()
        self.net = cases.build(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), seed=8)
        self.square, self.first = heads.Elementwise(torch.square), first

    def forward(self, autoencoder, rows, anchors):
        inputs = {"rows": rows, "anchors": anchors}
        order = list(inputs) if self.first == "rows" else list(inputs)[::-1]
        codes = {name: self.net(autoencoder.encode(inputs[name])) for name in order}
        return self.square(codes["rows"] - codes["anchors"]).sum(dim=1)


def by_parts(autoencoder, rows, anchors):
    """A function that runs parts of the model, some of them three times."""
    hidden = [autoencoder.encode(each) for each in (anchors, rows, anchors)]
    constant = autoencoder.decode(hidden[0] + hidden[2]).sum(dim=1)
    return autoencoder.decode(hidden[1]).sum(dim=1) * constant


by_parts.anchored = True


class Prototype(nn.Module):
    """The product of the latents with those of a constant row: no anchors."""

    def __init__(self):
        super().__init__()
        self.register_buffer("row", torch.tensor(cases.table(1, seed=7)))

    def forward(self, autoencoder, rows):
        return (autoencoder.encode(rows) * autoencoder.encode(self.row)).sum(dim=1)


HEADS = {
    "label-free": heads.LabelFree,
    "fixed mse": lambda: heads.ReconstructionError(target="fixed"),
    "fixed huber": lambda: heads.ReconstructionError("huber", target="fixed"),
    "worst errors": lambda: heads.FeatureError(worst=2),
    "worst absolute errors": lambda: heads.FeatureError(loss="mae", worst=3),
    "worst reconstructions": lambda: heads.Reconstruction(worst=2),
    "from others": lambda: heads.ErrorFromOthers(2),
    "rows first": lambda: Distance("rows"),
    "anchors first": lambda: Distance("anchors"),
    "by parts": lambda: by_parts,
    "prototype": Prototype,
}
WITH_HOOKS = pytest.mark.parametrize("backend", ["shap_deep", "captum_deep"])


def in_place():
    """A model whose activations write into their inputs."""
    model = cases.Question()
    for half in (model.encoder, model.decoder):
        half[1] = nn.ReLU(inplace=True)
    return model


def preprocessed():
    """A model with a preprocessing that is not linear."""
    return Autoencoder(cases.Nested(), preprocess=nn.Sequential(nn.Tanh(), nn.Linear(6, 6)))


@WITH_HOOKS
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("make", [cases.Nested, in_place])
def test_modules_that_also_run_on_constants_have_the_values_of_deep(make, head, backend, rows, background):
    model, rows = cases.build(make), rows[:3]
    got, want = (Explainer(model, background, head=HEADS[head](), backend=name)(rows) for name in (backend, "deep"))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.scores, want.scores, rtol=0, atol=1e-12)


@WITH_HOOKS
@pytest.mark.parametrize("head", ["fixed mse", "worst errors", "worst reconstructions"])
@pytest.mark.parametrize("make", [in_place, preprocessed])
def test_so_they_have_where_the_rows_are_latents(make, head, backend, rows, background):
    settings = {"head": HEADS[head](), "source": "latent"}
    got, want = (Explainer(cases.build(make), background, backend=name, **settings)(rows) for name in (backend, "deep"))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@WITH_HOOKS
def test_so_they_have_with_weights_and_groups(backend, rows, background):
    weighted = shapae.background.kmeans(cases.table(30, seed=2), 5)
    settings = {"head": "label_free", "groups": {"two": ["feature 1", "feature 4"]}}
    got, want = (
        Explainer(cases.build(cases.Nested), weighted, backend=name, **settings)(rows) for name in (backend, "deep")
    )
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", ["label-free", "worst errors", "rows first"])
def test_libraries_explain_a_score_that_is_bound_to_its_row(head, rows, background):
    model, b = cases.build(cases.Nested).train(), torch.tensor(background)
    before, world = cases.snapshot(model), cases.world()
    want = Explainer(model, background, head=HEADS[head]())(rows[:2]).values.reshape(2, 6, -1)
    for score in (shapae.score(model, b, HEADS[head]()), Explainer(model, b, head=HEADS[head]()).score):
        for row, values in zip(torch.tensor(rows[:2]), want, strict=True):
            bound = score.anchored_at(row)
            with backends.shap_rules():
                got = shap.DeepExplainer(bound, b).shap_values(row[None], check_additivity=False)
            np.testing.assert_allclose(got[0], values, rtol=0, atol=1e-12)
            with backends.captum_rules(), pytest.warns(UserWarning, match="Setting forward, backward hooks"):
                got = DeepLiftShap(bound).attribute(row[None], b, target=0)
            np.testing.assert_allclose(got[0].detach(), values[:, 0], rtol=0, atol=1e-12)
    assert (cases.snapshot(model), cases.world()) == (before, world)


@WITH_HOOKS
def test_hooks_of_the_model_itself_see_every_call(backend, rows, background):
    """Their results count, also on constants."""
    model = cases.build(cases.Question)
    model.encoder[0].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    model.encoder.register_forward_hook(lambda module, inputs, output: output + 1)
    got, want = (Explainer(model, background, head="label_free", backend=name)(rows) for name in (backend, "deep"))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


def test_hooks_without_gradients_see_every_call(background):
    """For example those of a library that records activations."""
    score = shapae.score(cases.build(cases.Question), background, "label_free")
    x = torch.tensor(background[:2])
    score.needs_anchors = False
    for each in (score, copy.deepcopy(score), pickle.loads(pickle.dumps(score))):
        bound = each.anchored_at(x[0])
        calls = []
        handle = each.autoencoder.model.encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        bound(x)
        assert len(calls) == 2
        bound(x.clone().requires_grad_())
        assert len(calls) == 3
        with torch.no_grad():
            bound(x.clone().requires_grad_())
        assert len(calls) == 5
        handle.remove()
        bound(x)
        assert len(calls) == 5


def test_a_pass_that_fails_has_ended():
    class Failing(nn.Linear):
        def forward(self, rows):
            if len(rows) == 1:
                raise KeyError
            return super().forward(rows)

    root, calls = nn.Sequential(Failing(3, 3)), []
    hide_constants(root)
    root[0].register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(KeyError):
        root(torch.ones(1, 3, requires_grad=True))
    root[0](torch.ones(2, 3))
    assert len(calls) == 1


def test_errors_from_others_are_not_explained_by_latents(model, background):
    with pytest.raises(ModelError, match=r"no feature can be kept .* Use head=shapae.heads.FeatureError\(worst=5\)"):
        Explainer(model, background, head=heads.ErrorFromOthers(2), source="latent")


def test_a_module_that_captum_sees_twice_is_refused(rows, background):
    """Of the target, which moves with the rows, and of the model."""
    with pytest.raises(ModelError, match="captum takes each module once, .*Tanh.*Use backend='deep'"):
        Explainer(cases.build(preprocessed), background, backend="captum_deep")(rows)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_scripted_modules_have_no_hooks(rows, background):
    model = torch.jit.script(cases.build(cases.Question))
    with pytest.raises(ModelError, match="scripted, frozen or traced by torch.jit, whose modules take no hooks"):
        Explainer(model, background, backend="shap_deep")(rows)
