"""An explanation is indexed as numpy indexes arrays: all arrays and all lists of names stay in step."""

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
import shap
import torch
from hypothesis import given
from hypothesis import strategies as st

from shapae import Explainer, Explanation, errors
from shapae.errors import DataError, UnknownName, WrongIndex
from shapae.plots import bar, heatmap, latents, summary, waterfall
from tests.explainer.explanations import FEATURES, OUTPUTS, D, K, N, assert_same, explanation, several

ROWS = [f"cell {row}" for row in range(N)]
NAMES = {"row": ROWS, "feature": FEATURES, "output": OUTPUTS}
AXES = {
    **dict.fromkeys(("values", "standard_errors"), ("row", "feature", "output")),
    **dict.fromkeys(("data", "display_data", "categories"), ("row", "feature")),
    **dict.fromkeys(("base_values", "scores", "residual"), ("row", "output")),
    **dict.fromkeys(("used", "row_names"), ("row",)),
    "feature_names": ("feature",),
    "output_names": ("output",),
}
ALL = slice(None)


def named(k=None, **parts):
    """An explanation with all parts that it can have."""
    whole = explanation(k, **{"row_names": ROWS, "used": np.arange(N) * 10} | parts)
    whole.display_data = np.array([[f"{row}, {name}" for name in FEATURES] for row in range(N)], dtype=object)
    return whole


def open_mesh(part, choices):
    """Index each axis by itself: with ``numpy.ix_`` of the numbers chosen, without the axes of a single number."""
    array = np.array(part, dtype=object) if isinstance(part, list) else part
    numbers = [np.arange(size)[choice] for size, choice in zip(array.shape, choices, strict=True)]
    return array[np.ix_(*map(np.atleast_1d, numbers))].reshape([len(each) for each in numbers if np.ndim(each)])


def assert_in_step(got, whole, **choices):
    """Each part of ``got`` is that of ``whole``, indexed by numpy; ``choices`` are indices of numpy."""
    for name, axes in AXES.items():
        part = getattr(whole, name)
        kept = axes[: np.ndim(part)]
        want = open_mesh(part, [choices.get(axis, ALL) for axis in kept]) if kept else part
        np.testing.assert_array_equal(getattr(got, name), want, err_msg=name)
        assert np.shape(getattr(got, name)) == np.shape(want), name
    assert (type(got), got.made_by) == (Explanation, whole.made_by)


# Ways to write the same choice

MASKS = {
    "array": lambda mask, names: mask,
    "list": lambda mask, names: mask.tolist(),
    "objects": lambda mask, names: mask.astype(object),
    "tensor": lambda mask, names: torch.tensor(mask),
    "Series": lambda mask, names: pd.Series(mask),
    "Series with names": lambda mask, names: pd.Series(mask, index=names),
    "nullable Series": lambda mask, names: pd.Series(mask, index=names, dtype="boolean"),
    "polars": lambda mask, names: pl.Series(mask),
}
NUMBERS = {
    "array": lambda numbers, names: numbers,
    "small array": lambda numbers, names: numbers.astype(np.int8),
    "list": lambda numbers, names: numbers.tolist(),
    "list of numpy's numbers": lambda numbers, names: list(numbers),
    "tensor": lambda numbers, names: torch.tensor(numbers),
    "Series": lambda numbers, names: pd.Series(numbers, index=range(7, 7 + len(numbers))),
    "polars": lambda numbers, names: pl.Series(numbers),
    "names": lambda numbers, names: [names[number] for number in numbers],
    "array of names": lambda numbers, names: np.array(names)[numbers],
    "Index of names": lambda numbers, names: pd.Index([names[number] for number in numbers]),
    "categories": lambda numbers, names: pd.Series([names[number] for number in numbers], dtype="category"),
    "polars' names": lambda numbers, names: pl.Series([names[number] for number in numbers]),
}
NUMBER = {
    "int": lambda number, names: int(number),
    "numpy": lambda number, names: np.int64(number),
    "array": lambda number, names: np.array(number),
    "tensor": lambda number, names: torch.tensor(number),
    "name": lambda number, names: names[number],
    "numpy's name": lambda number, names: np.array(names)[number],
}


