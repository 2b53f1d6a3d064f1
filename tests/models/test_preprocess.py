"""An affine map in front of the model, so that values refer to the original columns."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import preprocessing
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from torch import nn

from shapae import Autoencoder, Explainer
from shapae.errors import ModelError, ShapeError
from tests import cases

MEAN, SCALE = np.array([3, -200, 0, 1e4, 0.5, -7]), np.array([1, 50, 0.01, 1e3, -2, 4])
RAW = cases.table(40) * SCALE + MEAN
FRAME = pd.DataFrame(RAW, columns=list("abcdef"))


class Log(nn.Module):
    def forward(self, rows):
        return torch.log1p(rows.abs())


AFFINE = {
    "standard": preprocessing.StandardScaler(),
    "without mean": preprocessing.StandardScaler(with_mean=False),
    "min-max": preprocessing.MinMaxScaler((-1, 1)),
    "robust": preprocessing.RobustScaler(),
    "max-abs": preprocessing.MaxAbsScaler(),
    "two of them": make_pipeline(preprocessing.StandardScaler(), preprocessing.MinMaxScaler()),
}


@pytest.mark.parametrize("table", [RAW, FRAME], ids=["array", "frame"])
@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("kind", AFFINE)
def test_affine_transformers_become_a_module(kind, output, table, model):
    scaler = copy.deepcopy(AFFINE[kind]).set_output(transform=output).fit(table)
    target = Autoencoder(model, preprocess=scaler).target(torch.tensor(RAW))
    want = np.asarray(scaler.transform(table))
    np.testing.assert_allclose(target, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())


OTHERS = {
    "clipped": preprocessing.MinMaxScaler(clip=True),
    "blind": preprocessing.FunctionTransformer(np.zeros_like, validate=True),
    "mixing": PCA(whiten=True),
    "narrower": PCA(2),
    "by row": preprocessing.Normalizer(),
    "power": preprocessing.PowerTransformer(),
    "quantile": preprocessing.QuantileTransformer(n_quantiles=10),
    "steps": preprocessing.KBinsDiscretizer(encode="ordinal", quantile_method="averaged_inverted_cdf"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_transformers_are_refused(kind, model):
    scaler = OTHERS[kind].fit(RAW)
    message = rf"{type(scaler).__name__} is not a shift and a scale of each column .* as an nn\.Module, preprocess=m"
    with pytest.raises(ModelError, match=message):
        Autoencoder(model, preprocess=scaler)


def test_a_transformer_that_clips_far_from_zero_is_refused(model):
    wide = preprocessing.MinMaxScaler(clip=True).fit([[-1000] * 6, [1000] * 6])
    with pytest.raises(ModelError, match="MinMaxScaler is not a shift and a scale"):
        Autoencoder(model, preprocess=wide)


def test_a_transformer_that_is_not_fitted_is_refused(model):
    with pytest.raises(
        ModelError, match=r"StandardScaler is not fitted, .*\. Fit it, or give preprocess=\(mean, scale\)\."
    ):
        Autoencoder(model, preprocess=preprocessing.StandardScaler())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((MEAN, SCALE[:5]), r"two vectors of d finite numbers.*got shapes \(6,\) and \(5,\)"),
        ((MEAN, 0 * SCALE), r"scale not zero.*\. Use the scale 1 for a constant column\."),
        ((MEAN * np.nan, SCALE), "two vectors of d finite numbers"),
        ((RAW, RAW), r"two vectors .*got shapes \(40, 6\)"),
        (np.log1p, r"a pair \(mean, scale\), .*got ufunc\. Write it as an nn\.Module"),
        ((MEAN,), "got tuple"),
    ],
)
def test_a_pair_that_is_no_affine_map_is_refused(given, message, model):
    with pytest.raises(ModelError, match=message):
        Autoencoder(model, preprocess=given)


def test_rows_of_another_width_are_refused(model):
    with pytest.raises(ShapeError, match=r"preprocess is for 6 columns, got rows of shape \(2, 3\)"):
        Autoencoder(model, preprocess=(MEAN, SCALE)).target(torch.zeros(2, 3))


@pytest.mark.parametrize("head", ["reconstruction_error", "feature_error", "reconstruction", "latent"])
@pytest.mark.parametrize("backend", ["deep", "exact", "shap_deep"])
def test_values_equal_the_values_of_scaled_rows(head, backend, model, rows, background):
    """Scaling a column does not change the coalitions of the game."""
    want = Explainer(model, background, head=head, backend=backend)(rows)
    autoencoder = Autoencoder(model, preprocess=(MEAN, SCALE))
    got = Explainer(autoencoder, background * SCALE + MEAN, head=head, backend=backend)(rows * SCALE + MEAN)
    np.testing.assert_allclose(got.values, want.values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.scores, want.scores, rtol=1e-9)


def test_errors_are_in_the_units_of_the_model(model):
    autoencoder, raw = Autoencoder(model, preprocess=(MEAN, SCALE)), torch.tensor(RAW)
    scaled = (raw - torch.tensor(MEAN)) / torch.tensor(SCALE)
    torch.testing.assert_close(autoencoder.target(raw), scaled)
    torch.testing.assert_close(autoencoder.reconstruct(raw), model(scaled))
    torch.testing.assert_close(autoencoder.encode(raw), model.encoder(scaled))
    assert torch.equal(autoencoder.decode(model.encoder(scaled)), model.decoder(model.encoder(scaled)))


def test_without_preprocessing_the_target_is_the_rows_themselves(model):
    rows = torch.tensor(RAW)
    assert Autoencoder(model).target(rows) is rows


def test_a_module_is_used_unchanged(model):
    rows = torch.tensor(RAW)
    autoencoder = Autoencoder(model, preprocess=Log())
    assert torch.equal(autoencoder.target(rows), torch.log1p(rows.abs()))
    assert torch.equal(autoencoder.reconstruct(rows), model(torch.log1p(rows.abs())))


@pytest.mark.parametrize(
    ("dtype", "held"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_preprocessing_has_the_dtype_of_the_model_but_at_least_single_precision(dtype, held):
    autoencoder = Autoencoder(cases.build(cases.Question, dtype=dtype), preprocess=(MEAN, SCALE))
    assert autoencoder.preprocess.mean.dtype == held
    explanation = Explainer(autoencoder, RAW[:7])(RAW[7:10])
    spread = np.ptp(explanation.scores)
    assert np.abs(explanation.residual).max() <= (1e-12 if held == torch.float64 else 1e-5) * spread


def test_the_model_is_not_changed(model):
    before = cases.snapshot(model)
    Explainer(Autoencoder(model, preprocess=(MEAN, SCALE)), RAW[:7])(RAW[7:10])
    assert cases.snapshot(model) == before
