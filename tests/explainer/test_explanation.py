"""An explanation is a shap.Explanation whose parts stay in step."""

import copy
import pickle

import numpy as np
import pytest
import shap

from shapae import Explanation
from shapae.errors import DataError, UnknownName
from shapae.plots._results import single
from tests.explainer.explanations import (
    FEATURES,
    MASK,
    OUTPUTS,
    SLICES,
    D,
    K,
    N,
    assert_same,
    explanation,
    plain,
    several,
)


def test_the_residual_is_what_the_values_miss(whole):
    want = whole.scores - whole.base_values - whole.values.sum(axis=1)
    np.testing.assert_array_equal(whole.residual, want)
    assert whole.residual.shape == whole.scores.shape
    assert whole.output_dims == plain(whole).output_dims
    assert isinstance(whole, shap.Explanation)


# Indexing: an index of rows, features and outputs slices all parts alike

ROWS = {"row": 2, "last row": -1, "rows": slice(1, 6, 2), "mask": MASK, "list": [5, 0, 3], "array": np.array([4, 1])}
COLUMNS = {"feature": 3, "features": slice(1, 4), "name": "遺伝子", "some features": [4, 0]}
OUTPUT = {"output": 1, "name": "β", "outputs": slice(0, 2), "some outputs": [2, 0]}
AXES = {"values": "rfk", "base_values": "rk", "data": "rf", "scores": "rk", "residual": "rk", "standard_errors": "rfk"}


def position(choice, names):
    return names.index(choice) if isinstance(choice, str) else choice


def taken(array, axes, chosen):
    """``array`` with axes as in "rfk", one choice after the other, the last axis first."""
    for axis in reversed(range(array.ndim)):
        array = array[(slice(None),) * axis + (chosen.get(axes[axis], slice(None)),)]
    return array


def assert_in_step(got, whole, rows=slice(None), columns=slice(None), outputs=slice(None)):
    chosen = {"r": rows, "f": position(columns, FEATURES), "k": position(outputs, OUTPUTS)}
    for name, axes in AXES.items():
        np.testing.assert_array_equal(getattr(got, name), taken(getattr(whole, name), axes, chosen), err_msg=name)
    np.testing.assert_array_equal(got.feature_names, np.array(FEATURES)[chosen["f"]])
    if whole.values.ndim == 3:
        np.testing.assert_array_equal(got.output_names, np.array(OUTPUTS)[chosen["k"]])
    else:
        assert got.output_names == whole.output_names
    assert type(got) is Explanation
    assert got.made_by == whole.made_by


@several
@pytest.mark.parametrize("rows", ROWS)
def test_rows_stay_in_step(k, rows):
    whole = explanation(k)
    assert_in_step(whole[ROWS[rows]], whole, rows=ROWS[rows])


@several
@pytest.mark.parametrize("columns", COLUMNS)
def test_features_stay_in_step(k, columns):
    whole = explanation(k)
    assert_in_step(whole[:, COLUMNS[columns]], whole, columns=COLUMNS[columns])


@pytest.mark.parametrize("outputs", OUTPUT)
@pytest.mark.parametrize("dots", [True, False])
def test_outputs_stay_in_step(outputs, dots):
    whole = explanation(K)
    index = (..., OUTPUT[outputs]) if dots else (slice(None), slice(None), OUTPUT[outputs])
    assert_in_step(whole[index], whole, outputs=OUTPUT[outputs])


@pytest.mark.parametrize("rows", ["row", "rows", "mask"])
@pytest.mark.parametrize("columns", ["feature", "features", "name"])
@pytest.mark.parametrize("outputs", ["output", "name", "outputs"])
def test_rows_features_and_outputs_stay_in_step(rows, columns, outputs):
    whole, index = explanation(K), (ROWS[rows], COLUMNS[columns], OUTPUT[outputs])
    assert_in_step(whole[index], whole, *index)
    assert_in_step(whole[index[0]][..., index[2]], whole, rows=index[0], outputs=index[2])


