"""What users' models look like, and how shapae finds its way in them."""

import copy
import pickle
import warnings
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from shapae import Autoencoder, Explainer
from shapae.errors import ModelError, ShapeError
from shapae.models.autoencoder import as_autoencoder
from shapae.models.unwrapping import template_tensor
from tests import cases

X = torch.tensor(cases.table(4))


class Verbs(nn.Module):
    """No forward, but ``encode`` and ``decode``."""

    def __init__(self):
        super().__init__()
        self.inner = cases.Question()

    def encode(self, rows):
        return self.inner.encoder(rows)

    def decode(self, latents):
        return self.inner.decoder(latents)


class Parts(nn.Module):
    """No forward, but ``encoder`` and ``decoder``."""

    def __init__(self):
        super().__init__()
        inner = cases.Question()
        self.encoder, self.decoder = inner.encoder, inner.decoder


class Returning(nn.Module):
    """Returns what ``function`` makes of its reconstruction and of its latents."""

    def __init__(self, function):
        super().__init__()
        self.inner, self.function = cases.Question(), function

    def forward(self, rows):
        return self.function(self.inner(rows))

    def encode(self, rows):
        return self.function(self.inner.encoder(rows))


@pytest.mark.parametrize("make", [cases.Question, Verbs, Parts], ids=lambda make: make.__name__)
@pytest.mark.parametrize("through", [lambda a: a, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_both_names_are_found_also_in_copies(make, through):
    autoencoder, question = through(Autoencoder(cases.build(make))), cases.build(cases.Question)
    assert torch.equal(autoencoder.reconstruct(X), question(X))
    assert torch.equal(autoencoder(X), question(X))
    assert torch.equal(autoencoder.encode(X), question.encoder(X))


def test_a_copy_uses_the_copied_model():
    autoencoder = Autoencoder(cases.build(Verbs))
    twin = copy.deepcopy(autoencoder)
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.zero_()
    assert twin.encode(X).any()
    assert not autoencoder.encode(X).any()


def test_parts_that_are_given_win():
    model = cases.build(Returning, lambda rows: (rows, rows))
    autoencoder = Autoencoder(model, reconstruct=lambda m, x: m(x)[0], encode=lambda m, x: m.encode(x)[1])
    assert torch.equal(autoencoder.reconstruct(X), model.inner(X))
    assert torch.equal(autoencoder.encode(X), model.inner.encoder(X))
    assert as_autoencoder(autoencoder) is autoencoder
    assert as_autoencoder(model).model is model


class Output(dict):
    """Dict-like and with attributes, as pythae and transformers do it."""

    def __setattr__(self, name, value):
        self[name] = value


@dataclass(slots=True)
class Slotted:
    x_hat: torch.Tensor
    z: torch.Tensor
    loss: float = 0.5


@dataclass
class Encoded:
    z: torch.Tensor
    mu: torch.Tensor
    log_var: torch.Tensor


Pair = namedtuple("Pair", ["latent", "recon"])


class Vae(nn.Module):
    """A VAE at its mean, whose forward returns what ``function`` makes of reconstruction, mean and log variance."""

    def __init__(self, function=lambda *parts: parts):
        super().__init__()
        self.function = function
        self.encoder, self.decoder = nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.Linear(3, 6)
        self.means, self.spreads = nn.Linear(5, 3), nn.Linear(5, 3)

    def parts(self, rows):
        hidden = self.encoder(rows)
        return self.decoder(self.means(hidden)), self.means(hidden), self.spreads(hidden)

    def forward(self, rows):
        return self.function(*self.parts(rows))


class Encoding(Vae):
    """The same, whose ``encode`` returns what ``function`` makes of mean and log variance."""

    def forward(self, rows):
        return self.parts(rows)[0]

    def encode(self, rows):
        return self.function(*self.parts(rows)[1:])


class Whole(nn.Module):
    """A VAE without parts of its own."""

    def __init__(self):
        super().__init__()
        self.inner = Vae()

    def forward(self, rows):
        return self.function(*self.inner.parts(rows))


# From reconstruction (4, 6) and latents (4, 3) to what a forward may return.
FORWARDS = {
    "tensor": lambda r, z: r,
    "tuple": lambda r, z: (r, z),
    "the other tuple": lambda r, z: [z, r],
    "tuple with a loss": lambda r, z: (r.sum(), z, r, 2 * r),
    "tuple with a codebook": lambda r, z: (r, torch.zeros(9, 3), z),
    "dict": lambda r, z: {"z": z, "recon_x": r, "twice": 2 * r},
    "dict of other names": lambda r, z: {"this": z, "that": r},
    "dict-like": lambda r, z: Output(x_hat=r, embedding=z),
    "slots": Slotted,
    "named tuple": lambda r, z: Pair(z, r),
    "distribution": lambda r, z: Normal(r, torch.ones_like(r)),
    "tuple with a distribution": lambda r, z: (Normal(r, torch.ones_like(r)), z),
    "draws": lambda r, z: {"x_hat": torch.stack([r - 1, r + 1], dim=1), "z": z},
    "one draw": lambda r, z: (z, r.unsqueeze(1)),
}


@pytest.mark.parametrize("kind", FORWARDS)
def test_the_reconstruction_is_found_in_what_forward_returns(kind):
    function = FORWARDS[kind]
    autoencoder = Autoencoder(cases.build(Vae, lambda r, z, _: function(r, z)))
    torch.testing.assert_close(autoencoder.reconstruct(X), autoencoder.model.parts(X)[0])


@pytest.mark.parametrize("kind", [kind for kind in FORWARDS if kind not in ("tensor", "distribution")])
def test_the_latents_are_found_beside_the_reconstruction_where_there_is_no_encoder(kind):
    model, function = cases.build(Whole), FORWARDS[kind]
    model.function = lambda r, z, _: function(r, z)
    assert torch.equal(Autoencoder(model).encode(X), model.inner.parts(X)[1])


# From mean and log variance, (4, 3) each, to what an encoder may return.
ENCODES = {
    "pair": lambda mu, logvar: (mu, logvar),
    "dict": lambda mu, logvar: {"z": mu + 1, "log_var": logvar, "mu": mu},
    "pythae's": lambda mu, logvar: Output(embedding=mu, log_covariance=logvar),
    "dataclass": lambda mu, logvar: Encoded(mu.unsqueeze(1), mu, logvar),
    "standard deviation": lambda mu, logvar: {"mean": mu, "std": (logvar / 2).exp()},
    "variance": lambda mu, logvar: {"loc": mu, "var": logvar.exp()},
    "normal": lambda mu, logvar: Normal(mu, (logvar / 2).exp()),
    "normal in a tuple": lambda mu, logvar: (Normal(mu, (logvar / 2).exp()), mu + 1),
    "independent": lambda mu, logvar: Independent(Normal(mu, (logvar / 2).exp()), 1),
}


@pytest.mark.parametrize("kind", ENCODES)
def test_mean_and_log_variance_are_found_in_what_encode_returns(kind):
    autoencoder = Autoencoder(cases.build(Encoding, ENCODES[kind]))
    _, mean, log_variance = autoencoder.model.parts(X)
    for got, want in zip(autoencoder.latent_distribution(X), (mean, log_variance), strict=True):
        torch.testing.assert_close(got, want)
    assert torch.equal(autoencoder.encode(X), mean)


@pytest.mark.parametrize(
    "function",
    [
        lambda *parts: parts,
        lambda r, mu, logvar: {"recon": r, "mu": mu, "logvar": logvar},
        lambda r, mu, logvar: (r, Normal(mu, (logvar / 2).exp())),
    ],
)
def test_an_encoder_that_is_only_the_trunk_is_not_taken_for_the_latents_of_a_vae(function):
    """Its output would be explained without a word: it has rows, too."""
    autoencoder = Autoencoder(cases.build(Vae, function))
    assert autoencoder.model.encoder(X).shape == (4, 5)
    assert torch.equal(autoencoder.encode(X), autoencoder.model.parts(X)[1])
    torch.testing.assert_close(autoencoder.latent_distribution(X), autoencoder.model.parts(X)[1:])


def test_an_axis_of_one_draw_is_no_axis_of_the_latents():
    autoencoder = Autoencoder(cases.build(Encoding, lambda mu, _: {"z": mu.unsqueeze(1)}))
    assert torch.equal(autoencoder.encode(X), autoencoder.model.parts(X)[1])


def test_channels_are_not_taken_for_draws():
    autoencoder = Autoencoder(cases.build(Encoding, lambda mu, _: mu.unsqueeze(1).expand(-1, 2, -1)))
    with pytest.raises(ShapeError, match=r"latents of shape \(4, m\), got shape \(4, 2, 3\)"):
        autoencoder.encode(X)


def test_hooks_of_the_model_run():
    model, runs = cases.build(cases.Question), []
    model.register_forward_hook(lambda *_: runs.append(1))
    Autoencoder(model).reconstruct(X)
    assert len(runs) == 1


def test_traced_models_are_models_too(model, rows, background):
    with warnings.catch_warnings(action="ignore"):  # torch would have us use its successors
        traced = torch.jit.trace(model, X)
    want = Explainer(model, background)(rows).values
    torch.testing.assert_close(Explainer(traced, background)(rows).values, want)


def test_a_model_that_takes_no_tensor_is_used_by_the_methods_that_do():
    class Dicts(Vae):
        def forward(self, batch):
            return super().forward(batch["data"])

        def reconstruct(self, rows):
            return self({"data": rows})[0]

    autoencoder = Autoencoder(cases.build(Dicts))
    assert torch.equal(autoencoder.reconstruct(X), autoencoder.model.parts(X)[0])
    assert torch.equal(autoencoder.encode(X), autoencoder.model.encoder(X))
    with pytest.raises(ModelError, match=r"encoder gives shape \(4, 5\), forward, .*, gives (Index|Type)Error"):
        autoencoder.latent_distribution(X)


GIVEN = {
    "functions": {"encode": lambda m, x: m.means(m.encoder(x)), "reconstruct": lambda m, x: m.parts(x)},
    "keys": {"encode": "two", "reconstruct": "one"},
    "paths": {"encode": "inner.encode", "reconstruct": "inner.forward"},
}


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("through", [lambda a: a, copy.deepcopy])
def test_parts_are_given_as_functions_paths_or_keys(kind, through):
    model = cases.build(Vae, lambda r, mu, logvar: {"zero": 0 * r, "one": r, "two": mu, "three": (mu, logvar)})
    model.inner = cases.build(Encoding, lambda mu, logvar: mu, seed=1 if kind == "paths" else 0)
    autoencoder = through(Autoencoder(model, **GIVEN[kind]))
    reconstruction, mean, _ = (model.inner if kind == "paths" else model).parts(X)
    assert torch.equal(autoencoder.reconstruct(X), reconstruction)
    assert torch.equal(autoencoder.encode(X), mean)


def test_a_position_is_a_key_too_and_a_part_of_the_model_goes_before_a_key():
    model = cases.build(Vae, lambda r, mu, logvar: (mu, r, {"means": mu + 1, "pair": (mu, logvar)}))
    autoencoder = Autoencoder(model, reconstruct=1, encode=0, latent_distribution=lambda m, x: m(x)[2]["pair"])
    reconstruction, mean, log_variance = model.parts(X)
    assert torch.equal(autoencoder.reconstruct(X), reconstruction)
    assert torch.equal(autoencoder.encode(X), mean)
    assert torch.equal(autoencoder.latent_distribution(X)[1], log_variance)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Autoencoder(model, encode="means").encode(X)


def test_a_key_that_is_not_there_is_an_error_that_lists_those_that_are():
    autoencoder = Autoencoder(cases.build(Vae, lambda r, mu, _: {"r": r, "note": "hello"}), encode="codes")
    message = r"returns no 'codes', and .* returns dict with 'r' of shape \(4, 6\) and 'note' \(str\)\. Give one of"
    with pytest.raises(ModelError, match=message):
        autoencoder.encode(X)


def test_what_is_looked_for_is_kept_in_copies():
    autoencoder = Autoencoder(cases.build(Vae))
    autoencoder.encode(X)
    runs = []
    autoencoder.model.encoder.register_forward_hook(lambda *_: runs.append(1))
    copy.deepcopy(autoencoder).encode(X)
    assert len(runs) == 1


@pytest.mark.parametrize("through", [lambda a: a, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
@pytest.mark.parametrize("make", [cases.Question, Verbs, Parts], ids=lambda make: make.__name__)
def test_the_decoder_is_found(make, through):
    autoencoder = through(Autoencoder(cases.build(make)))
    torch.testing.assert_close(autoencoder.decode(autoencoder.encode(X)), autoencoder.reconstruct(X))


@pytest.mark.parametrize(
    "decode", ["decoder", lambda m, z: {"reconstruction": m.decoder(z)}, lambda m, z: m.decoder(z).unsqueeze(1)]
)
def test_the_decoder_is_given(decode):
    model = cases.build(Vae)
    model.decode = lambda latents: latents[:, :2]
    got = Autoencoder(model, decode=decode).decode(model.parts(X)[1])
    assert torch.equal(got, model.parts(X)[0])


def test_a_model_that_can_not_decode_says_how_to_mend_it():
    autoencoder = Autoencoder(nn.Sequential(nn.Linear(6, 6)).double())
    with pytest.raises(ModelError, match=r"Sequential has neither `decode` nor `decoder`\. Say .*decode=lambda m, z"):
        autoencoder.decode(X)
    autoencoder = Autoencoder(cases.build(Vae), decode=lambda m, z: (z.sum(), "no"))
    with pytest.raises(ShapeError, match=r"shape \(4, d\), got tuple with 0 of shape \(\) and 1 \(str\).*decode="):
        autoencoder.decode(X)


def test_a_decoder_is_no_key_of_what_forward_returns():
    with pytest.raises(ModelError, match="decode must be a function .* path of a part of the model, got 'recon'"):
        Autoencoder(cases.build(cases.Question), decode="recon")


WRONG = {
    "tuple": (lambda rows: (rows[:2], "no"), r"got tuple with 0 of shape \(2, \d\) and 1 \(str\)\."),
    "dict": (lambda rows: {"a": rows, "b": rows}, r"got dict with 'a' of shape \(4, \d\) and 'b' of shape \(4, \d\)\."),
    "1-D": (lambda rows: rows[:, 0], r"got shape \(4,\)"),
    "fewer rows": (lambda rows: rows[:2], r"got shape \(2, \d\)"),
    "numpy": (lambda rows: rows.detach().numpy(), "got ndarray"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_tensor_of_the_right_shape_is_refused_with_the_way_to_mend_it(kind):
    function, got = WRONG[kind]
    autoencoder = Autoencoder(cases.build(Returning, function))
    with pytest.raises(ShapeError, match=rf"reconstruction of shape \(4, 6\), {got}.*reconstruct=lambda m, x: m\(x\)"):
        autoencoder.reconstruct(X)
    with pytest.raises(ShapeError, match=rf"latents of shape \(4, m\), {got}.*encode=lambda m, x: m\.encoder"):
        autoencoder.encode(X)


def test_a_latent_distribution_that_can_not_be_found_says_what_was_looked_at():
    three = Autoencoder(cases.build(Encoding, lambda mu, logvar: (mu, logvar, mu)))
    message = (
        r"of Encoding can't be found: encode gives tuple with 0 of .* gives nothing\. .*latent_distribution=lambda m, x"
    )
    with pytest.raises(ModelError, match=message):
        three.latent_distribution(X)
    broken = Autoencoder(cases.build(Vae), latent_distribution=lambda m, x: (m.parts(x)[1], m.parts(x)[0]))
    with pytest.raises(ShapeError, match=r"pair of mean and log variance, both \(4, m\), .*got tuple with 0 of shape"):
        broken.latent_distribution(X)


def test_a_reconstruction_that_is_too_narrow_is_refused():
    with pytest.raises(ShapeError, match=r"reconstruction of shape \(4, 6\), got shape \(4, 2\)"):
        Autoencoder(cases.build(Returning, lambda rows: rows[:, :2])).reconstruct(X)


def test_a_model_without_an_encoder_says_how_to_name_one():
    autoencoder = Autoencoder(nn.Sequential(nn.Linear(6, 6)).double())
    message = r"Sequential can't be found: it has neither `encode` nor `encoder`, forward, .* gives nothing\..*encode="
    with pytest.raises(ModelError, match=message):
        autoencoder.encode(X)


@pytest.mark.parametrize("model", [lambda rows: rows, cases.Question, None])
def test_what_is_no_module_is_refused(model):
    with pytest.raises(ModelError, match=r"must be a torch\.nn\.Module, got (function|type|NoneType)\."):
        Autoencoder(model)


@pytest.mark.parametrize("name", ["reconstruct", "encode", "decode", "latent_distribution"])
@pytest.mark.parametrize("part", [nn.Linear(6, 3), 1.5], ids=["a module", "a number"])
def test_parts_that_are_no_functions_are_refused(name, part):
    message = rf"{name} must be a function .*, got \w+; write {name}=lambda m, x: m.part\(x\), or {name}='part'"
    with pytest.raises(ModelError, match=message):
        Autoencoder(cases.build(cases.Question), **{name: part})


def test_the_model_is_shared_and_left_alone():
    model = cases.build(cases.Question).train()
    before = cases.snapshot(model)
    assert all(one is other for one, other in zip(Autoencoder(model).parameters(), model.parameters(), strict=True))
    assert cases.snapshot(model) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_parameters_or_else_of_the_rows(dtype):
    assert template_tensor(cases.build(cases.Question, dtype=dtype), X).dtype == dtype
    assert template_tensor(nn.BatchNorm1d(3, affine=False).to(dtype), X).dtype == dtype
    assert template_tensor(nn.Identity(), X.to(dtype)).dtype == dtype
    assert template_tensor(nn.Identity(), X.long()).dtype == torch.float32


def test_half_precision_is_refused():
    with pytest.raises(ModelError, match=r"float32 or float64, got torch\.float16; use model\.float\(\)"):
        template_tensor(cases.build(cases.Question, dtype=torch.float16), X)
