"""Anomalies: the rows with the largest errors, their worst features, and the contributions of other features."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from shapae import Explainer, explain_anomalies, heads
from shapae.errors import DataError
from tests import cases

NAMES = ["a", "b", "c", "d", "e", "f"]
ROWS = pd.DataFrame(cases.table(30, seed=3), [f"row {place}" for place in range(30)], NAMES)
BACKGROUND = pd.DataFrame(cases.table(7, seed=2), columns=NAMES)


class Copying(nn.Module):
    """Reconstructs every feature except the last exactly, and the last as the first."""

    def forward(self, rows):
        return torch.cat([rows[:, :5], rows[:, :1]], dim=1)


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


def test_a_waterfall_shows_the_features_of_one_anomaly(anomalies):
    ax = anomalies.waterfall(1)
    assert ax.get_xlabel() == "reconstruction error"
    shown = [text.get_text() for text in ax.get_yticklabels()]
    assert any(name in label for name in NAMES for label in shown)


@pytest.mark.parametrize(
    ("settings", "call", "message"),
    [
        (
            {"head": "latent"},
            {},
            "got an Explainer with head 'latent' and source 'input'. It takes attributions of the reconstruction error",
        ),
        ({"source": "latent"}, {}, "and source 'latent'"),
        ({}, {"top": 0}, "^top must be at least 1, got 0"),
        ({}, {"worst": 0}, "^worst must be at least 1, got 0"),
    ],
)
def test_invalid_explainers_and_counts_are_errors(settings, call, message, model):
    with pytest.raises(DataError, match=message):
        explain_anomalies(Explainer(model, BACKGROUND, **settings), ROWS, **call)
