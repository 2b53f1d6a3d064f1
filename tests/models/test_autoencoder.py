"""Parts of users' models: how they are given, and how they are found."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from shapae import Autoencoder, Explainer
from shapae.errors import ModelError, ShapeError
from shapae.models.adapters import as_autoencoder
from tests import cases
from tests.models.vae import Encoding, Vae

X = torch.tensor(cases.table(4))


class Methods(nn.Module):
    """A model with ``encode`` and ``decode``, but without forward."""

    def __init__(self):
        super().__init__()
        self.inner = cases.Question()

    def encode(self, rows):
        return self.inner.encoder(rows)

    def decode(self, latents):
        return self.inner.decoder(latents)


class Modules(nn.Module):
    """A model with ``encoder`` and ``decoder``, but without forward."""

    def __init__(self):
        super().__init__()
        inner = cases.Question()
        self.encoder, self.decoder = inner.encoder, inner.decoder


class Returning(nn.Module):
    """A model that returns ``function(reconstruction)``, and encodes to ``function(latents)``."""

    def __init__(self, function):
        super().__init__()
        self.inner, self.function = cases.Question(), function

    def forward(self, rows):
        return self.function(self.inner(rows))

    def encode(self, rows):
        return self.function(self.inner.encoder(rows))


@pytest.mark.parametrize("make", [cases.Question, Methods, Modules], ids=lambda make: make.__name__)
@pytest.mark.parametrize("through", [lambda a: a, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_methods_and_modules_are_found_also_in_copies(make, through):
    autoencoder, question = through(Autoencoder(cases.build(make))), cases.build(cases.Question)
    assert torch.equal(autoencoder.reconstruct(X), question(X))
    assert torch.equal(autoencoder(X), question(X))
    assert torch.equal(autoencoder.encode(X), question.encoder(X))


def test_a_copy_uses_the_copied_model():
    autoencoder = Autoencoder(cases.build(Methods))
    twin = copy.deepcopy(autoencoder)
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.zero_()
    assert twin.encode(X).any()
    assert not autoencoder.encode(X).any()


def test_given_parts_take_precedence():
    model = cases.build(Returning, lambda rows: (rows, rows))
    autoencoder = Autoencoder(model, reconstruct=lambda m, x: m(x)[0], encode=lambda m, x: m.encode(x)[1])
    assert torch.equal(autoencoder.reconstruct(X), model.inner(X))
    assert torch.equal(autoencoder.encode(X), model.inner.encoder(X))
    assert as_autoencoder(autoencoder) is autoencoder
    assert as_autoencoder(model).model is model


def test_hooks_of_the_model_run():
    model, runs = cases.build(cases.Question), []
    model.register_forward_hook(lambda *_: runs.append(1))
    autoencoder = Autoencoder(model)
    autoencoder.understand(X)
    runs.clear()
    autoencoder.reconstruct(X)
    assert len(runs) == 1


def test_a_traced_model_is_explained_like_the_model(model, rows, background):
    with warnings.catch_warnings(action="ignore"):  # deprecated by torch
        traced = torch.jit.trace(model, X)
    want = Explainer(model, background)(rows).values
    torch.testing.assert_close(Explainer(traced, background)(rows).values, want)


def test_methods_that_take_rows_are_used_if_forward_takes_something_else():
    class Dicts(Vae):
        def forward(self, batch):
            return super().forward(batch["data"])

        def reconstruct(self, rows):
            return self({"data": rows})[0]

    autoencoder = Autoencoder(cases.build(Dicts))
    assert torch.equal(autoencoder.reconstruct(X), autoencoder.model.parts(X)[0])
    assert torch.equal(autoencoder.encode(X), autoencoder.model.parts(X)[1])
    torch.testing.assert_close(autoencoder.latent_distribution(X), autoencoder.model.parts(X)[1:])


PARTS = {
    "functions": {"encode": lambda m, x: m.means(m.encoder(x)), "reconstruct": lambda m, x: m.parts(x)},
    "keys": {"encode": "two", "reconstruct": "one"},
    "paths": {"encode": "inner.encode", "reconstruct": "inner.forward"},
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("through", [lambda a: a, copy.deepcopy])
def test_parts_may_be_given_as_functions_paths_or_keys(kind, through):
    model = cases.build(Vae, lambda r, mu, logvar: {"zero": 0 * r, "one": r, "two": mu, "three": (mu, logvar)})
    model.inner = cases.build(Encoding, lambda mu, logvar: mu, seed=1 if kind == "paths" else 0)
    autoencoder = through(Autoencoder(model, **PARTS[kind]))
    reconstruction, mean, _ = (model.inner if kind == "paths" else model).parts(X)
    assert torch.equal(autoencoder.reconstruct(X), reconstruction)
    assert torch.equal(autoencoder.encode(X), mean)


def test_a_position_is_a_key_and_functions_reach_nested_keys():
    model = cases.build(Vae, lambda r, mu, logvar: (mu, r, {"means": mu + 1, "pair": (mu, logvar)}))
    autoencoder = Autoencoder(model, reconstruct=1, encode=0, latent_distribution=lambda m, x: m(x)[2]["pair"])
    reconstruction, mean, log_variance = model.parts(X)
    assert torch.equal(autoencoder.reconstruct(X), reconstruction)
    assert torch.equal(autoencoder.encode(X), mean)
    assert torch.equal(autoencoder.latent_distribution(X)[1], log_variance)
    message = r"means gives RuntimeError .* encoder -> means, \(n, 3\): .*encode=lambda m, x: m.means\(m.encoder\(x\)\)"
    with pytest.raises(ModelError, match=message):
        Autoencoder(model, reconstruct=1, encode="means").encode(X)


def test_the_error_of_an_unknown_key_lists_the_known_keys():
    autoencoder = Autoencoder(cases.build(Vae, lambda r, mu, _: {"r": r, "note": "hello"}), encode="codes")
    message = (
        r"returns no 'codes', and .*\. It returns dict with 'r' of shape \(4, 6\) and 'note' \(str\)\. Give one of"
    )
    with pytest.raises(ModelError, match=message):
        autoencoder.encode(X)


def test_a_copy_does_not_search_for_the_encoder_again():
    autoencoder = Autoencoder(cases.build(Vae))
    autoencoder.encode(X)
    runs = []
    autoencoder.model.encoder.register_forward_hook(lambda *_: runs.append(1))
    copy.deepcopy(autoencoder).encode(X)
    assert len(runs) == 1


@pytest.mark.parametrize("through", [lambda a: a, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
@pytest.mark.parametrize("make", [cases.Question, Methods, Modules], ids=lambda make: make.__name__)
def test_the_decoder_is_found(make, through):
    autoencoder = through(Autoencoder(cases.build(make)))
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(X)), autoencoder.reconstruct(X))


@pytest.mark.parametrize(
    "decode", ["decoder", lambda m, z: {"reconstruction": m.decoder(z)}, lambda m, z: m.decoder(z).unsqueeze(1)]
)
def test_the_decoder_may_be_given(decode):
    model = cases.build(Vae)
    model.decode = lambda latents: latents[:, :2]
    got = Autoencoder(model, decode=decode).decode(model.parts(X)[1])
    assert torch.equal(got, model.parts(X)[0])


def test_the_error_of_a_model_without_a_decoder_says_how_to_give_it():
    autoencoder = Autoencoder(nn.Sequential(nn.Linear(6, 6)).double())
    with pytest.raises(ModelError, match=r"Sequential has neither `decode` nor `decoder`\. Say .*decode=lambda m, z"):
        autoencoder.decode(X)
    autoencoder = Autoencoder(cases.build(Vae), decode=lambda m, z: (z.sum(), "no"))
    with pytest.raises(ShapeError, match=r"shape \(4, d\), got tuple with 0 of shape \(\) and 1 \(str\).*decode="):
        autoencoder.decode(X)


def test_a_decoder_is_not_given_by_a_key_of_the_output_of_forward():
    with pytest.raises(ModelError, match="decode must be a function .* path of a part of the model, got 'recon'"):
        Autoencoder(cases.build(cases.Question), decode="recon")


WRONG = {
    "tuple": (lambda rows: (rows[:2], "no"), r"gives tuple with 0 of shape \(2, \d\) and 1 \(str\)"),
    "dict": (
        lambda rows: {"a": rows, "b": 2 * rows},
        r"gives dict with 'a' of shape .* and 'b' of shape \(4, \d\)[.;]",
    ),
    "1-D": (lambda rows: rows[:, 0], r"gives shape \(4,\)"),
    "fewer rows": (lambda rows: rows[:2], r"gives shape \(2, \d\)"),
    "numpy": (lambda rows: rows.detach().numpy(), "gives ndarray"),
}


class Apart(nn.Module):
    """A model without a decoder of a usual name: it returns and encodes to ``function`` of what it computes."""

    def __init__(self, function):
        super().__init__()
        self.down, self.up, self.function = nn.Linear(6, 3), nn.Linear(3, 6), function

    def forward(self, rows):
        return self.function(self.up(self.down(rows)))

    def encode(self, rows):
        return self.function(self.down(rows))


@pytest.mark.parametrize("kind", WRONG)
def test_the_error_of_a_wrong_shape_says_how_to_give_the_part(kind):
    function, got = WRONG[kind]
    autoencoder = Autoencoder(cases.build(Apart, function))
    with pytest.raises(
        ModelError, match=rf"For 4 rows of 6 columns, forward {got}.*\(n, 6\)\. .*reconstruct=lambda m, x"
    ):
        autoencoder.reconstruct(X)
    with pytest.raises(ModelError, match=rf"encode {got}.*\(n, m\)\. .*encode=lambda m, x: "):
        autoencoder.encode(X)


def test_a_part_that_returns_another_form_for_other_rows_is_refused_when_it_does():
    autoencoder = Autoencoder(cases.build(Apart, lambda rows: rows if len(rows) == 4 else (rows, rows + 1)))
    autoencoder.understand(X)
    for name, width in {"reconstruct": "6", "encode": "m"}.items():
        with pytest.raises(ShapeError, match=rf"{name} must return a table of shape \(3, {width}\), got tuple with 0"):
            getattr(autoencoder, name)(X[:3])


def test_the_error_of_an_unknown_latent_distribution_lists_the_outputs_that_were_tried():
    message = r"of Question can't be found: .* encoder gives shape \(4, 3\); forward gives .*latent_distribution=lambda"
    with pytest.raises(ModelError, match=message):
        Autoencoder(cases.build(cases.Question)).latent_distribution(X)
    broken = Autoencoder(cases.build(Vae), latent_distribution=lambda m, x: (m.parts(x)[1], m.parts(x)[0]))
    with pytest.raises(
        ShapeError,
        match=r"pair of mean and log variance, both \(4, m\), .*got tuple with 0 of shape.*\. Say how.*latent_d",
    ):
        broken.latent_distribution(X)


def test_a_reconstruction_that_is_too_narrow_is_refused():
    with pytest.raises(ShapeError, match=r"forward gives shape \(4, 2\)\. Expected is the shape \(n, 6\)"):
        Autoencoder(cases.build(Apart, lambda rows: rows[:, :2])).reconstruct(X)


def test_the_error_of_a_model_without_an_encoder_says_how_to_give_it():
    autoencoder = Autoencoder(nn.Sequential(nn.Linear(6, 2), nn.Tanh(), nn.Linear(2, 6)).double())
    message = (
        r"Sequential can't be found: .* the first 1 layers, \(n, 2\): .*; or the first 2 layers, \(n, 2\): Autoencoder"
        r"\(model, encode=lambda m, x: m\[:2\]\(x\)\)"
    )
    with pytest.raises(ModelError, match=message):
        autoencoder.encode(X)
    with pytest.raises(ShapeError, match=r"no encoder has a usual name\. .*encode=lambda m, x: m.layers"):
        Autoencoder(nn.Linear(6, 6).double()).encode(X)


@pytest.mark.parametrize("model", [lambda rows: rows, cases.Question, None])
def test_a_model_that_is_no_module_is_refused(model):
    with pytest.raises(ModelError, match=r"must be a torch\.nn\.Module, got (function|the class Question|None)\."):
        Autoencoder(model)


@pytest.mark.parametrize("name", ["reconstruct", "encode", "decode", "latent_distribution"])
@pytest.mark.parametrize("part", [nn.Linear(6, 3), 1.5], ids=["a module", "a number"])
def test_parts_that_are_neither_functions_nor_paths_are_refused(name, part):
    message = rf"{name} must be a function .*, got \w+\. Write {name}=lambda m, x: m.part\(x\), or {name}='part'\."
    with pytest.raises(ModelError, match=message):
        Autoencoder(cases.build(cases.Question), **{name: part})


def test_the_model_is_shared_and_not_changed():
    model = cases.build(cases.Question).train()
    before = cases.snapshot(model)
    assert all(one is other for one, other in zip(Autoencoder(model).parameters(), model.parameters(), strict=True))
    assert cases.snapshot(model) == before


@pytest.mark.parametrize("table", [np.zeros((3, 6)), pd.DataFrame(np.zeros((3, 6)))])
def test_a_table_in_the_place_of_the_model_is_told_the_order(model, table):
    with pytest.raises(ModelError, match=r"The model comes first: Explainer\(model, background\)\."):
        Explainer(table, model)
