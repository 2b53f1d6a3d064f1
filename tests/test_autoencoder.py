"""What users' models look like, and how shapae finds its way in them."""

import copy
import pickle

import pytest
import torch
from torch import nn

from shapae import Autoencoder
from shapae.autoencoder import as_autoencoder, example
from shapae.errors import ModelError, ShapeError
from shapae.unwrap import copied
from tests import models

X = torch.tensor(models.table(4))


class Verbs(nn.Module):
    """No forward, but ``encode`` and ``decode``."""

    def __init__(self):
        super().__init__()
        self.inner = models.Question()

    def encode(self, rows):
        return self.inner.encoder(rows)

    def decode(self, latents):
        return self.inner.decoder(latents)


class Parts(nn.Module):
    """No forward, but ``encoder`` and ``decoder``."""

    def __init__(self):
        super().__init__()
        inner = models.Question()
        self.encoder, self.decoder = inner.encoder, inner.decoder


class Returning(nn.Module):
    """Returns what ``function`` makes of its reconstruction and of its latents."""

    def __init__(self, function):
        super().__init__()
        self.inner, self.function = models.Question(), function

    def forward(self, rows):
        return self.function(self.inner(rows))

    def encode(self, rows):
        return self.function(self.inner.encoder(rows))


@pytest.mark.parametrize("make", [models.Question, Verbs, Parts], ids=lambda make: make.__name__)
@pytest.mark.parametrize("through", [lambda a: a, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_both_names_are_found_also_in_copies(make, through):
    autoencoder, question = through(Autoencoder(models.build(make))), models.build(models.Question)
    assert torch.equal(autoencoder.reconstruct(X), question(X))
    assert torch.equal(autoencoder(X), question(X))
    assert torch.equal(autoencoder.encode(X), question.encoder(X))


def test_a_copy_uses_the_copied_model():
    autoencoder = Autoencoder(models.build(Verbs))
    twin = copy.deepcopy(autoencoder)
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.zero_()
    assert twin.encode(X).any()
    assert not autoencoder.encode(X).any()


def test_parts_that_are_given_win():
    model = models.build(Returning, lambda rows: (rows, rows))
    autoencoder = Autoencoder(model, reconstruct=lambda m, x: m(x)[0], encode=lambda m, x: m.encode(x)[1])
    assert torch.equal(autoencoder.reconstruct(X), model.inner(X))
    assert torch.equal(autoencoder.encode(X), model.inner.encoder(X))
    assert as_autoencoder(autoencoder) is autoencoder
    assert as_autoencoder(model).model is model


WRONG = {
    "tuple": (lambda rows: (rows, rows), "got tuple"),
    "dict": (lambda rows: {"x": rows}, "got dict"),
    "1-D": (lambda rows: rows[:, 0], r"got shape \(4,\)"),
    "fewer rows": (lambda rows: rows[:2], r"got shape \(2, \d\)"),
    "numpy": (lambda rows: rows.detach().numpy(), "got ndarray"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_tensor_of_the_right_shape_is_refused_with_the_way_to_mend_it(kind):
    function, got = WRONG[kind]
    autoencoder = Autoencoder(models.build(Returning, function))
    with pytest.raises(ShapeError, match=rf"reconstruction of shape \(4, 6\), {got}.*reconstruct=lambda m, x: m\(x\)"):
        autoencoder.reconstruct(X)
    with pytest.raises(ShapeError, match=rf"latents of shape \(4, m\), {got}.*encode=lambda m, x: m\.encoder"):
        autoencoder.encode(X)


def test_a_reconstruction_that_is_too_narrow_is_refused():
    with pytest.raises(ShapeError, match=r"reconstruction of shape \(4, 6\), got shape \(4, 2\)"):
        Autoencoder(models.build(Returning, lambda rows: rows[:, :2])).reconstruct(X)


def test_a_model_without_an_encoder_says_how_to_name_one():
    autoencoder = Autoencoder(nn.Sequential(nn.Linear(6, 6)).double())
    with pytest.raises(ModelError, match=r"Sequential has neither `encode` nor `encoder`.*encode=lambda m, x"):
        autoencoder.encode(X)


@pytest.mark.parametrize("model", [lambda rows: rows, models.Question, None])
def test_what_is_no_module_is_refused(model):
    with pytest.raises(ModelError, match=r"must be a torch\.nn\.Module, got (function|type|NoneType)\."):
        Autoencoder(model)


@pytest.mark.parametrize("name", ["reconstruct", "encode"])
@pytest.mark.parametrize("part", [nn.Linear(6, 3), "encoder"], ids=["a module", "a name"])
def test_parts_that_are_no_functions_are_refused(name, part):
    with pytest.raises(ModelError, match=rf"{name} must be a function .*, got \w+; write {name}=lambda m, x"):
        Autoencoder(models.build(models.Question), **{name: part})


def test_the_model_is_shared_and_left_alone():
    model = models.build(models.Question).train()
    before = models.snapshot(model)
    assert all(one is other for one, other in zip(Autoencoder(model).parameters(), model.parameters(), strict=True))
    assert models.snapshot(model) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_parameters_or_else_of_the_rows(dtype):
    assert example(models.build(models.Question, dtype=dtype), X).dtype == dtype
    assert example(nn.BatchNorm1d(3, affine=False).to(dtype), X).dtype == dtype
    assert example(nn.Identity(), X.to(dtype)).dtype == dtype
    assert example(nn.Identity(), X.long()).dtype == torch.float32


def test_half_precision_is_refused():
    with pytest.raises(ModelError, match=r"float32 or float64, got torch\.float16; use model\.float\(\)"):
        example(models.build(models.Question, dtype=torch.float16), X)


def test_results_of_the_last_forward_pass_can_be_copied():
    model = models.build(models.Question)
    model.encoder.last = model.encoder(X)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    twin = copied(model)
    assert torch.equal(twin.encoder.last, model.encoder.last)
    assert twin.encoder.last is not model.encoder.last
    assert model.encoder.last.grad_fn is not None
