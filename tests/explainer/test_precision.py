"""Models of several dtypes in an Explainer: their values are those of the same model in float64."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import shapae
from shapae import Explainer, backends
from shapae.errors import ModelError
from tests import cases

MEAN, SCALE = cases.table(1, seed=8)[0], np.exp(cases.table(1, seed=9)[0] / 2)
OWN = ("deep", "exact", "gradient", "sampling")


class Mixed(cases.Question):
    """A network in float32, with a scaler in float64; ``narrow`` is replaced where all is computed in float64."""

    narrow = staticmethod(torch.Tensor.float)

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.encoder[1], self.decoder[1] = nn.Tanh(), nn.Tanh()  # no unit is dead
        self.register_buffer("mean", torch.tensor(MEAN, dtype=dtype))
        self.register_buffer("scale", torch.tensor(SCALE, dtype=dtype))
        self.wide = nn.Linear(cases.D, cases.D).double().requires_grad_(False)

    def network(self, rows):
        return super().forward(rows)


class ScalerInFront(Mixed):
    def forward(self, rows):
        return self.network(self.narrow((rows - self.mean) / self.scale))


class ThereAndBack(Mixed):
    def forward(self, rows):
        return self.network(self.narrow((rows - self.mean) / self.scale)) * self.scale + self.mean


class DoubleResult(Mixed):
    def forward(self, rows):
        return self.network(rows).double()


class FloatResult(Mixed):
    def forward(self, rows):
        return self.network(self.narrow(self.wide(rows.double())))


class WideParameterFirst(Mixed):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(SCALE))  # before those of the layers

    def forward(self, rows):
        return self.network(rows) * self.gain


class WideLayer(Mixed):
    """Takes rows in float64 only, although most of its parameters are in float32."""

    def forward(self, rows):
        return self.network(self.narrow(self.wide(rows)))


class WideEmbedding(Mixed):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(200, cases.D).double().requires_grad_(False)  # most of the numbers

    def forward(self, rows):
        return self.network(rows + self.narrow(self.embedding(torch.ones(len(rows), dtype=torch.long))))


class HalfBuffers(Mixed):
    def __init__(self):
        super().__init__(torch.float16)

    def forward(self, rows):
        return self.network((rows - self.mean) / self.scale)


class HalfBuffersOfAWideNetwork(HalfBuffers):
    def __init__(self):
        super().__init__()
        self.encoder.double()
        self.decoder.double()


class OrderOfColumns(Mixed):
    def forward(self, rows):
        return self.network(rows[:, self.get_buffer("order")]).double()

    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.arange(cases.D).flip(0))


class NarrowMiddle(Mixed):
    def __init__(self):
        super().__init__()
        self.encoder.double()

    def forward(self, rows):
        return self.decoder(self.narrow(self.encoder(rows.double()))).double()


class Bfloat16Part(Mixed):
    """Casts to bfloat16 by itself, so that no copy in float32 can be run."""

    def __init__(self):
        super().__init__()
        self.encoder.bfloat16()

    def forward(self, rows):
        half = torch.Tensor.bfloat16 if self.narrow is torch.Tensor.float else torch.Tensor.double
        return self.decoder(self.narrow(self.encoder(half(rows))))


class Autocast(Mixed):
    def forward(self, rows):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.narrow is torch.Tensor.float):
            return self.network(rows)


# From models to the relative precision of their values.
MIXED = {
    **dict.fromkeys((ScalerInFront, ThereAndBack, DoubleResult, FloatResult, WideParameterFirst, WideLayer), 1e-4),
    **dict.fromkeys((WideEmbedding, HalfBuffers, OrderOfColumns, NarrowMiddle), 1e-4),
    HalfBuffersOfAWideNetwork: 1e-10,
    **dict.fromkeys((Bfloat16Part, Autocast), 5e-2),
}
every_model = pytest.mark.parametrize("make", MIXED, ids=lambda make: make.__name__)


def mixed(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def in_float64(model):
    twin = copy.deepcopy(model).double()
    twin.narrow = torch.Tensor.double
    return twin


def assert_near(got, want, precision):
    np.testing.assert_allclose(got, want, rtol=0, atol=precision * np.abs(want).max())


@every_model
@pytest.mark.parametrize("backend", OWN)
def test_a_model_of_several_dtypes_has_the_values_of_the_model_in_float64(make, backend, rows, background):
    model = mixed(make)
    got, want = (Explainer(each, background, backend=backend)(rows) for each in (model, in_float64(model)))
    assert_near(got.values, want.values, MIXED[make])
    assert_near(got.scores, want.scores, MIXED[make])


@pytest.mark.parametrize("make", [ThereAndBack, WideLayer, Autocast])
@pytest.mark.parametrize("backend", sorted({*backends.names()} - {*OWN}))
def test_backends_of_other_libraries_take_a_model_of_several_dtypes(make, backend, rows, background, monkeypatch):
    kind = type(backends.named(backend))
    monkeypatch.setattr(kind, "n_samples", min(kind.n_samples, 40))
    model = mixed(make)
    got, want = (Explainer(each, background, backend=backend)(rows).values for each in (model, in_float64(model)))
    assert_near(got, want, 10 * MIXED[make])


@every_model
@pytest.mark.parametrize("head", ["feature_error", "latent", "label_free"])
def test_values_add_up_for_each_head_of_a_model_of_several_dtypes(make, head, rows, background):
    model = mixed(make)
    if make in (ThereAndBack, ScalerInFront, NarrowMiddle, Bfloat16Part):  # their encoders take scaled or cast rows
        model = shapae.Autoencoder(model, encode=lambda m, x: m(x)[:, :2])
    got = Explainer(model, background, head=head)(rows)
    room = max(1e-4, MIXED[make]) * np.abs(got.scores).max()
    np.testing.assert_allclose(got.scores - got.base_values - got.values.sum(axis=1), 0, atol=room)


@every_model
def test_a_result_has_one_dtype_that_in_which_the_model_takes_rows(make, rows, background):
    got = Explainer(mixed(make), background, backend="exact")(rows)
    wide = (WideLayer, NarrowMiddle, HalfBuffersOfAWideNetwork)  # they refuse float32, or most of them is in float64
    want = np.float64 if make in wide else np.float32
    arrays = got.values, got.scores, got.base_values, got.data, got.residual, got.standard_errors
    assert {array.dtype for array in arrays} == {np.dtype(want)}


@every_model
def test_a_model_of_several_dtypes_comes_back_as_it_went_in(make, rows, background):
    model = mixed(make)
    before = copy.deepcopy(model.state_dict())
    Explainer(model, background)(rows)
    after = model.state_dict()
    assert {name: each.dtype for name, each in after.items()} == {name: each.dtype for name, each in before.items()}
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_averages_of_a_model_of_several_dtypes_add_up(rows, background):
    model = mixed(ThereAndBack)
    got, want = (Explainer(each, background).summarize(rows).table for each in (model, in_float64(model)))
    pd.testing.assert_frame_equal(got, want, rtol=1e-3, check_dtype=False)


def test_features_are_ranked_for_a_model_of_several_dtypes(background):
    model, methods = mixed(ThereAndBack), ["permutation", "weights"]
    got, want = (shapae.rank_features(each, background, methods=methods).table for each in (model, in_float64(model)))
    pd.testing.assert_frame_equal(got, want, rtol=1e-3, check_dtype=False)


@pytest.mark.parametrize("make", [ThereAndBack, WideLayer, Autocast])
def test_a_score_takes_rows_in_the_dtype_of_the_model(make, rows):
    model = mixed(make)
    got = shapae.score(model, rows).predict(rows)
    assert_near(got, shapae.score(in_float64(model), rows).predict(rows), MIXED[make])


def test_another_head_of_the_same_explainer_takes_the_same_rows(rows, background):
    explainer = Explainer(mixed(WideLayer), background)
    got = explainer.with_head("reconstruction")
    assert got.background.dtype == torch.float64
    want = Explainer(in_float64(mixed(WideLayer)), background, head="reconstruction")(rows)
    assert_near(got(rows).values, want.values, 1e-4)


def double_head(autoencoder, rows):
    return (autoencoder.reconstruct(rows).double() - rows).square().sum(dim=1)


@pytest.mark.parametrize("backend", OWN)
def test_a_head_may_return_another_dtype_than_the_model(backend, rows, background):
    model = cases.build(cases.Question, dtype=torch.float32)
    got = Explainer(model, background, head=double_head, backend=backend)(rows)
    want = Explainer(model.double(), background, head=double_head, backend=backend)(rows)
    assert_near(got.values, want.values, 1e-4)
    assert got.values.dtype == np.float32


MIXING = {
    "float32 behind a scaler": (ThereAndBack, 0.01),
    "rows in float64": (WideLayer, 0.01),
    "bfloat16 in a part": (Bfloat16Part, 0.03),  # as much as bfloat16 rounds
    "bfloat16 by autocast": (Autocast, 0.03),
}


@pytest.mark.parametrize("kind", MIXING)
@pytest.mark.parametrize("shift", ["the mean", "its neighbour"])
def test_a_model_that_mixes_rows_is_refused_in_each_precision(kind, shift, rows, background):
    make, part = MIXING[kind]

    class Mixing(make):
        def forward(self, rows):
            result = super().forward(rows)
            other = result.mean(dim=0) if shift == "the mean" else result.roll(1, dims=0)
            return result - part * other

    with pytest.raises(ModelError, match="mixes rows: a row alone has another score than in a batch"):
        Explainer(mixed(Mixing), background, head="reconstruction")(rows)


class Refusing(Mixed):
    """Runs for rows of no dtype."""

    def forward(self, rows):
        return self.network((rows - self.mean) / self.scale)


@pytest.mark.parametrize("backend", OWN)
def test_dtypes_that_do_not_fit_are_named_with_the_ways_out(backend, background):
    message = (
        r"dtypes that do not fit: mat1 and mat2 must have the same dtype, but got Double and Float\. Rows of "
        r"torch\.float32 and of torch\.float64 were tried; the model has torch\.float32 tensors model\.encoder\.0\.w"
        r".* and torch\.float64 tensors .*model\.mean, model\.scale\. Give all tensors one dtype, model\.float\(\), or"
    )
    with pytest.raises(ModelError, match=message):
        Explainer(mixed(Refusing), background, backend=backend)
    Explainer(mixed(Refusing).float(), background, backend=backend)  # the remedy


class Strict(Mixed):
    def forward(self, rows):
        assert rows.dtype == torch.float64
        return self.network(rows.float())


def test_a_model_may_insist_on_a_dtype(rows, background):
    assert Explainer(mixed(Strict), background)(rows).values.dtype == np.float64


class Failing(Mixed):
    def forward(self, rows):
        raise KeyError("no such gene")


def test_errors_of_the_model_itself_are_shown(background):
    with pytest.raises(ModelError, match=r"forward gives KeyError \('no such gene'\)") as caught:
        Explainer(mixed(Failing), background)
    assert isinstance(caught.value.__cause__, KeyError)
