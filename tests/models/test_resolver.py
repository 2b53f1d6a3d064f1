"""Parts of a model are found by evidence: decode(encode(rows)) = reconstruct(rows). What is not clear is refused."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from shapae import Autoencoder, Explainer
from shapae.errors import ModelError, ShapeError
from tests import cases

X = torch.tensor(cases.table(9))


class Base(nn.Module):
    """Layers from which the models below are put together; ``code`` is what their latents are."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 6))
        self.fc_mu, self.fc_logvar = nn.Linear(4, 3), nn.Linear(4, 3)

    def code(self, rows):
        return self.fc_mu(self.encoder(rows))

    def rebuilt(self, rows):
        return self.decoder(self.code(rows))

    def forward(self, rows):
        return self.rebuilt(rows)


class Sampling(Base):
    """Samples in eval mode too, and returns ``(reconstruction, mean, log variance)``."""

    def forward(self, rows):
        hidden = self.encoder(rows)
        mean, logvar = self.fc_mu(hidden), self.fc_logvar(hidden)
        return self.decoder(mean + torch.exp(logvar / 2) * torch.randn_like(mean)), mean, logvar


class TrainingSampling(Base):
    """Samples in training only, with a standard deviation by softplus, under names that say nothing."""

    def __init__(self):
        super().__init__()
        self.fc21, self.fc22 = self.fc_mu, self.fc_logvar
        del self.fc_mu, self.fc_logvar

    def code(self, rows):
        return self.fc21(self.encoder(rows))

    def encode(self, rows):
        hidden = self.encoder(rows)
        return self.fc21(hidden), nn.functional.softplus(self.fc22(hidden))

    def decode(self, latents):
        return torch.sigmoid(self.decoder(latents))

    def rebuilt(self, rows):
        return self.decode(self.code(rows))

    def forward(self, rows):
        mean, std = self.encode(rows)
        return self.decode(mean + std * torch.randn_like(std) if self.training else mean)


class Halves(Base):
    """Mean and log variance side by side in the output of the encoder."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 6))

    def code(self, rows):
        return self.encoder(rows)[:, :3]


class Normalised(Base):
    """The code is normalised after the encoder, and returned."""

    def code(self, rows):
        return nn.functional.normalize(self.fc_mu(self.encoder(rows)), dim=1)

    def forward(self, rows):
        code = self.code(rows)
        return {"out": self.decoder(code), "unit": code}


class Clustering(Base):
    """Returns soft assignments to clusters beside the reconstruction, as deep embedded clustering does."""

    def __init__(self):
        super().__init__()
        self.encoder, self.clusters = nn.Sequential(nn.Linear(6, 3), nn.Tanh()), nn.Linear(3, 4)

    def code(self, rows):
        return self.encoder(rows)

    def forward(self, rows):
        q = self.clusters(self.code(rows)).softmax(dim=1)
        p = q**2 / (q**2).sum(dim=1, keepdim=True)
        return self.rebuilt(rows), q, p


class Residual(Base):
    """What the decoder returns is added to the rows: the decoder alone is not the reconstruction."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 3)

    def code(self, rows):
        return self.encoder(rows)

    def rebuilt(self, rows):
        return rows + self.decoder(self.code(rows))


class Nested(nn.Module):
    """Everything is within a part of another name."""

    def __init__(self, inner=TrainingSampling):
        super().__init__()
        self.network = inner()

    def code(self, rows):
        return self.network.code(rows)

    def rebuilt(self, rows):
        return self.network.rebuilt(rows)

    def forward(self, rows):
        return self.network(rows)


class Wide(Base):
    """As many latents as features, returned before the reconstruction."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 6))

    def code(self, rows):
        return self.encoder(rows)

    def forward(self, rows):
        return self.code(rows), self.rebuilt(rows)


class Keyword(Base):
    """The decoder is called with a keyword, and with a condition."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 3), Conditional()

    def code(self, rows):
        return self.encoder(rows)

    def rebuilt(self, rows):
        return self.decoder(z=self.code(rows), condition=torch.ones(len(rows), 1).to(rows))


class Conditional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, z, condition):
        return self.layer(torch.cat([z, condition], dim=1))


