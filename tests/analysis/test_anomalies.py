"""The rows with the largest errors, what rebuilds badly in them, and what is behind it."""

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
    """Rebuilds every feature but the last, for which it gives the first one."""

    def forward(self, rows):
        return torch.cat([rows[:, :5], rows[:, :1]], dim=1)


@pytest.fixture
def found(model):
    return explain_anomalies(Explainer(model, BACKGROUND), ROWS, top=4, worst=2)


def squared(model):
    with torch.no_grad():
        return (model(torch.tensor(ROWS.to_numpy())).numpy() - ROWS.to_numpy()) ** 2


def test_the_rows_are_those_with_the_largest_errors_the_largest_first(found, model):
    errors = squared(model)
    order = np.argsort(-errors.mean(axis=1))[:4]
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_allclose(found.feature_errors, errors[order], atol=1e-12)
    np.testing.assert_array_equal(found.worst, np.argsort(-errors[order], axis=1)[:, :2])
    assert list(found.feature_errors.index) == [f"row {place}" for place in order]


def test_the_explanation_is_that_of_these_rows(found, model):
    want = Explainer(model, BACKGROUND)(ROWS.iloc[found.rows])
    np.testing.assert_allclose(found.explanation.values, want.values, atol=1e-12)
    np.testing.assert_allclose(found.explanation.scores, want.scores, atol=1e-12)


def test_others_are_those_of_the_head(found, model):
    want = Explainer(model, BACKGROUND, head=heads.ErrorFromOthers(2))(ROWS.iloc[found.rows])
    np.testing.assert_allclose(found.others.values, want.values, atol=1e-12)


def test_the_table_says_which_feature_is_rebuilt_badly_and_because_of_which():
    """The last feature is rebuilt as the first: so that has made its error, one way or the other."""
    found = explain_anomalies(Explainer(Copying(), BACKGROUND), ROWS, top=5, worst=1)
    assert [feature for _, feature in found.table.index] == ["f"] * 5
    for (row, _), line in found.table.iterrows():
        x = ROWS.loc[row]
        assert line["error"] == pytest.approx((x["a"] - x["f"]) ** 2)
        assert line["part"] == pytest.approx(1)
        gained = line["error"] - ((BACKGROUND["a"] - x["f"]) ** 2).mean()
        assert [line["contributing"], line["offsetting"]] == (["a", ""] if gained > 0 else ["", "a"])


def test_a_loss_of_whole_rows_orders_them_and_squares_tell_of_features(model):
    found = explain_anomalies(Explainer(model, BACKGROUND, head=heads.ReconstructionError("l2")), ROWS, top=3)
    np.testing.assert_allclose(found.explanation.scores**2, found.feature_errors.sum(axis=1), atol=1e-12)


def test_a_waterfall_is_drawn_for_each(found):
    ax = found.waterfall(1)
    assert ax.get_xlabel() == "reconstruction error"
    shown = [text.get_text() for text in ax.get_yticklabels()]
    assert any(name in label for name in NAMES for label in shown)


@pytest.mark.parametrize(
    ("settings", "call", "message"),
    [
        ({"head": "latent"}, {}, "takes an Explainer of features with head='reconstruction_error', got head 'latent'"),
        ({"source": "latent"}, {}, "and source 'latent'"),
        ({"groups": {"two": ["a", "b"]}}, {}, "got head 'reconstruction_error' and groups"),
        ({}, {"top": 0}, "top and worst must be at least 1, got 0 and 5"),
        ({}, {"worst": 0}, "top and worst must be at least 1, got 10 and 0"),
    ],
)
def test_what_can_not_be_explained_is_refused(settings, call, message, model):
    with pytest.raises(DataError, match=message):
        explain_anomalies(Explainer(model, BACKGROUND, **settings), ROWS, **call)
