"""Readings beside expected readings, in the units of the table; and groups of features."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import preprocessing
from sklearn.pipeline import make_pipeline
from torch import nn

from shapae import Autoencoder, Explainer, background, datasets, explain_anomalies, heads, losses
from shapae.analysis.anomalies.readings import category_labels
from shapae.errors import ModelError
from tests import cases

NAMES = ["a", "b", "c", "d", "e", "f"]
SCALE, MEAN = np.array([1, 50, 0.01, 1e3, 2, 4]), np.array([3, -200, 0, 1e4, 0.5, -7])
RAW, BACKGROUND = (pd.DataFrame(cases.table(n, seed=n) * SCALE + MEAN, columns=NAMES) for n in (30, 9))


def reconstruct(model, rows):
    with torch.no_grad():
        return model(torch.tensor(np.asarray(rows), dtype=torch.float64)).numpy()


SCALERS = {
    "standard": preprocessing.StandardScaler(),
    "min-max": preprocessing.MinMaxScaler(),
    "robust": preprocessing.RobustScaler(),
    "pipeline": make_pipeline(preprocessing.RobustScaler(), preprocessing.StandardScaler()),
}


@pytest.mark.parametrize("kind", SCALERS)
def test_expected_readings_are_in_the_units_of_the_table(kind, model):
    scaler = SCALERS[kind].fit(RAW)
    anomalies = explain_anomalies(Explainer(Autoencoder(model, preprocess=scaler), BACKGROUND), RAW, 5, worst=6)
    rows = RAW.iloc[anomalies.rows]
    want = scaler.inverse_transform(reconstruct(model, scaler.transform(rows)))
    assert anomalies.units == "table"
    np.testing.assert_array_equal(anomalies.readings.reading, rows)
    np.testing.assert_allclose(anomalies.readings.expected, want, rtol=1e-9, atol=1e-9)
    errors = (reconstruct(model, scaler.transform(rows)) - scaler.transform(rows)) ** 2
    np.testing.assert_allclose(anomalies.feature_errors, errors, rtol=1e-9, atol=1e-12)
    for (row, feature), line in anomalies.table.iterrows():
        place = [*anomalies.rows].index(row)
        at = NAMES.index(feature)
        assert line["reading"] == RAW.loc[row, feature]
        assert line["expected"] == pytest.approx(want[place, at])
        assert line["error"] == pytest.approx(errors[place, at])
        assert line["score"] == pytest.approx(errors[place].mean())
        assert line["part"] == pytest.approx(errors[place, at] / errors[place].sum())
        assert line["contribution"] == anomalies.explanation.values[place, at]


def test_numbers_of_the_table_stay_numbers(model):
    table = explain_anomalies(Explainer(model, BACKGROUND / SCALE), RAW / SCALE, 5, worst=6).table
    assert [*table.columns] == [
        *("score", "reading", "expected", "error", "part", "contribution", "contributing", "offsetting")
    ]
    assert (table.dtypes.iloc[:6] == np.float64).all()
    assert table.notna().all(axis=None)


def test_readings_of_a_model_in_single_precision_keep_the_digits_of_the_table():
    model = cases.build(cases.Question, dtype=torch.float32)
    rows = RAW / SCALE - MEAN / SCALE + 0.1
    anomalies = explain_anomalies(Explainer(model, rows.iloc[:9]), rows, 5, worst=6)
    assert (anomalies.readings.reading.to_numpy() == rows.iloc[anomalies.rows].to_numpy()).all()


class Log(nn.Module):
    def forward(self, rows):
        return torch.log1p(rows.abs())


class Undone(Log):
    """Absolute values, so that the logarithm can be undone."""

    def inverse(self, rows):
        return torch.expm1(rows)


def test_preprocessing_that_can_not_be_undone_leaves_both_readings_in_the_units_of_the_model(model):
    rows, some = RAW.abs(), BACKGROUND.abs()
    with pytest.warns(match="reconstructs the background worse"):
        explainer = Explainer(Autoencoder(model, preprocess=Log()), some)
    anomalies = explain_anomalies(explainer, rows, 5, worst=6)
    target = np.log1p(rows.iloc[anomalies.rows])
    assert anomalies.units == "model"
    np.testing.assert_allclose(anomalies.readings.reading, target, rtol=1e-12)
    np.testing.assert_allclose(anomalies.readings.expected, reconstruct(model, target), rtol=1e-9)
    usual = np.quantile(np.log1p(some), [0.05, 0.5, 0.95], axis=0)
    np.testing.assert_allclose(anomalies.readings.usual, usual, rtol=1e-12)
    assert all("(in the units of the model)" in sentence for sentence in anomalies.sentences())
    assert any("units of the model" in text.get_text() for text in anomalies.plot().texts)
    with pytest.warns(match="reconstructs the background worse"):
        explainer = Explainer(Autoencoder(model, preprocess=Undone()), some)
    undone = explain_anomalies(explainer, rows, 5, worst=6)
    assert undone.units == "table"
    np.testing.assert_array_equal(undone.rows, anomalies.rows)
    np.testing.assert_array_equal(undone.readings.reading, rows.iloc[anomalies.rows])
    np.testing.assert_allclose(undone.readings.expected, np.expm1(anomalies.readings.expected), rtol=1e-9)
    np.testing.assert_allclose(undone.readings.usual, np.quantile(some, [0.05, 0.5, 0.95], axis=0), rtol=1e-12)


class Logits(nn.Module):
    """A loss of your own, whose reconstructions are logits."""

    def forward(self, reconstruction, target):
        return nn.functional.binary_cross_entropy_with_logits(reconstruction, target, reduction="none")

    def expected(self, reconstruction):
        return reconstruction.sigmoid()


LOSSES = {
    "bce_with_logits": ("bce_with_logits", torch.sigmoid),
    "of torch": (nn.BCEWithLogitsLoss(reduction="none"), torch.sigmoid),
    "of your own": (Logits(), torch.sigmoid),
    "poisson": (nn.PoissonNLLLoss(reduction="none"), torch.exp),
    "poisson of means": (nn.PoissonNLLLoss(log_input=False, reduction="none"), lambda numbers: numbers),
    "mae": ("mae", lambda numbers: numbers),
    "l2": ("l2", lambda numbers: numbers),
}


class Positive(cases.Question):
    def forward(self, rows):
        return super().forward(rows).abs()


@pytest.mark.parametrize("kind", LOSSES)
def test_expected_readings_are_what_the_loss_compares_with_the_target(kind):
    """Logits are read as probabilities, in the units of the scaled target, and then of the table."""
    loss, expected = LOSSES[kind]
    model, scaler = cases.build(Positive), preprocessing.MinMaxScaler().fit(RAW)
    explainer = Explainer(
        Autoencoder(model, preprocess=scaler), RAW.iloc[:9], head=heads.ReconstructionError(loss), backend="sampling"
    )
    anomalies = explain_anomalies(explainer, RAW, 3)
    scaled = torch.tensor(reconstruct(model, scaler.transform(RAW.iloc[anomalies.rows])))
    want = scaler.inverse_transform(expected(scaled).numpy())
    np.testing.assert_allclose(anomalies.readings.expected, want, rtol=1e-9, atol=1e-9)


def test_the_part_of_errors_that_may_be_negative_is_not_known(model):
    head = heads.ReconstructionError(losses.GaussianNLL(0.01))
    anomalies = explain_anomalies(Explainer(model, cases.table(7), head=head), cases.table(30, seed=3), 5, worst=6)
    negative = (anomalies.feature_errors < 0).any(axis=1).to_numpy().repeat(6)
    assert negative.any()
    np.testing.assert_array_equal(anomalies.table["part"].isna(), negative)
    assert len(anomalies.sentences()) == 5


def test_the_model_and_the_table_come_back_as_they_went_in(model):
    model.train()
    table, before = RAW.copy(), cases.snapshot(model)
    anomalies = explain_anomalies(Explainer(Autoencoder(model, preprocess=(MEAN, SCALE)), BACKGROUND), table, 3)
    anomalies.readings.reading.iloc[:] = 0
    assert cases.snapshot(model) == before
    pd.testing.assert_frame_equal(table, RAW)


# Groups


GROUPS = {"two": ["a", "d"], "three": ["b", "e", "f"]}
PLAYERS = [[0, 3], [1, 4, 5], [2]]


def test_errors_of_groups_are_the_sums_of_the_errors_of_their_features(model):
    rows, some = cases.table(20, seed=3), cases.table(7, seed=2)
    table, against = (pd.DataFrame(each, columns=NAMES) for each in (rows, some))
    anomalies = explain_anomalies(Explainer(model, against, groups=GROUPS), table, 5, worst=2)
    squares = (reconstruct(model, rows) - rows) ** 2
    sums = np.stack([squares[:, members].sum(axis=1) for members in PLAYERS], axis=1)[anomalies.rows]
    np.testing.assert_allclose(anomalies.feature_errors, sums, rtol=1e-9)
    assert [*anomalies.feature_errors] == ["two", "three", "c"] == list(anomalies.explanation.feature_names)
    np.testing.assert_array_equal(anomalies.worst, np.argsort(-sums, axis=1)[:, :2])
    np.testing.assert_allclose(anomalies.others.scores, np.sort(sums)[:, :0:-1], rtol=1e-9)
    for (row, group), line in anomalies.table.iterrows():
        names = {"c": ["c"]} | GROUPS
        worst = max(names[group], key=lambda name: squares[row, NAMES.index(name)])
        assert (line["member"], line["category"]) == (worst, None)
        assert line["reading"] == table.loc[row, worst]


def shapley(game, count):
    """Values of a game of coalitions, by their definition."""
    values = np.zeros(count)
    for player in range(count):
        for size in range(count):
            for coalition in itertools.combinations([each for each in range(count) if each != player], size):
                weight = 1 / (count * math.comb(count - 1, size))
                values[player] += weight * (game({*coalition, player}) - game({*coalition}))
    return values


@pytest.mark.parametrize("backend", ["deep", "exact", "sampling"])
def test_other_groups_have_the_shapley_values_of_the_error_with_the_group_itself_kept(backend):
    """DeepSHAP is exact for the square of a linear map."""
    model = cases.build(cases.Linear)
    rows, some = cases.table(6, seed=3), cases.table(5, seed=2)
    table, against = (pd.DataFrame(each, columns=NAMES) for each in (rows, some))
    explainer = Explainer(model, against, groups=GROUPS, backend=backend)
    anomalies = explain_anomalies(explainer, table, 3, worst=3)
    for place, row in enumerate(rows[anomalies.rows]):
        for rank, group in enumerate(anomalies.worst[place]):

            def game(coalition, row=row, group=group):
                mixed = some.copy()
                for player in {*coalition, group}:
                    mixed[:, PLAYERS[player]] = row[PLAYERS[player]]
                errors = (reconstruct(model, mixed) - mixed) ** 2
                return errors[:, PLAYERS[group]].sum(axis=1).mean()

            np.testing.assert_allclose(anomalies.others.values[place, :, rank], shapley(game, 3), atol=1e-9)


class Goods(nn.Module):
    """Reconstructs an amount of -1 or 1 exactly, and fuel for the amount -1, rent for 1, whatever was bought."""

    def forward(self, rows):
        amount = rows[:, :1]
        return torch.cat([amount, (1 - amount) / 2, (1 + amount) / 2], dim=1)


COLUMNS = ["amount", "goods=fuel", "goods=rent"]
BOUGHT = pd.DataFrame([[-1, 1, 0], [1, 0, 1], [-1, 1, 0], [-1, 1, 0.0]], columns=COLUMNS)
PAYMENTS = pd.DataFrame([[-1, 1, 0], [1, 1, 0], [-0.5, 1, 0.0], [1, 1, 1], [1, 0, 0]], columns=COLUMNS)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_reading_of_one_hot_columns_is_their_active_category(scaled):
    model = Goods()
    if scaled:  # to the same reconstruction, by way of other numbers
        mean, scale = np.array([0, 0.5, 0.5]), np.array([1, 0.25, 0.25])
        model = Rescaled(torch.tensor(mean), torch.tensor(scale))
    autoencoder = Autoencoder(model, preprocess=(mean, scale)) if scaled else model
    explainer = Explainer(autoencoder, BOUGHT, groups={"goods": COLUMNS[1:]})
    table = explain_anomalies(explainer, PAYMENTS, rows=range(5), worst=1).table.reset_index("feature")
    assert table["feature"].tolist() == ["goods"] * 5
    assert table["category"].tolist() == ["fuel", "fuel", "fuel", "fuel and rent", "none"]
    assert table["expected_category"].tolist() == ["fuel", "rent", "fuel", "rent", "rent"]
    assert table["member"].tolist()[:3] == ["goods=fuel"] * 3
    np.testing.assert_allclose(table["reading"][:3], [1, 1, 1])
    np.testing.assert_allclose(table["expected"][:3], [1, 0, 0.75])
    np.testing.assert_allclose(table["error"] / table["error"].max(), np.array([0, 2, 0.125, 1, 1]) / 2)


class Rescaled(Goods):
    def __init__(self, mean, scale):
        super().__init__()
        self.mean, self.scale = mean, scale

    def forward(self, rows):
        return (super().forward(rows * self.scale + self.mean) - self.mean) / self.scale


def test_sentences_name_categories():
    """The errors of the five rows are 0, 2, 1/8, 1 and 1; with the amounts of normal rows they are 1/2, and 1."""
    explainer = Explainer(Goods(), BOUGHT, groups={"goods": COLUMNS[1:]})
    sentences = explain_anomalies(explainer, PAYMENTS, rows=range(5), worst=1).sentences()
    assert [sentence.partition(": ")[2] for sentence in sentences] == [
        "goods is fuel as expected",
        "goods is fuel where rent was expected; amount raised it",
        "goods is fuel as expected, but by 0.75 instead of 1; amount offset it",
        "goods is fuel and rent where rent was expected",
        "goods is none where rent was expected",
    ]


def test_faulty_categories_of_payments_are_read_as_they_are():
    data = datasets.transactions(400, faulty=30)
    groups = {name: columns for name, columns in data.fields.items() if len(columns) > 1}
    explainer = Explainer(cases.build(cases.Linear, 11, 4), data.normal.astype(float), groups=groups)
    anomalies = explain_anomalies(explainer, data.X.astype(float), rows=slice(None), worst=5)
    for (row, field), line in anomalies.table.iterrows():
        if field in groups:
            assert data.X.loc[row, f"{field}={line['category']}"] == 1
            assert line["member"] == f"{field}={line['category']}"
            columns = [f"{field}={name}" for name in category_labels(groups[field])]
            expected = anomalies.readings.expected.loc[row, columns]
            assert expected.idxmax() == f"{field}={line['expected_category']}"
        else:
            assert (line["category"], line["expected_category"]) == (None, None)


def test_groups_that_are_not_one_hot_in_the_background_have_no_categories():
    explainer = Explainer(Goods(), BOUGHT.assign(**{"goods=fuel": [1, 1, 1, 1.0]}), groups={"goods": COLUMNS[1:]})
    assert explain_anomalies(explainer, PAYMENTS, rows=[1]).table["category"].tolist() == [None, None]


def test_categories_are_not_known_in_the_units_of_the_model():
    explainer = Explainer(Autoencoder(Goods(), preprocess=nn.Flatten()), BOUGHT, groups={"goods": COLUMNS[1:]})
    anomalies = explain_anomalies(explainer, PAYMENTS, rows=[1], worst=1)
    assert (anomalies.units, anomalies.readings.one_hot) == ("model", frozenset())
    assert anomalies.table["category"].tolist() == [None]
    assert "goods=fuel of goods reads 1 where 0 was expected" in anomalies.sentences()[0]


def test_centres_of_clusters_are_no_categories_but_have_a_usual_range(model):
    centres = background.kmeans(cases.table(40, seed=5), 6)
    anomalies = explain_anomalies(Explainer(model, centres), cases.table(5), 2)
    values, weights = np.asarray(centres.rows.values), np.asarray(centres.weights)
    want = np.quantile(values, [0.05, 0.5, 0.95], axis=0, weights=weights, method="inverted_cdf")
    np.testing.assert_allclose(anomalies.readings.usual, want, rtol=1e-9)


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (["goods=fuel", "goods=rent"], ["fuel", "rent"]),
        (["colour_red", "colour_rose"], ["red", "rose"]),
        (["red", "rust"], ["red", "rust"]),
        (["tube_1", "tube_12"], ["1", "12"]),
        (["size ", "size L"], ["size ", "L"]),
    ],
)
def test_labels_of_categories_are_their_names_behind_the_common_beginning(columns, labels):
    assert category_labels(columns) == labels


def test_groups_of_latents_are_refused_as_before(model):
    with pytest.raises(ModelError, match="no feature can be kept"):
        Explainer(model, cases.table(7), head=heads.ErrorFromOthers(2), source="latent")
