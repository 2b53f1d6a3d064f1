"""An affine map in front of the model, so that values refer to the original columns."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from torch import nn

import shapae
from shapae import Autoencoder, Explainer, rank_features
from shapae.errors import DataError, ModelError, ShapeError
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
    "nested": make_pipeline(
        preprocessing.RobustScaler(), make_pipeline(preprocessing.StandardScaler(), preprocessing.MaxAbsScaler())
    ),
    "passed through": Pipeline([("first", "passthrough"), ("scale", preprocessing.StandardScaler()), ("last", None)]),
    "by parts": ColumnTransformer([
        ("left", preprocessing.StandardScaler(), [0, 1, 2]),
        ("middle", preprocessing.MaxAbsScaler(), [3]),
        ("right", preprocessing.RobustScaler(), [4, 5]),
    ]),
    "with the rest": ColumnTransformer([("left", preprocessing.StandardScaler(), [0, 1])], remainder="passthrough"),
    "nothing selected": make_pipeline(VarianceThreshold(), preprocessing.StandardScaler()),
}


@pytest.mark.parametrize("table", [RAW, FRAME], ids=["array", "frame"])
@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("kind", AFFINE)
def test_affine_transformers_become_a_module(kind, output, table, model):
    scaler = copy.deepcopy(AFFINE[kind]).set_output(transform=output).fit(table)
    target = Autoencoder(model, preprocess=scaler).target(torch.tensor(RAW))
    want = np.asarray(scaler.transform(table))
    np.testing.assert_allclose(target, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())


# The way back, to the units of the table

INVERTIBLE = {
    **{kind: AFFINE[kind] for kind in ("standard", "without mean", "min-max", "robust", "max-abs", "two of them")},
    "nested": make_pipeline(preprocessing.RobustScaler(), make_pipeline(preprocessing.StandardScaler())),
}


@pytest.mark.parametrize("table", [RAW, FRAME], ids=["array", "frame"])
@pytest.mark.parametrize("kind", INVERTIBLE)
def test_rows_in_the_units_of_the_table_match_inverse_transform(kind, table, model):
    scaler = copy.deepcopy(INVERTIBLE[kind]).fit(table)
    scaled = cases.table(9, seed=5)
    got = Autoencoder(model, preprocess=scaler).in_table_units(torch.tensor(scaled))
    np.testing.assert_allclose(got, scaler.inverse_transform(scaled), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", AFFINE)
def test_preprocessed_rows_come_back_as_the_rows_of_the_table(kind, model):
    autoencoder = Autoencoder(model, preprocess=copy.deepcopy(AFFINE[kind]).fit(RAW))
    back = autoencoder.in_table_units(autoencoder.target(torch.tensor(RAW)))
    np.testing.assert_allclose(back, RAW, rtol=1e-9, atol=1e-9 * np.abs(RAW).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_rows_in_the_units_of_the_table_keep_their_dtype(dtype, model):
    scaled = torch.tensor(cases.table(9, seed=5)).to(dtype)
    got = Autoencoder(model, preprocess=(MEAN, SCALE)).in_table_units(scaled)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, scaled.double().numpy() * SCALE + MEAN, rtol=4 * torch.finfo(dtype).eps, atol=0.1)


@pytest.mark.parametrize("preprocess", [None, nn.Identity()])
def test_without_preprocessing_the_units_of_the_table_are_those_of_the_model(preprocess, model):
    rows = torch.tensor(RAW)
    assert Autoencoder(model, preprocess=preprocess).in_table_units(rows) is rows


class Exp(nn.Module):
    """A module that can be undone."""

    def forward(self, rows):
        return rows.exp()

    def inverse(self, rows):
        return rows.log()


def test_a_module_is_undone_by_its_method_inverse_only(model):
    rows = torch.tensor(RAW).abs() + 1
    assert torch.equal(Autoencoder(model, preprocess=Exp()).in_table_units(rows), rows.log())
    assert Autoencoder(model, preprocess=Log()).in_table_units(rows) is None
    assert Autoencoder(model, preprocess=nn.Sequential(Exp())).in_table_units(rows) is None


@pytest.mark.parametrize(
    ("output", "got"), [(lambda rows: (rows, rows.sum(1)), "tuple"), (lambda rows: rows[:, :2], r"\(40, 2\)")]
)
def test_a_method_inverse_that_does_something_else_is_refused(output, got, model):
    module = Exp()
    module.inverse = output
    message = rf"Exp\.inverse, of preprocess=, must return rows of shape \(40, 6\), got {got}\. Rename the method"
    with pytest.raises(ShapeError, match=message):
        Autoencoder(model, preprocess=module).in_table_units(torch.tensor(RAW))


# Objects that are not of scikit-learn


class Tripled:
    """A transformer that is not of scikit-learn."""

    n_features_in_ = 6

    def __init__(self, output):
        self.output = output

    def transform(self, rows):
        rows *= 3
        return self.output(rows)


OUTPUTS = {
    "array": np.asarray,
    "single precision": lambda rows: rows.astype(np.float32),
    "frame": pd.DataFrame,
    "sparse": sparse.csr_matrix,
    "lists": np.ndarray.tolist,
    "tensor": lambda rows: torch.tensor(rows, requires_grad=True),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_any_object_with_an_affine_transform_becomes_a_module(kind, model):
    target = Autoencoder(model, preprocess=Tripled(OUTPUTS[kind])).target(torch.tensor(RAW))
    np.testing.assert_allclose(target, 3 * RAW, rtol=1e-6)


def test_an_affine_function_becomes_a_module(model):
    scaler = make_pipeline(preprocessing.FunctionTransformer(lambda rows: 3 * rows - 7), scale()).fit(RAW)
    target = Autoencoder(model, preprocess=scaler).target(torch.tensor(RAW))
    np.testing.assert_allclose(target, scaler.transform(RAW), rtol=1e-9, atol=1e-9)


FAR = {"times": (1.7e18, 1e15), "a large mean": (1e9, 1), "a small scale": (0, 1e-12), "a large scale": (-3, 1e12)}


@pytest.mark.parametrize("kind", FAR)
def test_columns_of_any_size_are_scaled_as_by_the_transformer(kind, model):
    mean, scale = FAR[kind]
    table = cases.table(40) * scale + mean
    scaler = make_pipeline(preprocessing.StandardScaler(), preprocessing.MinMaxScaler()).fit(table)
    target = Autoencoder(model, preprocess=scaler).target(torch.tensor(table))
    np.testing.assert_allclose(target, scaler.transform(table), rtol=0, atol=1e-6)


def test_a_scaler_of_many_columns_becomes_a_module():
    table = np.random.default_rng(0).normal(size=(3, 30_000))
    scaler = preprocessing.StandardScaler().fit(table)
    target = Autoencoder(nn.Identity(), preprocess=scaler).target(torch.tensor(table))
    np.testing.assert_allclose(target, scaler.transform(table), atol=1e-4)


OTHERS = {
    "clipped": preprocessing.MinMaxScaler(clip=True),
    "blind": preprocessing.FunctionTransformer(np.zeros_like, validate=True),
    "mixing": PCA(whiten=True),
    "narrower": PCA(2),
    "by row": preprocessing.Normalizer(),
    "power": preprocessing.PowerTransformer(),
    "quantile": preprocessing.QuantileTransformer(n_quantiles=10),
    "steps": preprocessing.KBinsDiscretizer(encode="ordinal", quantile_method="averaged_inverted_cdf"),
    "products": preprocessing.PolynomialFeatures(2),
    "categories": preprocessing.OneHotEncoder(),
    "unknown categories": preprocessing.OneHotEncoder(handle_unknown="ignore"),
    "codes": preprocessing.OrdinalEncoder(),
    "above zero": preprocessing.Binarizer(),
    "splines": preprocessing.SplineTransformer(),
    "few of them": VarianceThreshold(1),
    "side by side": FeatureUnion([("a", preprocessing.StandardScaler()), ("b", preprocessing.MinMaxScaler())]),
    "in another order": ColumnTransformer([("all", preprocessing.StandardScaler(), [5, 1, 2, 3, 4, 0])]),
    "dropped": ColumnTransformer([("all", preprocessing.StandardScaler(), [0, 1, 2])]),
    "by the whole batch": preprocessing.FunctionTransformer(lambda rows: rows - rows.mean(axis=0)),
    "rounded": preprocessing.FunctionTransformer(np.round),
    "logarithm": preprocessing.FunctionTransformer(np.log1p),
    "an error": preprocessing.FunctionTransformer(lambda rows: 1 / 0 if (rows > 1e6).any() else rows, validate=True),
    "text": preprocessing.FunctionTransformer(lambda rows: np.full(rows.shape, "x"), validate=True),
    "nothing": preprocessing.FunctionTransformer(lambda rows: None, validate=True),
    "a sentinel": preprocessing.FunctionTransformer(lambda rows: np.where(rows == -999, 0, rows)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_transformers_are_refused(kind, model):
    scaler = OTHERS[kind].fit(RAW)
    message = (
        rf"the {type(scaler).__name__} is not a shift and a scale of each column .*\. Transform the table first: X = "
        rf"transformer\.transform\(X\); Autoencoder\(model\)\. .* as an nn\.Module, preprocess=m"
    )
    with pytest.raises(ModelError, match=message):
        Autoencoder(model, preprocess=scaler)


def test_transformers_of_labels_are_refused(model):
    labels = RAW[:, 0] > 3
    for scaler in (SelectKBest(k=2).fit(RAW, labels), preprocessing.TargetEncoder(cv=2).fit(RAW.round(), labels)):
        with pytest.raises(ModelError, match=f"the {type(scaler).__name__} is not a shift and a scale"):
            Autoencoder(model, preprocess=scaler)


HOLES = np.where(cases.table(40, seed=5) > 1, np.nan, RAW)
CATEGORIES = FRAME.assign(city=["Rome", "Bonn"] * 20)
scale = preprocessing.StandardScaler
STEPS = {
    "imputer": (
        make_pipeline(SimpleImputer(), scale()).fit(HOLES),
        r"the step 'simpleimputer' \(SimpleImputer\) of the Pipeline fills in missing values, .*first: "
        r"X = pipeline\[:1\]\.transform\(X\); Autoencoder\(model, preprocess=pipeline\[1:\]\)\.",
    ),
    "imputer at the end": (
        make_pipeline(scale(), KNNImputer()).fit(HOLES),
        r"step 'knnimputer' \(KNNImputer\) .*fills in .*X = pipeline\[:2\]\.transform\(X\); Autoencoder\(model\)\.",
    ),
    "imputer alone": (SimpleImputer().fit(HOLES), r"the SimpleImputer fills in missing values, .*transformer\.trans"),
    "imputer of other numbers": (SimpleImputer(missing_values=-5).fit(RAW), "the SimpleImputer fills in missing"),
    "imputer that adds columns": (
        make_pipeline(SimpleImputer(add_indicator=True), scale()).fit(HOLES),
        "the step 'simpleimputer' .* fills in missing",
    ),
    "function that fills in": (
        make_pipeline(scale(), preprocessing.FunctionTransformer(np.nan_to_num)).fit(RAW),
        r"the step 'functiontransformer' \(FunctionTransformer\) of the Pipeline fills in missing",
    ),
    "nested": (
        make_pipeline(scale(), make_pipeline(SimpleImputer(), scale()), scale()).fit(HOLES),
        r"step 'simpleimputer' \(SimpleImputer\) of the step 'pipeline' \(Pipeline\) of the Pipeline fills in .*"
        r"X = pipeline\[:2\]\.transform\(X\); Autoencoder\(model, preprocess=pipeline\[2:\]\)\.",
    ),
    "part": (
        ColumnTransformer([("numbers", scale(), ["a"]), ("text", preprocessing.OneHotEncoder(), ["city"])]).fit(
            CATEGORIES
        ),
        r"the part 'text' \(OneHotEncoder\) of the ColumnTransformer is not a shift .*raised TypeError: .*transformer",
    ),
    "part of a step": (
        make_pipeline(
            ColumnTransformer([("all", make_pipeline(SimpleImputer(), scale()), list("abcdef"))]), scale()
        ).fit(FRAME),
        r"step 'simpleimputer' \(SimpleImputer\) of the part 'all' \(Pipeline\) of the step 'columntransformer' "
        r"\(ColumnTransformer\) of the Pipeline fills in .*pipeline\[:1\]",
    ),
    "union": (
        FeatureUnion([("a", scale()), ("b", PCA(2))]).fit(RAW),
        r"the part 'b' \(PCA\) of the FeatureUnion is not a shift .*it returns 2 columns for 6",
    ),
    "predictor": (
        make_pipeline(scale(), LinearRegression()).fit(RAW, RAW[:, 0]),
        r"the step 'linearregression' \(LinearRegression\) of the Pipeline is not .*no attribute 'transform'",
    ),
    "unfitted": (make_pipeline(scale()), r"the step 'standardscaler' \(StandardScaler\) of the Pipeline is not fitted"),
    "unfitted at the end": (
        Pipeline([("a", scale().fit(RAW)), ("b", preprocessing.MinMaxScaler())]),
        r"the step 'b' \(MinMaxScaler\) of the Pipeline is not fitted\. Fit it",
    ),
    "no steps": (Pipeline([("a", "passthrough")]), r"the Pipeline has no steps\. Leave preprocess= out\."),
    "class": (scale, "the StandardScaler is not fitted"),
}


@pytest.mark.parametrize("kind", STEPS)
def test_the_step_at_fault_is_named(kind, model):
    transformer, message = STEPS[kind]
    with pytest.raises(ModelError, match=message):
        Autoencoder(model, preprocess=transformer)


def test_the_advice_about_an_imputer_works(model):
    pipeline = make_pipeline(SimpleImputer(), scale()).fit(HOLES)
    X = pipeline[:1].transform(HOLES)
    got = Explainer(Autoencoder(model, preprocess=pipeline[1:]), X[:7])(X[7:])
    scaled = pipeline.transform(HOLES)
    np.testing.assert_allclose(got.values, Explainer(model, scaled[:7])(scaled[7:]).values, rtol=1e-6, atol=1e-9)


def test_a_transformer_is_not_changed(model):
    scaler = make_pipeline(scale(copy=False), preprocessing.MinMaxScaler(copy=False)).fit(RAW.copy())
    before = copy.deepcopy(scaler)
    target = Autoencoder(model, preprocess=scaler).target(torch.tensor(RAW))
    np.testing.assert_allclose(target, before.transform(RAW.copy()), rtol=1e-9, atol=1e-9)
    for step, other in zip(scaler, before, strict=True):
        assert {name: str(each) for name, each in vars(step).items()} == {
            name: str(each) for name, each in vars(other).items()
        }


# Names of columns

NAMED = {
    "scaler": lambda: scale().fit(FRAME),
    "pipeline": lambda: make_pipeline(preprocessing.RobustScaler(), scale()).fit(FRAME),
    "nested": lambda: make_pipeline(make_pipeline(scale()), scale()).fit(FRAME),
    "pair": lambda: (FRAME.mean(), FRAME.std()),
}


@pytest.mark.parametrize("kind", NAMED)
def test_columns_in_another_order_than_those_of_the_preprocessing_are_refused(kind, model):
    autoencoder = Autoencoder(model, preprocess=NAMED[kind]())
    want = Explainer(autoencoder, RAW[:7])(RAW[7:10])
    np.testing.assert_array_equal(Explainer(autoencoder, FRAME[:7])(FRAME[7:10]).values, want.values)
    X = FRAME[list("bacdef")]
    with pytest.raises(DataError, match=r"compared with the columns of preprocess=, .*columns b, a moved") as caught:
        Explainer(autoencoder, X)
    advice = str(caught.value).partition("Select them as ")[2].partition(",")[0]
    X = eval(advice, {"X": X, "autoencoder": autoencoder})
    np.testing.assert_array_equal(Explainer(autoencoder, X[:7])(X[7:10]).values, want.values)
    with pytest.raises(DataError, match=r"columns of the rows, compared with the columns of preprocess=, are without"):
        rank_features(autoencoder, FRAME.rename(columns={"b": "z"}), methods=["permutation"])
    with pytest.raises(DataError, match=r"are without column b and with unexpected column z\."):
        Explainer(autoencoder, FRAME.rename(columns={"b": "z"}))


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
        (np.log1p, r"a pair \(mean, scale\), .*got ufunc\. Write it as a module"),
        ((MEAN,), "got tuple"),
        ((["a"] * 6, SCALE), "two vectors of d finite numbers, got list: could not convert"),
        ((preprocessing.StandardScaler(), preprocessing.MinMaxScaler()), r"got StandardScaler: .*make_pipeline\(first"),
        (FRAME, "a pair .*got DataFrame"),
        (FRAME.std(), "a pair .*got Series"),
        ((FRAME.mean(), FRAME.std()[::-1]), r"other names in mean than in scale, .*scale\.loc\[mean\.index\]"),
    ],
)
def test_a_pair_that_is_no_affine_map_is_refused(given, message, model):
    with pytest.raises(ModelError, match=message):
        Autoencoder(model, preprocess=given)


def test_a_pair_of_tensors_is_an_affine_map(model):
    pair = torch.tensor(MEAN, requires_grad=True), nn.Parameter(torch.tensor(SCALE))
    target = Autoencoder(model, preprocess=pair).target(torch.tensor(RAW))
    np.testing.assert_allclose(target, (RAW - MEAN) / SCALE, rtol=1e-12)


def test_rows_of_another_width_are_refused(model):
    autoencoder = Autoencoder(model, preprocess=(MEAN, SCALE))
    for use in (autoencoder.target, autoencoder.in_table_units):
        with pytest.raises(ShapeError, match=r"preprocess is for 6 columns, got rows of shape \(2, 3\)"):
            use(torch.zeros(2, 3))


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


@pytest.mark.parametrize("function", [np.log1p, torch.log1p])
def test_a_function_is_refused_with_the_module_that_does_it(function, model):
    with pytest.raises(ModelError, match="Write it as a module") as refused:
        Autoencoder(model, preprocess=function)
    code = re.search(r"preprocess=(.*)\.$", str(refused.value))[1]
    rows = torch.tensor(RAW).abs()
    autoencoder = Autoencoder(model, preprocess=eval(code, {"shapae": shapae, "torch": torch}))
    assert torch.equal(autoencoder.target(rows), torch.log1p(rows))
    with pytest.raises(ModelError, match=r"Write it as an nn\.Module\.$"):
        Autoencoder(model, preprocess=lambda rows: rows)


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


def test_a_transformer_that_also_fills_in_and_encodes_is_refused_with_the_way_to_keep_the_units():
    """The way of the message: one transformer fills in and encodes, another one scales."""
    fills = make_pipeline(SimpleImputer(), preprocessing.StandardScaler())
    table = FRAME.mask(np.eye(*FRAME.shape) == 1).assign(kind=[*"xyzx"] * 10)
    encoder, names = preprocessing.OneHotEncoder(sparse_output=False), [*FRAME.columns]
    one = ColumnTransformer([("numbers", fills, names), ("kinds", encoder, ["kind"])]).fit(table)
    with pytest.raises(ModelError, match=r"'simpleimputer' .* units of the table, .*\(model, preprocess=scaler\)\. Or"):
        Autoencoder(nn.Linear(9, 9), preprocess=one)
    prepare = ColumnTransformer([("numbers", SimpleImputer(), names), ("kinds", encoder, ["kind"])])
    scaler = ColumnTransformer([("scale", preprocessing.StandardScaler(), slice(0, 6))], remainder="passthrough")
    ready = prepare.fit_transform(table)
    want = one.transform(table)
    np.testing.assert_allclose(scaler.fit(ready).transform(ready), want, atol=1e-12)
    autoencoder = Autoencoder(nn.Linear(9, 9).double(), preprocess=scaler)
    np.testing.assert_allclose(autoencoder.target(torch.tensor(ready)), want, atol=1e-9)


@pytest.mark.parametrize(
    ("preprocess", "lines"),
    [
        (None, []),
        ((MEAN, SCALE), ["  preprocess: a shift and a scale of each column"]),
        (preprocessing.StandardScaler().fit(FRAME), ["  preprocess: a shift and a scale of each column"]),
        (Log(), ["  preprocess: Log"]),
    ],
    ids=["none", "pair", "scaler", "module"],
)
def test_preprocessing_is_named_in_the_text_form(preprocess, lines, model):
    autoencoder = Autoencoder(model, preprocess=preprocess)
    for each in (autoencoder, Explainer(autoencoder, FRAME)):
        assert [line for line in repr(each).splitlines() if "preprocess" in line] == lines