@pytest.mark.parametrize("index", [2, slice(1, 5), (slice(None), "CD79A"), (slice(None), slice(0, 2))])
def test_unknown_standard_errors_stay_unknown(index):
    assert explanation(errors=False)[index].standard_errors is None


def test_a_slice_leaves_the_whole_as_it_was(whole):
    before = copy.deepcopy(whole)
    part = whole[:3]
    part.values = part.values * 0
    assert_same(whole, before)


def test_the_rows_of_a_sample_stay_in_step(whole):
    drawn = np.random.RandomState(1).choice(N, size=4, replace=False)
    got = whole.sample(4, random_state=1)
    np.testing.assert_array_equal(got.values, whole.values[drawn])
    assert_same(got, whole[drawn])


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_taken_by_its_name(name):
    whole = explanation(K)
    assert_same(whole.output(name), whole[..., name])
    assert whole.output(name).output_names == name
    assert whole.output(name).values.shape == (N, D)


def test_the_only_output_is_the_whole():
    assert_same(explanation().output("reconstruction error"), explanation())
    assert explanation(1).output("latent 0").values.shape == (N, D)


def test_an_unknown_output_is_an_error_that_lists_the_known():
    with pytest.raises(UnknownName, match="no output is called 'latent 7'; there are: latent 0, β, two words"):
        explanation(K).output("latent 7")


def test_several_outputs_are_not_taken_for_interactions():
    assert single(explanation(), "draw").values.shape == (N, D)
    with pytest.raises(
        DataError, match=r"can't draw 3 outputs at once\. Choose one, .*explanation\.output\('latent 0'\)"
    ):
        single(explanation(K), "draw")


# Arithmetic

ARITHMETIC = {
    "abs": lambda e: e.abs,
    "mean": lambda e: e.mean(0),
    "abs mean": lambda e: e.abs.mean(0),
    "max": lambda e: e.max(0),
    "min": lambda e: e.min(0),
    "sum": lambda e: e.sum(1),
    "times": lambda e: e * 2,
    "times, from the left": lambda e: 2 * e,
    "plus": lambda e: e + 1,
    "plus another": lambda e: e + e,
    "minus another": lambda e: e - e,
    "divided": lambda e: e / 2,
    "argsort": lambda e: e.argsort,
    "flip": lambda e: e.flip,
    "percentile": lambda e: e.percentile(50, 0),
    "a part, then abs": lambda e: e[:4, 1:3].abs,
    "a row, then abs": lambda e: e[0].abs,
    "a feature, then times": lambda e: e[:, 1] * 2,
    "largest first": lambda e: e.abs.mean(0).argsort.flip,
}


@several
@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("errors", [True, False])
def test_arithmetic_gives_what_it_gives_on_a_plain_explanation(k, name, errors):
    whole = explanation(k, errors=errors)
    before = copy.deepcopy(whole)
    got, want = ARITHMETIC[name](whole), ARITHMETIC[name](plain(whole))
    assert isinstance(got, shap.Explanation)
    assert not isinstance(got, Explanation)
    for part in ("values", "base_values", "data"):
        np.testing.assert_array_equal(getattr(got, part), getattr(want, part))
    assert_same(whole, before)


def test_features_can_be_ordered_by_the_size_of_their_values():
    whole = explanation()
    order = np.abs(whole.values).mean(axis=0).argsort()[::-1]
    got = whole[:, whole.abs.mean(0).argsort.flip]
    np.testing.assert_array_equal(got.values, whole.values[:, order])
    np.testing.assert_array_equal(got.standard_errors, whole.standard_errors[:, order])


# Copies

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda e: pickle.loads(pickle.dumps(e)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("part", SLICES)
@several
@pytest.mark.parametrize("errors", [True, False])
def test_copies_are_the_same_and_can_be_sliced_on(how, part, k, errors):
    whole = explanation(k, errors=errors)[SLICES[part]]
    twin = COPIES[how](whole)
    assert_same(twin, whole)
    if part in {"all", "rows"}:
        assert_same(twin[1:, 2:], whole[1:, 2:])
    twin.values = np.zeros_like(twin.values)
    assert np.any(whole.values)