class EncodingForward(Base):
    """Forward encodes; the reconstruction is decode(encode(rows))."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 3)

    def code(self, rows):
        return self.encoder(rows)

    def forward(self, rows):
        return self.code(rows)


FOUND = {
    Sampling: ("encoder -> fc_mu", "yes"),
    TrainingSampling: ("encode[0]", "yes"),
    Halves: ("encoder, first half of the columns", "yes"),
    Normalised: ("forward['unit']", "yes"),
    Clustering: ("encoder", "yes"),
    Residual: ("encoder", "no"),
    Nested: ("network.encode[0]", "yes"),
    Wide: ("encoder", "yes"),
    Keyword: ("encoder", "no"),
    EncodingForward: ("encoder", "yes"),
}


@pytest.mark.parametrize("make", FOUND, ids=lambda make: make.__name__)
def test_the_latents_are_what_the_decoder_receives_and_print_says_so(make):
    model = cases.build(make).eval()
    autoencoder = Autoencoder(model)
    explainer = Explainer(autoencoder, X, head="latent")
    where, holds = FOUND[make]
    with torch.no_grad():
        np.testing.assert_allclose(explainer.scores(X), model.code(X), rtol=1e-12)
        torch.testing.assert_close(autoencoder.reconstruct(X), model.rebuilt(X))
    line = f"latents: {where}, (n, {model.code(X).shape[1]}); decode(encode(x)) = reconstruct(x): {holds}"
    assert line in str(autoencoder).splitlines()[2]
    assert line in repr(explainer)
    assert explainer(X[:2]).made_by["model"]["latents"] == line.removeprefix("latents: ")


@pytest.mark.parametrize("make", [make for make in FOUND if FOUND[make][1] == "yes"], ids=lambda make: make.__name__)
def test_the_decoder_is_the_one_that_makes_the_reconstruction(make):
    autoencoder = Autoencoder(cases.build(make).eval())
    with torch.no_grad():
        latents = autoencoder.encode(X)
        torch.testing.assert_close(autoencoder.decode(latents), autoencoder.reconstruct(X))


@pytest.mark.parametrize("make", [Residual, Keyword])
def test_a_decoder_that_misses_a_step_is_refused(make):
    model = cases.build(make)
    advised = (
        r"a step is missing, or a connection goes past .*, which decode='decoder' leaves out\..*decode=lambda m, z"
    )
    with pytest.raises(ModelError, match=advised):
        Explainer(model, X, source="latent")
    autoencoder = Autoencoder(model, decode=lambda m, z: m.decoder(z) if make is Residual else m.decoder(z, z[:, :1]))
    assert autoencoder.understand(X).holds is False


def divergence(mean, std):
    return kl_divergence(Normal(mean, std), Normal(torch.zeros(3).double(), 1.0)).sum(dim=1)


class Returning(Sampling):
    """A VAE that draws noise in eval mode, whose encoder gives ``function(mean, log variance)``."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def encode(self, rows):
        hidden = self.encoder(rows)
        return self.function(self.fc_mu(hidden), self.fc_logvar(hidden))


# From mean and log variance to an output that says which is which, or whose second tensor is the spread of the noise.
DISTRIBUTIONS = {
    "log variance": lambda mean, logvar: (mean, logvar),
    "standard deviation": lambda mean, logvar: [mean, torch.exp(logvar / 2)],
    "variance": lambda mean, logvar: (mean, logvar.exp()),
    "log standard deviation": lambda mean, logvar: (mean, logvar / 2),
    "a sample first": lambda mean, logvar: (mean + 1, mean, logvar),
    "names": lambda mean, logvar: {"log_var": logvar, "mu": mean},
    "a name that means something else": lambda mean, logvar: {"mu": mean, "logvar": logvar / 2},
    "a variance under the name of a deviation": lambda mean, logvar: {"mean": mean, "std": logvar.exp()},
    "nested names": lambda mean, logvar: (mean, {"mean": mean, "std": torch.exp(logvar / 2)}),
    "normal": lambda mean, logvar: Normal(mean, torch.exp(logvar / 2)),
    "posterior and prior": lambda mean, logvar: {
        "prior": Normal(torch.zeros_like(mean), torch.ones_like(mean)),
        "posterior": Independent(Normal(mean, torch.exp(logvar / 2)), 1),
    },
}


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_the_latent_distribution_is_known_by_name_by_type_or_by_its_noise(kind):
    model = cases.build(Returning, DISTRIBUTIONS[kind]).eval()
    hidden = model.encoder(X)
    want = divergence(model.fc_mu(hidden), torch.exp(model.fc_logvar(hidden) / 2))
    np.testing.assert_allclose(Explainer(model, X, head="kl").scores(X), want.detach(), rtol=1e-9)