@st.composite
def one_index(draw, axis):
    """(index, index of numpy): a number, a name, or a slice."""
    size, names = len(NAMES[axis]), NAMES[axis]
    if draw(st.booleans()):
        choice = draw(st.slices(size))
        return choice, choice
    number = draw(st.integers(-size, size - 1))
    return draw(st.sampled_from([*NUMBER.values()]))(number, names), number


@st.composite
def list_index(draw, axis):
    """(index, index of numpy): numbers, names or a mask; rows may be repeated."""
    size, names = len(NAMES[axis]), NAMES[axis]
    if draw(st.booleans()):
        mask = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        return draw(st.sampled_from([*MASKS.values()]))(mask, names), mask
    unique = None if axis == "row" else lambda number: number % size
    numbers = np.array(draw(st.lists(st.integers(-size, size - 1), min_size=1, unique_by=unique)), dtype=int)
    return draw(st.sampled_from([*NUMBERS.values()]))(numbers, names), numbers


@st.composite
def indices(draw, axes):
    """Indices of the first axes, at most one of them a list; and what numpy calls them, by their axes."""
    axes = axes[: draw(st.integers(1, len(axes)))]
    lists = draw(st.sampled_from([None, *axes]))
    both = {axis: draw(list_index(axis) if axis == lists else one_index(axis)) for axis in axes}
    written = tuple(index for index, _ in both.values())
    return written if len(written) > 1 else written[0], {axis: choice for axis, (_, choice) in both.items()}


WHOLE = {k: named(k) for k in (None, K)}


@several
@given(data=st.data())
def test_every_index_gives_what_numpy_gives(k, data):
    axes = ["row", "feature", "output"][: 2 if k is None else 3]
    written, choices = data.draw(indices(axes))
    assert_in_step(WHOLE[k][written], WHOLE[k], **choices)


@given(rows=list_index("row"), features=list_index("feature"), outputs=list_index("output"))
def test_one_list_after_the_other_chooses_from_each_axis(rows, features, outputs):
    got = WHOLE[K][rows[0]][:, features[0]][..., outputs[0]]
    assert_in_step(got, WHOLE[K], row=rows[1], feature=features[1], output=outputs[1])


@given(st.data())
def test_an_axis_is_found_again_when_others_are_gone(data):
    gone = data.draw(st.sampled_from(["row", "feature", "output"]))
    number = data.draw(st.integers(0, len(NAMES[gone]) - 1))
    place = [*NAMES].index(gone)
    part = WHOLE[K][(*[ALL] * place, number)]
    written, choices = data.draw(indices([axis for axis in NAMES if axis != gone]))
    assert_in_step(part[written], WHOLE[K], **choices, **{gone: number})


@several
@pytest.mark.parametrize("where", ["first", "last", "middle"])
def test_an_ellipsis_stands_for_the_axes_between(k, where):
    whole = named(k)
    last = "feature" if k is None else "output"
    index = {"first": (..., [1, 0]), "last": ([1, 0], ...), "middle": (2, ..., [1, 0])}[where]
    choices = {"first": {last: [1, 0]}, "last": {"row": [1, 0]}, "middle": {"row": 2, last: [1, 0]}}[where]
    assert_in_step(whole[index], whole, **choices)
    assert_in_step(whole[...], whole)
    assert_in_step(whole[()], whole)


def test_a_number_does_not_move_the_axes_as_it_does_in_numpy():
    """numpy moves the last axis of array[0, :, [1, 2]] to the front; here, features stay in front of outputs."""
    whole = named(K)
    np.testing.assert_array_equal(whole[0, :, [1, 2]].values, whole.values[0][:, [1, 2]])
    assert whole.values[0, :, [1, 2]].shape == (2, D)


def test_the_rows_of_a_loop_are_the_rows():
    whole = named()
    for number, row in enumerate(whole):
        assert_in_step(row, whole, row=number)
    assert number == N - 1


