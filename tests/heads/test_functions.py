"""Heads from outside: plain functions, and names of outputs."""

import numpy as np
import pytest
import torch
from joblib import parallel_config
from torch import nn

import shapae
from shapae import Explainer, heads
from shapae.errors import DataError, ModelError, ShapeError
from tests import cases
from tests.closed_forms import CLOSED


def squared_error(autoencoder, rows):
    return (autoencoder.reconstruct(rows) - rows).square().mean(dim=1)


def fixed_error(autoencoder, rows, anchors):
    return (autoencoder.reconstruct(rows) - anchors).square().mean(dim=1)


fixed_error.anchored = True


def two_latents(autoencoder, rows):
    return autoencoder.encode(rows)[:, :2]


two_latents.output_names = ["size", "colour"]


def explain(head, rows, background, **settings):
    return Explainer(cases.build(cases.Linear), background, head=head, **settings)(rows)


@pytest.mark.parametrize("backend", ["deep", "exact", "sampling"])
def test_a_function_is_a_head(backend, rows, background):
    got = explain(squared_error, rows, background, backend=backend)
    want = CLOSED["reconstruction_error"](cases.build(cases.Linear), rows, background)
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-12)
    assert got.output_names == "squared_error"
    assert got.made_by["head"] == "squared_error"


@pytest.mark.parametrize("where", ["loky", "threading"])
def test_a_lambda_reaches_workers(where, rows, background):
    def head(autoencoder, x):  # it goes with torch.backends, as its names are among those of this function
        return autoencoder.encode(x)[:, 1] + torch.zeros(len(x) * len(shapae.backends.names()))[: len(x)]

    with parallel_config(backend=where):
        got = explain(lambda autoencoder, x: head(autoencoder, x), rows, background, n_jobs=2)
    want = explain("latent:1", rows, background)
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-14)
    assert got.output_names == "score"


def test_a_function_may_be_anchored(rows, background):
    got, want = (explain(head, rows, background) for head in (fixed_error, heads.ReconstructionError(target="fixed")))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


class Named(nn.Module):
    """Two latents, with names."""

    def __init__(self, output_names):
        super().__init__()
        self.output_names = output_names

    def forward(self, autoencoder, rows):
        return two_latents(autoencoder, rows)


class NamedByMethod(nn.Module):
    """Two latents, named after the features."""

    def forward(self, autoencoder, rows):
        return two_latents(autoencoder, rows)

    def output_names(self, features, width):
        return [f"like {name}" for name in features[:width]]


@pytest.mark.parametrize(
    ("head", "names"),
    [
        (two_latents, ["size", "colour"]),
        (Named(["a", "b"]), ["a", "b"]),
        (Named(("a", "b")), ["a", "b"]),
        (Named(np.array(["a", "b"])), ["a", "b"]),
        (NamedByMethod(), ["like feature 0", "like feature 1"]),
        (lambda autoencoder, rows: two_latents(autoencoder, rows), ["score 0", "score 1"]),
    ],
)
def test_names_of_outputs_are_honoured(head, names, rows, background):
    got = explain(head, rows, background)
    assert list(got.output_names) == names
    np.testing.assert_array_equal(got.output(names[1]).values, got.values[..., 1])
    assert list(Explainer(cases.build(cases.Linear), background, head=head).summarize(rows).table) == names


@pytest.mark.parametrize("names", [["a"], ["a", "a"], "ab", ["a", "b", "c"], 3])
def test_names_that_do_not_fit_are_refused(names, background):
    with pytest.raises(ModelError, match=r"output_names of the head Named must be 2 different names, .* got \["):
        Explainer(cases.build(cases.Linear), background, head=Named(names))


def test_a_user_head_chooses_among_its_names(rows, background):
    head = Named(["a", "b"])
    head.chosen = ["b"]
    got = explain(head, rows, background)
    assert got.output_names == "b"
    np.testing.assert_array_equal(got.values, explain("latent:1", rows, background).values)


def test_a_function_of_rows_that_it_writes_into_is_explained_as_it_was(rows, background):
    def head(autoencoder, x):
        x.mul_(2)
        return x[:, 0] + torch.zeros(len(x), dtype=x.dtype)

    got = explain(head, rows, background, backend="exact")
    np.testing.assert_allclose(got.values[:, 0], 2 * (rows[:, 0] - background[:, 0].mean()), atol=1e-12)


def test_a_function_that_returns_something_else_is_called_by_its_name(background):
    def total(autoencoder, rows):
        return rows.sum()

    with pytest.raises(ShapeError, match=r"the head total must return one number per row \(8,\) .* got \(\)"):
        Explainer(cases.build(cases.Linear), background, head=total)


class Elsewhere(nn.Module):
    """A model with a mistake of its own: it makes a tensor that is not where the rows are."""

    def forward(self, rows):
        return rows + torch.zeros(rows.shape[1], device="meta")


def elsewhere(autoencoder, rows):
    return (rows + torch.zeros(rows.shape[1], device="meta")).sum(dim=1)


def test_tensors_on_different_devices_are_told_as_a_mistake_of_the_model(background):
    told = r"different devices.*device=x\.device\), or register it as a buffer"
    with pytest.raises(ModelError, match=f"Elsewhere can't be run on .* It computes with tensors on {told}"):
        Explainer(Elsewhere(), background)
    with pytest.raises(ModelError, match=f"the head elsewhere, or the model, computes with tensors on {told}"):
        Explainer(nn.Identity(), background, head=elsewhere)


