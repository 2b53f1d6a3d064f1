"""Averages in folders, and back."""

import json

import numpy as np
import pandas as pd
import pytest

from shapae import Explainer, Importance
from shapae.errors import OutputError
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.importance import MEASURES
from tests import cases
from tests.explainer.explanations import explanation

LABELS = {
    "names": ["T", "B", "T", "NK $/", "B", "T", "B", "B"],
    "numbers": [2, 1, 2, 10, 1, 2, 1, 1],
    "truth values": [True, False] * 4,
}


def assert_same(got, want):
    assert type(got) is type(want)
    for name in (*MEASURES, "residual", "used"):
        one, other = getattr(got, name), getattr(want, name)
        assert (one is None) == (other is None), name
        np.testing.assert_array_equal(one, other)
    for name in ("rows", "feature_names", "output_names", "made_by"):
        assert getattr(got, name) == getattr(want, name), name


@pytest.mark.parametrize("k", [None, 3])
def test_an_importance_comes_back_as_it_was(k, tmp_path):
    want = Importance.of(explanation(k, feature_names=cases.FEATURES))
    got = Importance.load(want.save(tmp_path / "it"))
    assert_same(got, want)
    pd.testing.assert_frame_equal(got.top(), want.top())
    Importance.of(explanation(3)[:2]).save(tmp_path / "it")  # replaces it
    assert Importance.load(tmp_path / "it").rows == 2


def test_the_importance_of_a_single_row_comes_back(model, tmp_path):
    row = Explainer(model, cases.table(300, seed=2), tolerance=0.2)(cases.table(3))[1]
    loaded = Importance.load(Importance.of(row).save(tmp_path / "it"))
    np.testing.assert_array_equal(loaded.mean_abs[:, 0], np.abs(row.values))
    assert loaded.used.tolist() == [row.used]


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("k", [None, 3])
def test_groups_come_back_as_they_were(k, kind, tmp_path):
    want = GroupedImportance.of(explanation(k), LABELS[kind])
    got = GroupedImportance.load(want.save(tmp_path / "it"))
    assert got.labels == want.labels
    assert [type(label) for label in got.labels] == [type(label) for label in want.labels]
    for label in want:
        assert_same(got[label], want[label])
    assert_same(got.overall, want.overall)
    pd.testing.assert_frame_equal(got.table, want.table)


def test_what_each_row_took_until_a_tolerance_comes_back_too(model, tmp_path):
    explainer = Explainer(model, cases.table(300, seed=2), tolerance=0.2)
    want = explainer.summarize(cases.table(8, seed=1), by=LABELS["names"])
    got = GroupedImportance.load(want.save(tmp_path / "groups"))
    assert len({*got.overall.used}) > 1
    for label in want:
        assert_same(got[label], want[label])
    assert_same(got.overall, want.overall)
    assert_same(Importance.load(want.overall.save(tmp_path / "all")), want.overall)


def test_labels_of_other_kinds_become_names(tmp_path):
    ages = pd.cut([1, 30, 61, 35, 5, 70, 31, 20], [0, 18, 60, 99])
    want = GroupedImportance.of(explanation(), ages)
    assert GroupedImportance.load(want.save(tmp_path / "it")).labels == ["(0, 18]", "(18, 60]", "(60, 99]"]


def test_the_record_is_json_that_people_can_read(tmp_path):
    folder = GroupedImportance.of(explanation(3), LABELS["names"]).save(tmp_path / "it")
    record = json.loads((folder / "grouped_importance.json").read_text(encoding="utf-8"))
    assert record["labels"] == ["B", "NK $/", "T"]
    assert record["rows"] == [4, 1, 3, 8]


@pytest.mark.parametrize("kind", [Importance, GroupedImportance])
def test_other_folders_are_an_error_that_names_the_folder(kind, tmp_path):
    explanation().save(tmp_path / "other")
    for folder in (tmp_path / "other", tmp_path / "nothing"):
        with pytest.raises(OutputError, match=f"{folder.name} does not hold .*importance that can be read"):
            kind.load(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"holds thesis\.tex"):
        GroupedImportance.of(explanation(), LABELS["names"]).save(tmp_path / "mine")
