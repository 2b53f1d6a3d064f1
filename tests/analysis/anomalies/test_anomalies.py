"""Anomalies: the rows with the largest errors, their worst features, and the contributions of other features."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from shapae import Explainer, background, explain_anomalies, heads
from shapae.errors import DataError, UnknownName, WrongIndex
from tests import cases

NAMES = ["a", "b", "c", "d", "e", "f"]
ROWS = pd.DataFrame(cases.table(30, seed=3), [f"row {place}" for place in range(30)], NAMES)
BACKGROUND = pd.DataFrame(cases.table(7, seed=2), columns=NAMES)


class Copying(nn.Module):
    """Reconstructs every feature except the last exactly, and the last as the first."""

    def forward(self, rows):
        return torch.cat([rows[:, :5], rows[:, :1]], dim=1)


class PerRow(nn.Module):
    """A loss of your own, which does not say that it is per row."""

    def forward(self, reconstruction, target):
        return (reconstruction - target).abs().sum(dim=1)


@pytest.fixture
def anomalies(model):
    return explain_anomalies(Explainer(model, BACKGROUND), ROWS, top=4, worst=2)


def squared_errors(model):
    with torch.no_grad():
        return (model(torch.tensor(ROWS.to_numpy())).numpy() - ROWS.to_numpy()) ** 2


def test_the_anomalies_are_the_rows_with_the_largest_errors_in_descending_order(anomalies, model):
    errors = squared_errors(model)
    order = np.argsort(-errors.mean(axis=1))[:4]
    np.testing.assert_array_equal(anomalies.rows, order)
    np.testing.assert_allclose(anomalies.feature_errors, errors[order], atol=1e-12)
    np.testing.assert_array_equal(anomalies.worst, np.argsort(-errors[order], axis=1)[:, :2])
    assert list(anomalies.feature_errors.index) == [f"row {place}" for place in order]


def test_the_explanation_matches_the_explainer(anomalies, model):
    want = Explainer(model, BACKGROUND)(ROWS.iloc[anomalies.rows])
    np.testing.assert_allclose(anomalies.explanation.values, want.values, atol=1e-12)
    np.testing.assert_allclose(anomalies.explanation.scores, want.scores, atol=1e-12)


def test_others_match_the_head_for_errors_from_others(anomalies, model):
    want = Explainer(model, BACKGROUND, head=heads.ErrorFromOthers(2))(ROWS.iloc[anomalies.rows])
    np.testing.assert_allclose(anomalies.others.values, want.values, atol=1e-12)


def test_the_table_names_the_worst_feature_and_the_feature_that_causes_its_error():
    """The last feature is reconstructed as the first, so its error is due to the first, with either sign."""
    anomalies = explain_anomalies(Explainer(Copying(), BACKGROUND), ROWS, top=5, worst=1)
    assert [feature for _, feature in anomalies.table.index] == ["f"] * 5
    for (row, _), line in anomalies.table.iterrows():
        x = ROWS.loc[row]
        assert line["error"] == pytest.approx((x["a"] - x["f"]) ** 2)
        assert line["part"] == pytest.approx(1)
        gained = line["error"] - ((BACKGROUND["a"] - x["f"]) ** 2).mean()
        assert [line["contributing"], line["offsetting"]] == (["a", ""] if gained > 0 else ["", "a"])


def test_a_loss_of_whole_rows_ranks_rows_and_squared_errors_rank_features(model):
    anomalies = explain_anomalies(Explainer(model, BACKGROUND, head=heads.ReconstructionError("l2")), ROWS, top=3)
    np.testing.assert_allclose(anomalies.explanation.scores**2, anomalies.feature_errors.sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("loss", ["l2", "cosine", PerRow()], ids=["l2", "cosine", "of your own"])
def test_others_explain_squared_errors_if_the_loss_is_per_row(loss, model):
    explainer = Explainer(model, BACKGROUND, head=heads.ReconstructionError(loss))
    anomalies = explain_anomalies(explainer, ROWS, top=3, worst=2)
    np.testing.assert_allclose(anomalies.feature_errors, squared_errors(model)[anomalies.rows], atol=1e-12)
    largest = np.sort(squared_errors(model)[anomalies.rows], axis=1)[:, ::-1]
    np.testing.assert_allclose(anomalies.others.scores, largest[:, :2], atol=1e-12)


def test_features_with_equal_errors_have_their_own_attributions():
    """All errors but one are 0, in any order; each feature has the value 0 for its own error, and no error in sum."""
    background = pd.DataFrame(cases.table(40, seed=7), columns=NAMES)
    anomalies = explain_anomalies(Explainer(Copying(), background), ROWS, top=10, worst=6)
    for row, order in enumerate(anomalies.worst):
        np.testing.assert_allclose(anomalies.others.values[row, order, range(6)], 0, atol=1e-12)
        np.testing.assert_allclose(
            anomalies.others.scores[row], anomalies.feature_errors.to_numpy()[row, order], atol=1e-12
        )


def test_rounding_never_lets_a_feature_contribute_to_its_own_error():
    """Samples in single precision leave values of about 1e-8 instead of 0."""
    model = cases.build(cases.Question, dtype=torch.float32)
    anomalies = explain_anomalies(Explainer(model, BACKGROUND, backend="sampling"), 10 * ROWS, 30, worst=6)
    own = anomalies.others.values[np.arange(30)[:, None], anomalies.worst, np.arange(6)]
    assert (own != 0).any()
    for (_, feature), line in anomalies.table.iterrows():
        assert feature not in f"{line['contributing']}, {line['offsetting']}".split(", ")


# Choice of the rows


def scores_of(model, table):
    return Explainer(model, BACKGROUND).scores(table)


def test_rows_above_a_threshold_are_found_all_of_them_and_in_descending_order(model):
    scores = scores_of(model, ROWS)
    limit = np.sort(scores)[-13]  # itself not above the limit
    anomalies = explain_anomalies(Explainer(model, BACKGROUND), ROWS, threshold=limit, worst=1)
    np.testing.assert_array_equal(anomalies.rows, np.argsort(-scores)[:12])
    assert (anomalies.found, anomalies.limit, len(anomalies)) == (12, limit, 12)
    bounded = explain_anomalies(Explainer(model, BACKGROUND), ROWS, 5, threshold=limit, worst=1)
    np.testing.assert_array_equal(bounded.rows, anomalies.rows[:5])
    assert (bounded.found, len(bounded)) == (12, 5)


def test_without_a_limit_there_are_ten_anomalies(model):
    anomalies = explain_anomalies(Explainer(model, BACKGROUND), ROWS, worst=1)
    np.testing.assert_array_equal(anomalies.rows, np.argsort(-scores_of(model, ROWS))[:10])
    assert (anomalies.found, anomalies.limit) == (10, None)


@pytest.mark.parametrize("normal", [None, pd.DataFrame(cases.table(101, seed=11), columns=NAMES)], ids=["own", "given"])
def test_a_quantile_is_one_of_the_scores_of_normal_rows(normal, model):
    """A quantile of the new rows themselves would always find some."""
    anomalies = explain_anomalies(Explainer(model, BACKGROUND), 3 * ROWS, quantile=0.75, normal=normal, worst=1)
    scores = scores_of(model, BACKGROUND if normal is None else normal)
    assert anomalies.limit == pytest.approx(np.quantile(scores, 0.75))
    assert anomalies.median == pytest.approx(np.median(scores))
    assert anomalies.found == (scores_of(model, 3 * ROWS) > anomalies.limit).sum() > 15
    assert len(explain_anomalies(Explainer(model, BACKGROUND), BACKGROUND, quantile=1)) == 0


def test_quantiles_of_a_weighted_background_are_those_of_repeated_rows(model):
    times = [1, 4, 2, 1, 3, 1, 1]
    weighted = background.weighted(BACKGROUND, times)
    repeated = np.repeat(scores_of(model, BACKGROUND), times)
    explainers = (Explainer(model, weighted), None), (Explainer(model, ROWS), weighted)
    for level, (explainer, normal) in itertools.product((0.2, 0.9), explainers):
        anomalies = explain_anomalies(explainer, ROWS, quantile=level, worst=1, normal=normal)
        assert anomalies.limit == pytest.approx(np.quantile(repeated, level, method="inverted_cdf"))
        assert anomalies.median == pytest.approx(np.quantile(repeated, 0.5, method="inverted_cdf"))


CHOICES = {
    "positions": ([5, 0, -1], [5, 0, 29]),
    "tuple": ((5, 0), [5, 0]),
    "one position": (3, [3]),
    "names": (["row 7", "row 2"], [7, 2]),
    "one name": ("row 7", [7]),
    "mask": (np.arange(30) % 10 == 1, [1, 11, 21]),
    "series": (ROWS["a"] == ROWS["a"].max(), [int(ROWS["a"].to_numpy().argmax())]),
    "slice": (slice(4, 6), [4, 5]),
    "none": ([], []),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_chosen_rows_are_explained_in_their_order(kind, model):
    chosen, places = CHOICES[kind]
    explainer = Explainer(model, BACKGROUND)
    anomalies = explain_anomalies(explainer, ROWS, rows=chosen, worst=2)
    assert anomalies.rows.tolist() == places
    assert [*anomalies.feature_errors.index] == [f"row {place}" for place in places]
    if places:
        np.testing.assert_allclose(anomalies.explanation.values, explainer(ROWS.iloc[places]).values, atol=1e-12)


def test_integers_are_positions_also_if_the_rows_have_integers_as_names(model):
    table = ROWS.set_axis(range(100, 130))
    anomalies = explain_anomalies(Explainer(model, BACKGROUND), table, rows=[4, 2], worst=1)
    assert [*anomalies.table.index.get_level_values("row")] == [104, 102]


def test_rows_without_names_are_called_by_their_positions(model):
    anomalies = explain_anomalies(Explainer(model, BACKGROUND), ROWS.to_numpy(), rows=[20, 3], worst=1)
    assert [*anomalies.table.index.get_level_values("row")] == [20, 3]
    assert [each.partition(" scores ")[0] for each in anomalies.sentences()] == ["row 20", "row 3"]


@pytest.mark.parametrize("backend", ["deep", "sampling"])
@pytest.mark.parametrize("groups", [None, {"two": ["a", "b"]}], ids=["features", "groups"])
@pytest.mark.parametrize("worst", [1, 3])
def test_no_anomalies_are_a_valid_result(backend, groups, worst, model):
    explainer = Explainer(model, BACKGROUND, backend=backend, groups=groups)
    none, some = (explain_anomalies(explainer, ROWS, threshold=limit, worst=worst) for limit in (1e9, 1.5))
    assert (len(none), none.found, none.sentences()) == (0, 0, [])
    assert repr(none).startswith("0 anomalies, 0 rows above 1000000000; the median score of normal rows is ")
    one = explain_anomalies(explainer, ROWS, threshold=np.sort(explainer.scores(ROWS))[-2], worst=worst)
    assert repr(one).startswith("1 anomaly, 1 row above ")
    pd.testing.assert_frame_equal(none.table, some.table.head(0), check_index_type=False)
    assert none.table.index.names == ["row", "feature"]
    assert none.others.values.shape == (0, *some.others.values.shape[1:])
    assert none.others.output_names == some.others.output_names
    assert none.worst.shape == (0, worst)
    for part in ("values", "scores", "data", "base_values"):
        assert getattr(none.explanation, part).shape == (0, *getattr(some.explanation, part).shape[1:])
    assert none.feature_errors.columns.equals(some.feature_errors.columns)
    with pytest.raises(WrongIndex, match="there are 0 anomalies, got the place 0"):
        none.plot()


def test_columns_kept_aside_come_back_beside_each_anomaly(model):
    times = pd.date_range("2024-01-01", periods=30, freq="h")
    table = ROWS.assign(time=times, score=[f"{place:03d}" for place in range(30)])
    got = explain_anomalies(Explainer(model, BACKGROUND), table, 4, worst=2, keep_aside=["time", "score"])
    want = explain_anomalies(Explainer(model, BACKGROUND), ROWS, 4, worst=2)
    np.testing.assert_array_equal(got.rows, want.rows)
    assert [*got.table.columns[:3]] == ["time", "score (aside)", "score"]
    assert got.table["time"].tolist() == [times[place] for place in got.rows for _ in range(2)]
    pd.testing.assert_frame_equal(got.table[[*want.table]], want.table)
    place = got.rows[0]
    assert got.sentences()[0].startswith(f"row {place} (time {times[place]}, score {place:03d}) scores ")


def test_a_file_is_read_with_its_columns_kept_aside(model, tmp_path):
    ROWS.assign(time="8 o'clock").to_csv(tmp_path / "new.csv", index=False)
    options = {"top": 3, "worst": 2, "keep_aside": ["time"]}
    got = explain_anomalies(Explainer(model, BACKGROUND), tmp_path / "new.csv", **options)
    np.testing.assert_array_equal(got.rows, explain_anomalies(Explainer(model, BACKGROUND), ROWS, 3).rows)
    assert set(got.table["time"]) == {"8 o'clock"}
    with pytest.raises(DataError, match=r"the rows in .*new\.csv must be numbers"):
        explain_anomalies(Explainer(model, BACKGROUND), tmp_path / "new.csv", 3)


@pytest.mark.parametrize("table", [ROWS.to_numpy(), ROWS.reset_index(drop=True)], ids=["array", "DataFrame"])
def test_rows_without_names_are_called_by_their_positions_in_the_table_everywhere(model, table):
    found = explain_anomalies(Explainer(model, BACKGROUND), table, top=3)
    places = found.rows.tolist()
    assert places != [0, 1, 2]
    assert [*found.explanation.to_frame().index] == [*found.others.row_names] == [*found.feature_errors.index] == places
    assert found.waterfall(1).get_title() == f"row {places[1]}"


# Pictures


def test_a_waterfall_shows_the_features_of_one_anomaly(anomalies):
    ax = anomalies.waterfall(1)
    assert ax.get_xlabel() == "SHAP value (impact on reconstruction error, mean squared)"
    shown = [text.get_text() for text in ax.get_yticklabels()]
    assert any(name in label for name in NAMES for label in shown)


def test_a_plot_shows_the_features_with_the_largest_errors_and_contributions(anomalies):
    ax = anomalies.plot(1, max_display=3)
    names = [text.get_text().partition("\n")[0] for text in ax.get_yticklabels()]
    shares = [
        np.abs(each) / np.abs(each).sum()
        for each in (anomalies.feature_errors.iloc[1], anomalies.explanation.values[1])
    ]
    assert names == [NAMES[at] for at in np.argsort(-np.maximum(*shares))[:3]]
    assert ax.get_title(loc="left") == anomalies.sentences()[1].partition(":")[0]


def test_a_row_with_a_colon_in_its_name_has_its_whole_name_in_its_picture_and_its_sentence(model):
    rows = ROWS.set_axis(pd.date_range("2026-11-27", periods=len(ROWS), freq="43s"))
    for aside in ([], ["at"]):
        table = rows.assign(at=rows.index.astype(str)) if aside else rows
        found = explain_anomalies(Explainer(model, BACKGROUND), table, top=2, keep_aside=aside)
        for place, row in enumerate(found.rows):
            title = found.plot(place).get_title(loc="left")
            assert title.startswith(f"row {rows.index[row]}{f' (at {rows.index[row]})' if aside else ''} scores ")
            assert title.endswith(" times the median")
            assert found.sentences()[place].startswith(f"{title}: ")


@pytest.mark.parametrize("place", [4, -5])
@pytest.mark.parametrize("method", ["plot", "waterfall"])
def test_a_picture_of_an_anomaly_that_is_not_there_is_refused(method, place, anomalies):
    with pytest.raises(WrongIndex, match=rf"there are 4 anomalies, got the place {place}\. Places start at 0\."):
        getattr(anomalies, method)(place)


@pytest.mark.parametrize("method", ["plot", "waterfall"])
@pytest.mark.parametrize("most", [0, -1, 1.5, True])
def test_a_picture_of_no_features_is_refused(method, most, anomalies):
    with pytest.raises(DataError, match="max_display must be an integer, at least 1, got"):
        getattr(anomalies, method)(0, max_display=most)


# Refusals


@pytest.mark.parametrize(
    ("settings", "call", "message"),
    [
        (
            {"head": "latent"},
            {},
            "got an Explainer with head 'latent' and source 'input'. It takes attributions of the reconstruction error",
        ),
        ({"source": "latent"}, {}, "and source 'latent'"),
        ({}, {"top": 0}, "^top must be an integer, at least 1, or None, got 0"),
        ({}, {"worst": 0}, "^worst must be an integer, at least 1, got 0"),
        ({}, {"rows": [1], "top": 3}, "^rows= and top= can't choose rows together"),
        ({}, {"threshold": 1, "quantile": 0.9}, "^threshold= and quantile= can't choose rows together"),
        ({}, {"rows": [1], "threshold": 0.0}, "^rows= and threshold= can't choose rows together"),
        ({}, {"top": 2.5}, r"^top must be an integer, at least 1, or None, got 2\.5"),
        ({}, {"top": "3"}, "^top must be an integer, at least 1, or None, got '3'"),
        ({}, {"worst": 1.5}, r"^worst must be an integer, at least 1, got 1\.5"),
        ({}, {"worst": True}, "^worst must be an integer, at least 1, got True"),
        ({}, {"threshold": np.nan}, "^threshold must be a finite number"),
        ({}, {"threshold": np.inf}, r"^threshold must be a finite number"),
        ({}, {"threshold": "0.5"}, "^threshold must be a finite number, or None, got '0.5'"),
        ({}, {"threshold": torch.tensor([0.5, 1])}, "^threshold must be a finite number"),
        ({}, {"quantile": "0.9"}, "^quantile must be a number from 0 to 1, .* got '0.9'"),
        ({}, {"quantile": np.nan}, "^quantile must be a number from 0 to 1, .* got nan"),
        ({}, {"quantile": 99}, r"^quantile must be a number from 0 to 1"),
        ({}, {"quantile": np.nan}, "^quantile must be a number from 0 to 1"),
        ({}, {"rows": [3, 1, 3, 1]}, "^rows= chooses the positions 3, 1 twice"),
        ({}, {"rows": [29, -1]}, "^rows= chooses the positions 29 twice"),
        ({}, {"normal": BACKGROUND[["a", "b"]]}, "without columns c, d, e, f"),
    ],
)
def test_invalid_explainers_and_counts_are_errors(settings, call, message, model):
    with pytest.raises(DataError, match=message):
        explain_anomalies(Explainer(model, BACKGROUND, **settings), ROWS, **call)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (["row 3", "row 99"], UnknownName, "no row is called 'row 99'"),
        ([30], WrongIndex, "there are 30 rows, got the number 30"),
        (1.5, WrongIndex, "rows are chosen by an integer"),
        (np.ones(4, dtype=bool), WrongIndex, "a mask of rows needs 30 entries"),
    ],
)
def test_rows_that_are_not_there_are_refused_before_any_row_is_scored(rows, error, message, model):
    explainer = Explainer(model, BACKGROUND)
    explainer.scores = None  # a call would be another error
    with pytest.raises(error, match=message):
        explain_anomalies(explainer, ROWS, rows=rows)


def test_names_of_rows_that_have_none_are_refused(model):
    with pytest.raises(DataError, match=r"the rows have no names, only positions from 0 to 29, got \['x'\]"):
        explain_anomalies(Explainer(model, BACKGROUND), ROWS.to_numpy(), rows=["x"])


def test_an_error_about_normal_rows_says_so(model):
    with pytest.raises(DataError, match="got 2 columns") as caught:
        explain_anomalies(Explainer(model, BACKGROUND.to_numpy()), ROWS.to_numpy(), normal=np.ones((5, 2)))
    assert caught.value.__notes__ == ["(these are the normal rows)"]