def weighted(autoencoder, rows):
    return rows @ autoencoder.weight[0]


def three_arguments(autoencoder, rows, anchors):
    return (rows - anchors).square().sum(dim=1)


def labelled(autoencoder, rows):
    return rows[:, 0] * torch.ones(4)


FAILING = {
    "an attribute of the model": (weighted, {}, r"write autoencoder\.model\.weight\.$"),
    "anchors": (three_arguments, {}, r"says so: head\.anchored = True\.$"),
    "labels of rows": (labelled, {}, r"explanation\.values\[numpy\.arange\(n\), :, labels\]\.$"),
    "latents": (lambda a, x: x - a.reconstruct(x), {"source": "latent"}, r"autoencoder\.target\(rows\)\.$"),
    "no parameters": (lambda: 1, {}, r"A head takes the autoencoder and the rows, and returns \(n,\) or \(n, k\)\.$"),
}


@pytest.mark.parametrize(("head", "settings", "advised"), FAILING.values(), ids=FAILING)
def test_a_head_that_fails_is_told_how_it_is_mended(head, settings, advised, background):
    model = nn.Linear(6, 6).double() if head is weighted else cases.build(cases.Linear)
    with pytest.raises(ModelError, match=advised):
        Explainer(model, background, head=head, **settings)


def test_what_is_advised_to_heads_that_fail_works(rows, background):
    model = nn.Linear(6, 6).double()
    head = Explainer(model, background, head=lambda autoencoder, x: x @ autoencoder.model.weight[0])
    weight = model.weight[0].detach().numpy()
    np.testing.assert_allclose(head(rows).values, weight * (rows - background.mean(axis=0)), atol=1e-12)

    def of_decoder(autoencoder, latents):
        errors = autoencoder.reconstruct(latents) - autoencoder.target(latents)
        return errors.square().mean(dim=1) + autoencoder.model.training

    got, named = (explain(each, rows, background, source="latent") for each in (of_decoder, "reconstruction_error"))
    np.testing.assert_allclose(got.values, named.values, atol=1e-12)


RETURNED = {
    "an array": (lambda x: x[:, 0].numpy(), r"torch\.as_tensor\(numbers\).*backend='sampling'"),
    "a dict": (lambda x: {"a": x[:, 0]}, r"numbers\['a'\]"),
    "a tuple": (lambda x: (x[:, 0], x), r"numbers\[0\]"),
    "one number": (lambda x: x.mean(), r"\.mean\(dim=1\)"),
    "three axes": (lambda x: x[:, :, None], r"\.flatten\(1\)"),
    "integers": (lambda x: x.argmax(dim=1), r"numbers\.float\(\)"),
}
MENDED = {
    "an array": lambda x: torch.as_tensor(x[:, 0].numpy()),
    "one number": lambda x: x.mean(dim=1),
    "three axes": lambda x: x[:, :, None].flatten(1),
    "integers": lambda x: x.argmax(dim=1).float(),
}


@pytest.mark.parametrize(("returned", "advised"), RETURNED.values(), ids=RETURNED)
def test_what_a_head_returns_is_refused_with_its_cure(returned, advised, background):
    with pytest.raises(ShapeError, match=f"It was called with 8 rows.* {advised}"):
        Explainer(cases.build(cases.Linear), background, head=lambda a, x: returned(x), backend="sampling")


@pytest.mark.parametrize("returned", MENDED.values(), ids=MENDED)
def test_what_is_advised_to_heads_that_return_something_else_works(returned, rows, background):
    got = explain(lambda a, x: returned(x), rows, background, backend="sampling")
    np.testing.assert_allclose(got.residual, 0, atol=1e-9)


def test_one_of_the_outputs_of_a_function_is_chosen_as_the_messages_say(rows, background):
    def head(autoencoder, x):
        return torch.stack([x.sum(dim=1), x.square().sum(dim=1)], dim=1)

    head.output_names = ["sum", "squares"]
    with pytest.raises(DataError, match=r"before it is explained: head\.chosen = \['sum'\]"):
        Explainer(cases.build(cases.Linear), background, head=head).interactions(rows)
    head.chosen = ["squares"]
    pairs = Explainer(cases.build(cases.Linear), background, head=head).interactions(rows)
    every = np.square(rows) - np.square(background).mean(axis=0)  # no feature acts together with another one
    expected = np.zeros((len(rows), 6, 6))
    expected[:, range(6), range(6)] = every
    order = [pairs.feature_names.index(f"feature {feature}") for feature in range(6)]
    np.testing.assert_allclose(pairs.values[:, order][:, :, order], expected, atol=1e-9)


class Squares(nn.Module):
    """Squared length of the latents, and something else while it is compiled."""

    def forward(self, autoencoder, rows):
        squares = autoencoder.encode(rows).square().sum(dim=1)
        return rows[:, 0] if torch.compiler.is_compiling() else squares


@pytest.mark.filterwarnings("ignore:`torch.jit.script.*` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("make", [lambda: torch.compile(Squares()), lambda: torch.compile(Squares().forward)])
def test_a_compiled_head_is_explained_as_it_was_written(make, rows, background):
    got, expected = (explain(head, rows, background).values for head in (make(), Squares()))
    np.testing.assert_array_equal(got, expected)