def test_the_spread_is_tested_in_training_with_dropout_and_batch_norm_which_stay_as_they_are():
    model = cases.build(TrainingSampling).eval()
    model.encoder = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)
    ).double()
    before, world = cases.snapshot(model.eval()), cases.world()
    mean, std = model.encode(X)
    np.testing.assert_allclose(Explainer(model, X, head="kl").scores(X), divergence(mean, std).detach(), rtol=1e-6)
    assert cases.snapshot(model) == before
    assert cases.world() == world


class Contrastive(Base):
    """Returns the latents and their projection of the same width, which is no log variance."""

    def __init__(self):
        super().__init__()
        self.encoder, self.projection = nn.Linear(6, 3), nn.Linear(3, 3)

    def forward(self, rows):
        code = self.encoder(rows)
        return self.decoder(code), code, self.projection(code)


@pytest.mark.parametrize("make", [Clustering, Contrastive, Halves])
@pytest.mark.parametrize("head", ["kl", "unit_kl", "latent_log_variance", "elbo"])
def test_outputs_that_are_no_distribution_are_refused(make, head):
    with pytest.raises(
        ModelError, match=r"latent distribution of \w+ can't be found: .*latent_distribution=lambda m, x"
    ):
        Explainer(cases.build(make), X, head=head)


class Trunk(Base):
    """The trunk of a VAE whose decoder has no usual name: nothing tells the trunk from the latents."""

    def __init__(self):
        super().__init__()
        self.up = self.decoder
        del self.decoder

    def forward(self, rows):
        return self.up(self.code(rows)), self.code(rows)


class Opaque(Base):
    """A step between the encoder and the decoder that no output shows."""

    def rebuilt(self, rows):
        return self.decoder(torch.sin(self.fc_mu(self.encoder(rows))))


@pytest.mark.parametrize(
    ("make", "lines"),
    [
        (
            Trunk,
            ["encoder, (n, 4): Autoencoder(model, encode=lambda m, x: m.encoder(x))", "encode=lambda m, x: m(x)[1])"],
        ),
        (Opaque, ["encoder, (n, 4): ", "encoder -> fc_mu, (n, 3): Autoencoder(model, encode=lambda m, x: m.fc_mu("]),
    ],
)
def test_latents_that_are_not_clear_are_refused_with_a_line_for_each_candidate(make, lines):
    model = cases.build(make)
    with pytest.raises(ModelError) as caught:
        Explainer(model, X, head="latent")
    assert all(line in str(caught.value) for line in lines)
    assert "latents: not clear" in repr(Explainer(model, X))
    Explainer(Autoencoder(model, encode=lambda m, x: m.code(x)), X, head="latent")


@dataclass
class Fields:
    mean: torch.Tensor
    dispersion: torch.Tensor
    dropout: torch.Tensor


class Returns(nn.Module):
    """A model without parts of usual names, which returns ``function(rows, reconstruction)``."""

    def __init__(self, function):
        super().__init__()
        self.function, self.layers = function, nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6))

    def forward(self, rows):
        return self.function(rows, self.layers(rows))


