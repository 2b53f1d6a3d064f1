"""Values of groups as sums over their features or outputs."""

import numpy as np
import pandas as pd
import pytest
import torch

from shapae import Explainer, plots
from shapae.errors import DataError, OutputError
from shapae.explainer.explanation import Explanation

GROUPS = {"first": ["b", "e"], "second": ["f", "a", "d"]}


def named(table):
    return pd.DataFrame(table, columns=list("abcdef"))


@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
def test_the_value_of_a_group_is_the_sum_of_its_features(head, model, rows, background):
    whole = Explainer(model, named(background), head=head)(named(rows))
    got = whole.grouped(GROUPS)
    assert got.feature_names == ["first", "second", "c"]
    for player, members in enumerate([[1, 4], [0, 3, 5], [2]]):
        np.testing.assert_allclose(got.values[:, player], whole.values[:, members].sum(axis=1), rtol=0, atol=1e-14)
        np.testing.assert_allclose(got.data[:, player], rows[:, members].mean(axis=1), rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.residual, whole.residual, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(got.scores, whole.scores)
    assert got.standard_errors is None
    assert got.made_by["groups"] == GROUPS
    assert type(got) is Explanation


@pytest.mark.parametrize("index", [3, slice(1, 4), (3, ..., "latent 1"), (..., "latent 1")])
def test_an_explanation_can_be_sliced_before_and_after_grouping(index, model, rows, background):
    whole = Explainer(model, named(background), head="latent")(named(rows))
    before, after = whole[index].grouped(GROUPS), whole.grouped(GROUPS)[index]
    for name in ("values", "data", "scores", "residual"):
        np.testing.assert_allclose(getattr(before, name), getattr(after, name), rtol=0, atol=1e-14)
    assert before.feature_names == after.feature_names


def test_a_feature_in_two_groups_counts_twice_and_the_residual_says_so(model, rows, background):
    whole = Explainer(model, named(background))(named(rows))
    got = whole.grouped({"x": ["a", "b"], "y": ["b", "c"]})
    np.testing.assert_allclose(got.residual, whole.residual - whole.values[:, 1], rtol=0, atol=1e-14)


def test_grouped_values_are_saved_and_loaded(model, rows, background, tmp_path):
    got = Explainer(model, named(background), groups=GROUPS)(named(rows))
    loaded = Explanation.load(got.save(tmp_path / "out"))
    np.testing.assert_array_equal(loaded.values, got.values)
    assert loaded.made_by["groups"] == GROUPS


# Categories of one-hot columns


def machines(n=12):
    """A table of two readings and a state, and its groups: one of one-hot columns, and one of numbers."""
    state = np.random.default_rng(1).integers(0, 3, n)
    columns = {f"state_{name}": (state == place) * 1.0 for place, name in enumerate(("idle", "run", "stop"))}
    readings = {name: np.random.default_rng(place).normal(size=n) for place, name in enumerate("abc")}
    return pd.DataFrame(columns | readings), {"state": [*columns], "ab": ["a", "b"]}, state


@pytest.mark.parametrize("whole", [True, False], ids=["sums", "players"])
def test_categories_are_the_active_columns_of_one_hot_groups(whole, model, tmp_path):
    table, groups, state = machines()
    if whole:
        got = Explainer(model, table[:5])(table).grouped(groups)
    else:
        got = Explainer(model, table[:5], groups=groups, backend="exact")(table)
    np.testing.assert_array_equal(got.categories, np.stack([state, 0 * state - 1, 0 * state - 1], axis=1))
    np.testing.assert_array_equal(got[[3, 1], "state"].categories, state[[3, 1]])
    loaded = Explanation.load(got.save(tmp_path / "out"))
    np.testing.assert_array_equal(loaded.categories, got.categories)
    one = Explanation.load(got[3].save(tmp_path / "row"))
    np.testing.assert_array_equal(one.categories, got.categories[3])


def test_a_row_without_an_active_column_has_no_category(model, tmp_path):
    table, groups, state = machines()
    odd = [4, 9]  # of a category that the encoder did not know
    table.loc[odd, groups["state"]] = 0
    want = np.where(np.isin(np.arange(len(table)), odd), -2, state)
    got = Explainer(model, table[:4])(table).grouped(groups)
    np.testing.assert_array_equal(got.categories[:, 0], want)
    loaded = Explanation.load(got.save(tmp_path / "out"))
    np.testing.assert_array_equal(loaded.categories, got.categories)
    assert "none =" in [text.get_text() for text in plots.waterfall(got[4]).texts]
    ax = plots.scatter(got, "state")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["idle", "run", "stop", "none"]
    assert ax.collections[0].get_offsets()[odd, 0].tolist() == [3, 3]
    got.made_by["groups"].pop("state")
    with pytest.raises(OutputError, match="categories are not positions in the groups"):
        got.save(tmp_path / "other")


def test_groups_of_numbers_have_no_categories(model, rows, background):
    assert Explainer(model, named(background))(named(rows)).grouped(GROUPS).categories is None
    table, groups, _ = machines()
    table.loc[4, ["state_idle", "state_run"]] = 1  # no longer one active column at most
    assert Explainer(model, table[:5])(table).grouped(groups).categories is None


def test_a_category_that_its_group_does_not_have_is_not_loaded(model, tmp_path):
    table, groups, _ = machines()
    got = Explainer(model, table[:5])(table).grouped(groups)
    got.made_by["groups"] = {"state": ["state_idle"], "ab": ["a", "b"]}
    with pytest.raises(OutputError, match="categories are not positions in the groups"):
        got.save(tmp_path / "out")


# Players


def test_the_values_of_one_feature_can_not_be_grouped(model, rows, background):
    with pytest.raises(DataError, match="values of one feature, 'a', can't be grouped. Group the explanation of all"):
        Explainer(model, named(background))(named(rows))[:, "a"].grouped(GROUPS)


def test_the_error_of_a_group_of_features_equals_the_head_that_adds_their_errors(model, rows, background):
    class Sum(torch.nn.Module):
        def forward(self, autoencoder, rows):
            errors = (autoencoder.reconstruct(rows) - rows).square()
            return torch.stack([errors[:, [0, 2]].sum(dim=1), errors[:, 1]], dim=1)

    explanation = Explainer(model, background, head="feature_error")(rows)
    got = explanation.grouped_outputs({"two": ["feature 0", "feature 2"]})
    want = Explainer(model, background, head=Sum())(rows)
    assert got.output_names == ["two", "feature 1", "feature 3", "feature 4", "feature 5"]
    for name in ("values", "scores", "base_values"):
        np.testing.assert_allclose(getattr(got, name)[..., :2], getattr(want, name), atol=1e-12, err_msg=name)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    one = explanation[0].grouped_outputs({"two": ["feature 0", "feature 2"]})
    np.testing.assert_allclose(one.values, got.values[0], atol=1e-12)


def test_groups_of_outputs_need_several_known_outputs(model, rows, background):
    with pytest.raises(DataError, match="there is only one output, 'reconstruction error'. Explain several"):
        Explainer(model, background)(rows).grouped_outputs({"two": ["a"]})
    with pytest.raises(DataError, match="groups name features that are not there: x .in two."):
        Explainer(model, background, head="latent")(rows).grouped_outputs({"two": ["x"]})