def test_parts_that_are_not_known_stay_unknown():
    part = explanation(K, errors=False)[[1, 0]]
    assert part.standard_errors is part.used is part.row_names is part.display_data is None


# What is refused

REFUSED = {
    "a mask that is too short": (
        (ALL, [True] * 5),
        r"mask of features needs 6 entries, .* got 5\. .*explanation\[:, m",
    ),
    "an empty mask": (np.array([], dtype=bool), r"mask of rows needs 8 entries, one for each row, got 0\."),
    "a table of masks": (np.ones((N, D), dtype=bool), r"8 truth values, got ndarray of boolean values, shape \(8, 6\)"),
    "a DataFrame": (pd.DataFrame({"mask": [True] * N}), r"got DataFrame of boolean values, shape \(8, 1\)"),
    "a table of numbers": ([[0, 1], [2, 3]], r"got list of integer values, shape \(2, 2\)"),
    "a mask with a gap": (pd.Series([True, None] * 4, dtype="boolean"), r"Choose for missing .* mask\.fillna\(False\)"),
    "a masked array": (np.ma.array([True] * N, mask=[True, False] * 4), r"Choose for missing values first"),
    "True": (True, r"rows are chosen by an integer, .*got True\. .* as in explanation\[\[0, 1\]\]"),
    "numpy's True": ((ALL, np.True_), r"features are chosen by .*got np\.True_"),
    "torch's True": (torch.tensor(True), r"got tensor\(True\)"),
    "None": (None, "got None"),
    "a fraction": (1.0, r"got 1\.0"),
    "fractions": ((..., np.array([0.0, 1.0])), "outputs are chosen by .*got ndarray of floating values"),
    "names and numbers": ((ALL, ["5", 1]), "got list of mixed-integer values"),
    "truth values and numbers": ([True, 2], "got list of mixed-integer values"),
    "a set": ((ALL, {"5", "CD79A"}), "features are chosen by .* or a list .*got {'"),
    "bytes": ((ALL, b"5"), "got b'5'"),
    "ragged lists": ([[0], [1, 2]], "got list of mixed values"),
    "a number too large": (N, r"there are 8 rows, got the number 8\. Numbers start at 0"),
    "a number too small": ((ALL, ALL, -4), "there are 3 outputs, got the number -4"),
    "numbers too large": ((ALL, np.array([1, 6, 255], np.uint8)), "there are 6 features, got the numbers 6, 255"),
    "a huge number": ([10**30], "there are 8 rows, got the number 1000"),
    "a slice of names": ((ALL, slice("CD79A", "5")), r"a slice of features .*explanation\[:, \[name, other_name\]\]"),
    "a step of 0": (slice(None, None, 0), "a step other than 0"),
    "two lists": (([0, 1], [0, 1]), r"pairs the entries of 2 lists .*: explanation\[rows\]\[:, features\]\."),
    "two masks": (([True] * N, [True] * D), r"explanation\[rows\]\[:, features\]"),
    "two lists of names": ((ROWS[:2], ALL, OUTPUTS[:2]), r"explanation\[rows\]\[:, :, outputs\]"),
    "four indices": ((0, 0, 0, 0), "got 4 indices and 0 ellipses; the axes are: row, feature, output"),
    "two ellipses": ((..., ...), "got 0 indices and 2 ellipses; the axes are: row, feature, output"),
    "a feature twice": ((ALL, [0, 1, -D]), "names of features must be unique"),
    "an output twice by name": ((..., ["β", "β"]), "names of outputs must be unique"),
    "a feature among the rows": ("CD79A", r"'CD79A' is one of the features, not of the rows\. .*\[:, 'CD79A'\]"),
    "an output among the features": ((ALL, ["β"]), r"'β' is one of the outputs, .* explanation\[:, :, 'β'\]"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_index_that_leaves_no_table_or_is_not_clear_is_an_index_error_that_says_what_to_write(kind):
    index, message = REFUSED[kind]
    with pytest.raises(IndexError, match=message) as caught:
        named(K)[index]
    assert type(caught.value) is errors.WrongIndex


def test_a_name_that_its_axis_does_not_know_is_an_error_that_lists_the_known():
    for index, message in (
        ("cell 8", "no row is called 'cell 8'; there are: cell 7"),
        ((ALL, "CD79a"), "no feature is called 'CD79a'; there are: CD79A"),
        ((..., "latent 3"), "no output is called 'latent 3'; there are: latent 0"),
        ((ALL, ("CD79A", "x", "y")), r"no feature is called \['x', 'y'\]; there are: "),
    ):
        with pytest.raises(UnknownName, match=message):
            named(K)[index]
    with pytest.raises(UnknownName, match="no feature or output is called 'cell 8'; there are: "):
        explanation(K)["cell 8"]


def test_a_number_that_is_left_has_no_axes():
    with pytest.raises(WrongIndex, match="got 1 indices and 0 ellipses; the axes are: none"):
        named()[0, 0][0]


# Names of rows, and of what pandas hands over

MASK = np.arange(N) % 3 == 0
SHUFFLED = [5, 0, 3, 7, 2, 6, 1, 4]


@pytest.mark.parametrize("names", [ROWS, [*range(10, 10 + N)], SHUFFLED, [*pd.date_range("2024-01-01", periods=N)]])
def test_a_series_in_another_order_is_refused_and_both_readings_can_be_pasted(names):
    explanation = named(row_names=names)
    mask = pd.Series(MASK, index=names)[::-1]
    with pytest.raises(WrongIndex, match="the index of this Series differs") as caught:
        explanation[mask]
    by_names, by_positions = (
        part.split(" to go")[0] for part in str(caught.value).split("explanation[", 1)[1].split(", or ")
    )
    scope = {"explanation": explanation, "mask": mask}
    assert_in_step(eval("explanation[" + by_names, scope), explanation, row=MASK)
    assert_in_step(eval(by_positions, scope), explanation, row=MASK[::-1])


def test_a_series_of_other_rows_is_refused():
    for labels in (ROWS[:-1] + ["cell 9"], [f"other {row}" for row in range(N)], [*range(1, N + 1)]):
        with pytest.raises(WrongIndex, match="the index of this Series differs"):
            named()[pd.Series(MASK, index=labels)]
    with pytest.raises(WrongIndex, match=r"mask\.loc\[range\(8\)\]"):
        explanation()[pd.Series(MASK, index=SHUFFLED)]
    with pytest.raises(WrongIndex, match=r"explanation\[:, mask\.loc\[explanation\.feature_names\]\]"):
        named()[:, pd.Series(True, index=FEATURES[::-1])]


def test_a_series_without_names_goes_by_positions_unless_its_numbers_are_names_too():
    mask = pd.Series(MASK)
    for names in (None, ROWS, [*range(5, 5 + N)]):
        whole = named(row_names=names)
        assert_in_step(whole[mask], whole, row=MASK)
    with pytest.raises(WrongIndex, match=r"mask\.to_numpy\(\)"):
        named(row_names=SHUFFLED)[mask]
    whole = explanation()
    np.testing.assert_array_equal(whole[pd.Series(MASK, index=ROWS)].values, whole.values[MASK])


def test_an_index_of_numbers_that_are_names_of_other_rows_is_refused():
    whole = named(row_names=SHUFFLED)
    with pytest.raises(WrongIndex, match=r"index\.to_numpy\(\)\] .*numpy\.isin\(explanation\.row_names, index\)\]"):
        whole[pd.Index([5, 3])]
    assert_in_step(whole[pd.Index([5, 3]).to_numpy()], whole, row=[5, 3])
    assert_in_step(whole[np.isin(whole.row_names, pd.Index([5, 3]))], whole, row=[0, 2])
    assert_in_step(named()[pd.Index([5, 3])], named(), row=[5, 3])
    assert_in_step(explanation()[pd.Index([5, 3])], explanation(), row=[5, 3])


def test_a_name_of_several_rows_is_refused_and_the_others_are_found():
    whole = named(row_names=["a", "b", "a", "c", "d", "e", "f", "g"])
    with pytest.raises(
        WrongIndex, match=r"several rows have the name a\. .*explanation\[explanation.row_names == 'a'\]"
    ):
        whole["a"]
    assert_in_step(whole[["c", "b"]], whole, row=[3, 1])
    assert_in_step(whole[whole.row_names == "a"], whole, row=[0, 2])


def test_rows_with_dates_are_found_by_dates():
    dates = pd.date_range("2024-01-01", periods=N)
    whole = named(row_names=dates)
    assert_in_step(whole[dates[2]], whole, row=2)
    assert_in_step(whole[dates[[4, 1]]], whole, row=[4, 1])


def test_the_conditions_of_a_table_choose_the_explained_rows(model, background):
    table = pd.DataFrame(np.random.default_rng(1).normal(size=(9, 6)), columns=FEATURES, index=[*"ihgfedcba"])
    got = Explainer(model, background, feature_names=FEATURES)(table)
    np.testing.assert_array_equal(got[table["5"] > 0].data, table[table["5"] > 0])
    np.testing.assert_array_equal(got[:, table.mean() > 0].data, table.loc[:, table.mean() > 0])
    adata = anndata.AnnData(table.to_numpy(), table[["5"]], pd.DataFrame(index=FEATURES))
    np.testing.assert_array_equal(got[adata.obs["5"] > 0].row_names, adata[adata.obs["5"] > 0].obs_names)
    with pytest.raises(WrongIndex, match="the index of this Series differs"):
        got[table.sort_values("5")["5"] > 0]


# The methods, on indexed explanations

PARTS = {
    "backwards": slice(None, None, -1),
    "features backwards": (ALL, slice(None, None, -2)),
    "a mask": (ALL, np.arange(D) % 2 == 0),
    "a row backwards": (2, slice(None, None, -1)),
    "a feature": (slice(None, None, -2), "5"),
    "a number": (1, "5"),
}
EMPTY = {
    "no rows": [],
    "no rows of a feature": (slice(0), "5"),
    "no features": (ALL, []),
    "no feature of a row": (0, []),
}


@several
@pytest.mark.parametrize("part", PARTS | EMPTY)
def test_what_was_indexed_is_saved_and_converted_as_what_was_not(k, part, tmp_path):
    got = named(k)[(PARTS | EMPTY)[part]]
    loaded = Explanation.load(got.save(tmp_path / "out"))
    assert_same(loaded, got)
    np.testing.assert_array_equal(loaded.row_names, got.row_names)
    features, outputs = ([each] if isinstance(each, str) else each for each in (got.feature_names, got.output_names))
    rows = np.atleast_1d(got.row_names)
    shape = (len(rows), len(features), len(outputs))
    frame = got.to_frame()
    np.testing.assert_array_equal(
        frame, got.values.reshape(shape).transpose(0, 2, 1).reshape(len(rows), frame.shape[1])
    )
    assert [*frame.index] == [*rows]
    assert [*frame.columns] == ([(output, name) for output in outputs for name in features] if k else features)
    np.testing.assert_array_equal(got.to_xarray()["values"], got.values.reshape(shape))
    np.testing.assert_array_equal(got.to_anndata().layers[f"shap_{outputs[0]}"], got.values.reshape(shape)[..., 0])
    assert repr(got).startswith("Explanation of ")
    assert_same(got[...], got)


@several
@pytest.mark.parametrize("part", PARTS)
def test_the_top_features_of_a_part_are_those_of_its_values(k, part):
    got = named(k)[PARTS[part]]
    frame, top = got.to_frame(), got.top(2)
    for output in OUTPUTS if k else ["reconstruction error"]:
        sizes = (frame[output] if k else frame).abs().mean().nlargest(2)
        np.testing.assert_allclose(top.loc[output]["mean_abs_value"], sizes, rtol=1e-12)
        assert [*top.loc[output].index] == [*sizes.index]


@pytest.mark.parametrize("part", EMPTY)
def test_nothing_has_no_top_features_and_no_picture(part):
    got = named()[EMPTY[part]]
    with pytest.raises(DataError, match=r"\d rows, \d features and 1 outputs, so there is nothing to average"):
        got.top()
    for draw in (bar, summary, heatmap, waterfall, latents):
        with pytest.raises(DataError):
            draw(got)


def test_outputs_of_nothing_are_no_outputs():
    none = named(K)[..., []]
    assert (none.output_names, none.values.shape, none.scores.shape) == ([], (N, D, 0), (N, 0))
    assert none.to_frame().shape == (N, 0)
    with pytest.raises(DataError, match="8 rows, 6 features and 0 outputs"):
        none.top()


@several
def test_the_residual_of_a_part_and_of_its_groups_is_that_of_all_features(k):
    whole = named(k)
    part = whole[:, [4, 0, 2]]
    np.testing.assert_array_equal(part.residual, whole.residual)
    grouped = part.grouped({"two": ["5", "CD79A"]})
    np.testing.assert_allclose(grouped.residual, whole.residual, rtol=0, atol=1e-14)
    np.testing.assert_allclose(grouped.values[:, 0], whole.values[:, [4, 0]].sum(axis=1), rtol=0, atol=1e-14)
    assert grouped.feature_names == ["two", "gène 3"]
    twice = part.grouped({"two": ["5", "CD79A"], "one": ["5"]})
    np.testing.assert_allclose(twice.residual, whole.residual - whole.values[:, 4], rtol=0, atol=1e-14)


def test_an_output_is_chosen_by_one_name():
    for index in ([True, False, True], np.array([True, False, True]), ["β"], 0, None):
        with pytest.raises(DataError, match="name must be a string, got"):
            named(K).output(index)
    with pytest.raises(UnknownName, match="no output is called 'δ'; there are: "):
        named(K).output("δ")
    assert_in_step(named(K)[:3][:, 1:].output("β"), named(K), row=slice(3), feature=slice(1, None), output=1)


@pytest.mark.parametrize("draw", [bar, summary, heatmap, waterfall])
def test_rows_of_one_feature_and_outputs_of_one_row_are_not_drawn_as_features(draw):
    with pytest.raises(DataError, match=r"'5' was chosen by itself.* explanation\[:, \['5'\]\]"):
        draw(named()[:, "5"])
    with pytest.raises(DataError, match=r"can't plot 3 outputs at once\. Choose one, as in explanation\.output"):
        draw(named(K)[0])


# What shap computes with an index


def test_an_order_that_shap_computes_is_an_index():
    whole = named()
    order = np.abs(whole.values).mean(axis=0).argsort()[::-1]
    for index in (shap.Explanation.abs.mean(0).argsort.flip, whole.abs.mean(0).argsort.flip):
        assert_in_step(whole[:, index], whole, feature=order)
    assert_in_step(whole[:, shap.Explanation.abs.mean(0).argsort[-1]], whole, feature=order[0])
    assert_in_step(whole[shap.Explanation.hclust()], whole, row=whole.hclust())
    assert_in_step(whole[:, whole.hclust(axis=1)], whole, feature=whole.hclust(axis=1))


def test_cohorts_and_samples_of_shap_stay_in_step():
    whole = named()
    labels = np.array(list("aabbaabb"))
    for name, cohort in whole.cohorts(labels.tolist()).cohorts.items():
        assert_in_step(cohort, whole, row=labels == name)
    for name, cohort in whole.cohorts(labels)[..., "5"].cohorts.items():
        assert_in_step(cohort, whole, row=labels == name, feature=4)
    found = whole.cohorts(3).cohorts.values()
    assert sorted(name for cohort in found for name in cohort.row_names) == ROWS
    for cohort in found:
        assert_in_step(cohort, whole, row=[ROWS.index(name) for name in cohort.row_names])
    drawn = np.random.RandomState(3).choice(N, size=5, replace=True)
    assert_in_step(whole.sample(5, replace=True, random_state=3), whole, row=drawn)


def test_a_tree_of_all_features_is_not_that_of_a_part():
    whole = named()
    whole.clustering = np.zeros((D - 1, 4))
    assert whole[:, :3].clustering is None