AMBIGUOUS = {
    "mask and features": lambda x, r: ((x > 0).to(x), r),
    "list": lambda x, r: [r, torch.sigmoid(r), r.sum()],
    "dataclass": lambda x, r: Fields(r, r.exp(), r.sigmoid()),
    "dict": lambda x, r: {"mean": r, "dispersion": r.exp()},
    "nested": lambda x, r: (r.sum(), {"a": r, "b": (2 * r, 1.0)}),
    "distributions": lambda x, r: (Normal(r, torch.ones_like(r)), 2 * r),
}
CLEAR = {
    "rows and reconstruction": lambda x, r: (x, r),
    "reconstruction and rows in a dict": lambda x, r: {"a": r, "x": x.clone()},
    "twice the same": lambda x, r: (r, r.clone()),
    "by name": lambda x, r: {"mask": (x > 0).to(x), "x_hat": r},
    "a loss beside it": lambda x, r: (((r - x) ** 2).mean(), r),
    "nested": lambda x, r: (1.0, {"rows": x, "deep": [r]}),
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_several_tensors_of_the_shape_of_the_rows_are_refused_with_a_line_for_each(kind):
    model = cases.build(Returns, AMBIGUOUS[kind])
    with pytest.raises(
        ModelError, match=r"several tensors have the shape of the rows\. .*reconstruct=lambda.*reconstruct="
    ) as caught:
        Explainer(model, X)
    for line in str(caught.value).split("Autoencoder(model, reconstruct=")[1:]:  # each line runs
        part = eval(line.partition(")")[0] + ")" + line.partition(")")[2].split(");")[0].removesuffix(")."))
        assert part(model, X).shape == X.shape


@pytest.mark.parametrize("kind", CLEAR)
def test_what_equals_the_rows_or_is_no_table_is_not_the_reconstruction(kind):
    model = cases.build(Returns, CLEAR[kind])
    with torch.no_grad():
        want = (model.layers(X) - X).square().mean(dim=1)
    np.testing.assert_allclose(Explainer(model, X).scores(X), want, rtol=1e-12)


def test_rows_alone_are_no_reconstruction_and_no_code():
    class Echo(Base):
        def encode(self, rows):  # scales nothing here
            return rows

    model = cases.build(Echo)
    with torch.no_grad():
        np.testing.assert_allclose(Explainer(model, X, head="latent").scores(X), model.code(X), rtol=1e-12)
    with pytest.raises(ModelError, match="no tensor but the rows themselves has the shape of the rows"):
        Explainer(cases.build(Returns, lambda x, r: {"x": x, "loss": r.sum()}), X)


class Both(Base):
    """``mean`` is a layer of the model, as wide as the table, and a key of what forward returns."""

    def __init__(self):
        super().__init__()
        self.mean, self.first = nn.Linear(6, 3), nn.Linear(6, 6)

    def code(self, rows):
        return self.mean(torch.tanh(self.first(rows)))

    def forward(self, rows):
        return {"mean": self.code(rows), "recon": self.rebuilt(rows)}


def test_a_string_that_is_a_key_and_a_part_is_refused_with_both_readings():
    model = cases.build(Both)
    with pytest.raises(ModelError, match=r"encode='mean' is both .* Write encode='key:mean' or encode='part:mean'\."):
        Explainer(Autoencoder(model, encode="mean"), X)
    with torch.no_grad():
        for text, want in {"key:mean": model.code(X), "part:mean": model.mean(X)}.items():
            autoencoder = Autoencoder(model, encode=text)
            np.testing.assert_allclose(Explainer(autoencoder, X, head="latent").scores(X), want, rtol=1e-12)
    assert "decode(encode(x)) = reconstruct(x): no" in str(autoencoder)


def test_the_reconstruction_that_is_given_is_no_candidate_for_the_latents():
    class Keyed(Returns):
        def forward(self, rows):
            hidden = self.layers[:2](rows)
            return {"z": self.layers[2](hidden), "code": hidden, "note": "hello"}

    model = cases.build(Keyed, None)
    autoencoder = Autoencoder(model, reconstruct="z")
    with torch.no_grad():
        np.testing.assert_allclose(Explainer(autoencoder, X, head="latent").scores(X), model.layers[:2](X), rtol=1e-12)


def test_print_works_before_any_rows_were_seen():
    text = str(Autoencoder(cases.build(Sampling)))
    assert "latents: encoder -> fc_mu, (n, 3); decode(encode(x)) = reconstruct(x): yes" in text
    assert "the mean of the noise is used in its place" in text
    assert "not yet tried on rows" in str(Autoencoder(nn.Identity()))


class TwoInputs(Base):
    def forward(self, rows, condition):
        return self.rebuilt(rows) + condition[:, None]


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, rows):
        if rows.ndim != 3:
            raise ValueError("(n, 1, d) wanted")
        return self.conv(rows)


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(2, 2, batch_first=True)

    def forward(self, rows):
        return self.recurrent(rows)[0]


class Windows(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, rows):
        return self.layer(rows)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (TwoInputs, "reconstruct=lambda m, x: m(x, condition=torch.zeros(len(x)).long())"),
        (Convolution, "reconstruct=lambda m, x: m(x.unsqueeze(1)).flatten(1)"),
        (Sequence, "reconstruct=lambda m, x: m(x.unflatten(1, (-1, 2))).flatten(1)"),
        (Windows, "reconstruct=lambda m, x: m(x.unflatten(1, (2, 3))).flatten(1)"),
    ],
)
def test_a_model_of_other_inputs_is_refused_with_the_function_that_makes_them(make, line):
    model = cases.build(make)
    with pytest.raises(ShapeError) as caught:
        Explainer(model, X)
    assert line in str(caught.value)
    reconstruct = eval(line.removeprefix("reconstruct="), {"torch": torch})
    Explainer(Autoencoder(model, reconstruct=reconstruct), X)


