"""Covariates of rows in every form in which users have them."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from shapae.analysis.latents.covariates import read_covariates
from shapae.errors import DataError, UnknownName
from shapae.tables.table import read_table
from tests import cases

X = pd.DataFrame(cases.table(4), list("wxyz"))


def read(covariates, table=X):
    return read_covariates(table, read_table(table, "rows"), covariates)


NUMBERS = {
    "list": [1, 2.5, -1, 0],
    "integers": np.array([1, 2, 3, 4]),
    "short": np.array([1, 2, 3, 4], dtype=np.uint8),
    "tensor": torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True),
    "objects": np.array([1, 2.5, None, 4], dtype=object),
    "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
    "masked": np.ma.array([1, 2, 3, 4], mask=[0, 1, 0, 0]),
    "series": pd.Series([1.0, 2, 3, 4], X.index),
    "positions": pd.Series([1.0, 2, 3, 4]),
    "NaN": [np.nan, 1, 2, 3],
    "decimals": [Decimal("1.5"), Fraction(1, 2), None, 3],
    "big endian": np.array([1, 2, 3, 4], dtype=">f4"),
}


@pytest.mark.parametrize("column", NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_numbers(column):
    (got,) = read({"age": column})
    plain = column.detach().numpy() if isinstance(column, torch.Tensor) else column
    want = [np.nan if each is np.ma.masked or pd.isna(each) else float(each) for each in plain]
    np.testing.assert_array_equal(got.values, want)
    assert (got.name, got.groups, got.values.dtype) == ("age", None, np.float64)


GROUPS = {
    "list": (["b", "a", "b", "a"], ["a", "b"], [1, 0, 1, 0]),
    "booleans": ([True, False, True, False], ["False", "True"], [1, 0, 1, 0]),
    "missing": (["b", None, "b", "a"], ["a", "b"], [1, np.nan, 1, 0]),
    "NaN": (np.array(["b", np.nan, "b", "a"], dtype=object), ["a", "b"], [1, np.nan, 1, 0]),
    "nullable booleans": (pd.array([True, None, False, True]), ["False", "True"], [1, np.nan, 0, 1]),
    "categories": (pd.Categorical(["b", "a", None, "b"], ["z", "b", "a"]), ["b", "a"], [0, 1, np.nan, 0]),
    "numbers as categories": (pd.Categorical([10, 9, 10, 9]), ["9", "10"], [1, 0, 1, 0]),
    "times as categories": (
        pd.Categorical(pd.to_datetime(["2024-02-01", "2024-01-01", "2024-02-01", None])),
        ["2024-01-01 00:00:00", "2024-02-01 00:00:00"],
        [1, 0, 1, np.nan],
    ),
    "intervals": (pd.cut(np.array([1.0, 5, 1, 9]), [0, 4, 10]), ["(0, 4]", "(4, 10]"], [0, 1, 0, 1]),
    "mixed": (["a", 1, "a", 1], ["1", "a"], [1, 0, 1, 0]),
    "strings of numpy": (np.array(["b", "a", "b", "a"]), ["a", "b"], [1, 0, 1, 0]),
}


@pytest.mark.parametrize(("column", "groups", "values"), GROUPS.values(), ids=GROUPS)
def test_all_else_is_groups(column, groups, values):
    (got,) = read({"kind": column})
    assert got.groups == groups
    np.testing.assert_array_equal(got.values, values)
    (again,) = read(pd.DataFrame({"kind": column}, X.index))
    assert again.groups == groups
    np.testing.assert_array_equal(again.values, values)


def test_frames_series_and_dicts_give_the_same():
    frame = pd.DataFrame({"age": [1.0, 2, np.nan, 4], "kind": list("abab")}, X.index)
    for form in (frame, frame.to_dict("list"), pl.DataFrame(frame.to_dict("list")), frame.reset_index(drop=True)):
        one, other = read(form)
        assert (one.name, other.name, other.groups) == ("age", "kind", ["a", "b"])
        np.testing.assert_array_equal(one.values, frame["age"])
        np.testing.assert_array_equal(other.values, [0, 1, 0, 1])
    assert [each.name for each in read(frame["age"])] == ["age"]
    assert read(None) == []
    np.testing.assert_array_equal(read(frame)[0].known, [True, True, False, True])


def test_names_are_columns_of_obs():
    cells = cases.cells()
    for form in ("kind", ["kind"]):
        (got,) = read(form, cells)
        assert (got.name, got.groups) == ("kind", ["x", "y", "z"])
        np.testing.assert_array_equal(got.values, [0, 0, 0, 1, 1, 1, 2, 2])
    with pytest.raises(UnknownName, match="no column of obs is called 'kidn'; there are: kind"):
        read(["kidn"], cells)


def test_indicators_of_groups_and_numbers_are_columns():
    number, group = read({"a": [1.0, np.nan, 3, 5], "g": ["u", "v", "u", None]})
    np.testing.assert_allclose(number.columns(np.array([0, 2, 3])), [[-1], [0], [1]], atol=1e-12)
    np.testing.assert_array_equal(group.columns(np.array([0, 1, 2])), [[1, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("covariates", "text"),
    [
        ({"a": [1, 2]}, r"'a' must have one value for each of the 4 rows, got shape \(2,\)"),
        ({"a": 3}, r"got shape \(\)"),
        ({"a": np.ones((4, 2))}, r"got shape \(4, 2\)"),
        ({"a": [1, np.inf, 2, 3]}, "'a' is infinite in row 1"),
        ({"a": [1j, 2, 3, 4]}, "'a' has complex numbers"),
        ({"a": pd.date_range("2024-01-01", periods=4)}, r"'a' holds times\. Make numbers of them"),
        ({"a": [date(2024, 1, day) for day in (1, 2, 3, 4)]}, "'a' holds times"),
        ({"a": pd.period_range("2024", periods=4, freq="Y")}, "'a' holds times"),
        ({"a": [[1], [2, 3], [4], [5]]}, "'a' must have one value for each of the 4 rows, got shape of uneven lists"),
        ({"a": pd.to_timedelta([1, 2, 3, 4])}, "'a' holds times"),
        (pd.Series([1, 2, 3, 4], list("wxzy"), name="a"), "'a' and the table have different row names"),
        (pd.DataFrame({"a": range(4)}, list("zyxw")), r"Give covariates\.loc\[X\.index\], or .* \.to_numpy\(\) of it"),
        ({1: [1] * 4, "1": [2] * 4}, "names of the covariates must be unique"),
        (pd.DataFrame(np.ones((4, 2)), X.index, ["a", "a"]), "names of the covariates must be unique"),
        (["kind"], r"can be columns of obs only of an AnnData, and the table is of type DataFrame"),
        (np.ones(4), r"got ndarray\. Give covariates=\{'my name': values\}"),
        (7, "got int"),
    ],
)
def test_covariates_that_are_not_clear_are_refused(covariates, text):
    with pytest.raises(DataError, match=text):
        read(covariates)


def test_a_shuffled_covariate_of_numbered_rows_is_refused():
    column = pd.Series([1.0, 2, 3, 4], name="age")
    with pytest.raises(DataError, match=r"'age' and the table have different row names"):
        read(column.iloc[[2, 0, 1, 3]], X.reset_index(drop=True))
    with pytest.raises(DataError, match=r"'age' and the table have different row names"):
        read(column, X.reset_index(drop=True).iloc[[2, 0, 1, 3]])
    (got,) = read(column.iloc[[2, 0, 1, 3]], X.to_numpy())  # positions are all that an array has
    np.testing.assert_array_equal(got.values, [3, 1, 2, 4])