def test_a_table_of_another_width_than_the_model_is_told_in_columns():
    with pytest.raises(
        ShapeError, match=r"takes 6 columns, and the table has 5\. Give the table that it was trained on"
    ):
        Explainer(cases.build(Base), X[:, :5])


class Activated(Base):
    """An activation without a module between the trunk and the layers of mean and log variance."""

    def code(self, rows):
        return self.fc_mu(torch.relu(self.encoder(rows)))

    def forward(self, rows):
        hidden = torch.relu(self.encoder(rows))
        mean, logvar = self.fc_mu(hidden), self.fc_logvar(hidden)
        return self.decoder(mean + torch.exp(logvar / 2) * torch.randn_like(mean))


def test_the_output_of_a_layer_within_forward_is_found_and_so_is_the_spread_beside_it():
    model = cases.build(Activated).eval()
    autoencoder = Autoencoder(model)
    with torch.no_grad():
        hidden = torch.relu(model.encoder(X))
        np.testing.assert_allclose(Explainer(autoencoder, X, head="latent").scores(X), model.code(X), rtol=1e-12)
        want = divergence(model.code(X), torch.exp(model.fc_logvar(hidden) / 2))
    np.testing.assert_allclose(Explainer(autoencoder, X, head="kl").scores(X), want, rtol=1e-9)
    assert "latents: fc_mu, within forward, (n, 3); decode(encode(x)) = reconstruct(x): yes" in str(autoencoder)


class Likelihood(nn.Module):
    """Parts without usual names; forward returns the distribution of the rows, not of the latents."""

    def __init__(self, function):
        super().__init__()
        self.down, self.up, self.function = nn.Linear(6, 3), nn.Linear(3, 6), function

    def forward(self, rows):
        return self.function(self.up(torch.tanh(self.down(rows))))


@pytest.mark.parametrize(
    "function",
    [
        lambda mean: Normal(mean, torch.ones_like(mean)),
        lambda mean: {"mean": mean, "var": torch.ones_like(mean)},
        lambda mean: {"x_hat": mean, "loc": mean, "scale": torch.ones_like(mean)},
    ],
)
def test_the_distribution_of_the_reconstruction_is_not_that_of_the_latents(function):
    with pytest.raises(ModelError, match=r"latent distribution of Likelihood can't be found"):
        Explainer(cases.build(Likelihood, function), X, head="kl")


class Classifying(Base):
    """Returns the logits of a classifier beside the reconstruction; no part has a usual name."""

    def __init__(self, function=lambda *parts: parts):
        super().__init__()
        self.function, self.down, self.up, self.classifier = function, self.encoder, nn.Linear(4, 6), nn.Linear(4, 2)
        del self.encoder, self.decoder

    def forward(self, rows):
        hidden = self.down(rows)
        return self.function(self.up(hidden), self.classifier(hidden))


class Trunks(Base):
    """The decoder has no usual name, and forward returns the reconstruction only."""

    def __init__(self):
        super().__init__()
        self.out = self.decoder
        del self.decoder

    def rebuilt(self, rows):
        return self.out(self.code(rows))


class Twins(Base):
    """Two autoencoders, a teacher and a student."""

    def __init__(self):
        super().__init__()
        self.student, self.teacher = Small(), Small()
        del self.encoder, self.decoder

    def forward(self, rows):
        return (self.student(rows) + self.teacher(rows)) / 2


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 2), nn.Linear(2, 6)

    def forward(self, rows):
        return self.decoder(torch.tanh(self.encoder(rows)))


@pytest.mark.parametrize(
    "make", [Classifying, lambda: Classifying(lambda r, c: {"out": r, "logits": c}), Trunks, Twins]
)
def test_an_auxiliary_output_a_trunk_or_one_code_of_two_is_refused(make):
    with pytest.raises(ModelError, match=r"latents of \w+ can't be found: .*encode=lambda m, x: "):
        Explainer(cases.build(make), X, head="latent")


@pytest.mark.parametrize(
    "function",
    [
        lambda r: (r.sigmoid(), r),
        lambda r: {"probs": r.sigmoid(), "disp": r.exp()},
        lambda r: torch.stack([r, 2 * r], 1),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"source": "latent"}])
def test_a_decoder_does_not_choose_between_its_output_and_a_further_step(function, settings):
    class Steps(Base):
        def forward(self, rows):
            return function(self.rebuilt(rows))

    with pytest.raises(ModelError, match="reconstruction of Steps can't be found"):
        Explainer(cases.build(Steps), X, **settings)


class Conditioned(Sampling):
    def forward(self, rows, condition):
        reconstruction, mean, logvar = super().forward(rows)
        return reconstruction + condition, mean, logvar


def test_outputs_of_a_function_that_was_given_are_read_too():
    model = cases.build(Conditioned)
    autoencoder = Autoencoder(model, reconstruct=lambda m, x: m(x, torch.ones(1).to(x)))
    with torch.no_grad():
        np.testing.assert_allclose(Explainer(autoencoder, X, head="latent").scores(X), model.code(X), rtol=1e-12)


@pytest.mark.parametrize("noise", ["mean", 3, lambda like, n, call: torch.ones_like(like)])
def test_the_evidence_is_taken_at_the_mean_of_the_noise(noise):
    model = cases.build(Sampling)
    autoencoder = Autoencoder(model, noise=noise)
    with torch.no_grad():
        np.testing.assert_allclose(Explainer(autoencoder, X, head="latent").scores(X), model.code(X), rtol=1e-12)


def test_explainers_of_one_autoencoder_do_not_change_each_other():
    model = cases.build(Sampling)
    autoencoder = Autoencoder(model)
    first = Explainer(autoencoder, X, head="latent")
    want, text = first.scores(X), str(autoencoder)
    with pytest.raises(ModelError):
        Explainer(autoencoder, X[:, :5])
    with pytest.raises(ModelError):
        Explainer(autoencoder, X, head=lambda model, rows: model.nothing(rows))
    Explainer(autoencoder, torch.zeros(3, 6), head="latent")
    np.testing.assert_array_equal(first.scores(X), want)
    assert str(autoencoder) == text


def test_decoders_that_write_into_their_input_leave_the_latents_alone():
    model = cases.build(Base)
    model.decoder = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 6)).double()
    autoencoder = Autoencoder(model)
    with torch.no_grad():
        latents = autoencoder.encode(X)
        before = latents.clone()
        autoencoder.decode(latents)
    assert torch.equal(latents, before)


def test_scripted_models_are_explained_or_refused():
    with warnings.catch_warnings(action="ignore"):  # deprecated by torch
        model = torch.jit.script(cases.build(Base).eval())
    with torch.no_grad():
        want = (model(X) - X).square().mean(dim=1)
    np.testing.assert_allclose(Explainer(model, X).scores(X), want, rtol=1e-12)
    with torch.no_grad():
        np.testing.assert_allclose(Explainer(model, X, head="latent").scores(X), cases.build(Base).code(X), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 20])
def test_rows_of_zeros_are_no_evidence_for_a_model_without_biases(n):
    class Plain(Base):
        def __init__(self):
            super().__init__()
            layers = {"encoder": (6, 3), "fc_mu": (3, 3), "decoder": (3, 6)}
            for name, sizes in layers.items():
                setattr(self, name, nn.Linear(*sizes, bias=False))

    model = cases.build(Plain)
    with pytest.raises(ModelError, match="latents of Plain can't be found"):
        Explainer(model, torch.zeros(n, 6), head="latent")
    with torch.no_grad():
        np.testing.assert_allclose(Explainer(model, X, head="latent").scores(X), model.code(X), rtol=1e-12)


def test_the_noise_of_an_autoencoder_stays_settled_when_a_later_explainer_sees_no_noise():
    """Where the deviation is zero, the model is not random, and nothing has to be replaced."""

    class Gated(Base):
        def forward(self, rows):
            code = self.code(rows)
            deviation = (rows[:, :1] < 50).to(rows)
            return self.decoder(code + deviation * torch.randn_like(code))

    autoencoder = Autoencoder(cases.build(Gated).eval())
    Explainer(autoencoder, X)
    want = autoencoder.reconstruct(X)
    Explainer(autoencoder, X + 100)
    assert torch.equal(autoencoder.reconstruct(X), want)
