"""Backgrounds: samples, clusters and groups of rows."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from shapae import Explainer, from_anndata
from shapae.errors import DataError, TooLarge, UnknownName
from shapae.tables.background import contrast, kmeans, read_background, sample, stratified, weighted
from tests import cases

NAMES = list("abcdef")
TABLE = cases.table(40)
LABELS = np.array(["B cells"] * 10 + ["T cells"] * 25 + ["NK"] * 5)


def named(table):
    return pd.DataFrame(table, columns=NAMES, index=[f"cell {row}" for row in range(len(table))])


def anndata_of(table):
    anndata = pytest.importorskip("anndata")
    frame = named(table)
    return anndata.AnnData(sparse.csr_matrix(table), pd.DataFrame({"kind": LABELS}, frame.index), frame.T[[]])


# Weights


KINDS = {"array": np.asarray, "frame": named, "AnnData": anndata_of, "sparse": sparse.csc_array}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_has_distinct_rows_in_their_order(kind):
    table = KINDS[kind](TABLE)
    got = sample(table, 9, seed=3)
    dense = got.rows.dense(slice(None))
    places = [int(np.flatnonzero((TABLE == row).all(axis=1))[0]) for row in dense]
    assert len(places) == len(got) == 9
    assert (np.diff(places) > 0).all()
    assert got.weights is None
    np.testing.assert_array_equal(sample(table, 9, seed=3).rows.dense(slice(None)), dense)
    assert (sample(table, 9, seed=4).rows.dense(slice(None)) != dense).any()
    assert got.rows.names == (NAMES if kind in {"frame", "AnnData"} else None)
    if got.rows.row_names is not None:
        assert list(got.rows.row_names) == [f"cell {place}" for place in places]


def test_all_rows_are_sampled_equally_often():
    samples = np.concatenate([sample(np.arange(12.0)[:, None], 5, seed=s).rows.values.ravel() for s in range(600)])
    expected = 600 * 5 / 12
    assert (np.abs(np.bincount(samples.astype(int)) - expected) < 5 * np.sqrt(expected)).all()


def test_a_stratified_sample_has_groups_in_proportion():
    got = stratified(TABLE, 8, by=LABELS, seed=1)
    places = [int(np.flatnonzero((TABLE == row).all(axis=1))[0]) for row in got.rows.values]
    assert (np.diff(places) > 0).all()
    assert dict(zip(*np.unique(LABELS[places], return_counts=True), strict=True)) == {
        "B cells": 2,
        "NK": 1,
        "T cells": 5,
    }
    assert (stratified(TABLE, 8, by=LABELS, seed=2).rows.values != got.rows.values).any()


@pytest.mark.parametrize("count", range(1, 41))
def test_no_group_is_more_than_a_row_off_its_share(count):
    got = stratified(np.arange(40.0)[:, None], count, by=LABELS).rows.values.ravel().astype(int)
    assert len({*got}) == count
    for kind in {*LABELS}:
        assert abs((LABELS[got] == kind).sum() - count * (LABELS == kind).mean()) < 1


def test_labels_may_be_a_column_of_an_anndata_or_a_series():
    want = stratified(TABLE, 8, by=LABELS).rows.values
    for table, by in [
        (anndata_of(TABLE), "kind"),
        (anndata_of(TABLE), anndata_of(TABLE).obs["kind"]),
        (from_anndata(anndata_of(TABLE)), LABELS.tolist()),
        (named(TABLE), pd.Series(LABELS, named(TABLE).index)),
        (named(TABLE), pd.Series(LABELS)),
        (TABLE, pd.Categorical(LABELS)),
    ]:
        np.testing.assert_array_equal(stratified(table, 8, by=by).rows.dense(slice(None)), want)


def test_one_group_is_compared_with_another():
    rows, background = contrast(named(TABLE), "NK", "B cells", by=LABELS)
    np.testing.assert_array_equal(rows.values, TABLE[35:])
    np.testing.assert_array_equal(background.rows.values, TABLE[:10])
    assert list(rows.row_names) == [f"cell {row}" for row in range(35, 40)]
    got = Explainer(cases.build(cases.Question), background)(rows)
    want = Explainer(cases.build(cases.Question), TABLE[:10])(TABLE[35:])
    np.testing.assert_array_equal(got.values, want.values)
    assert got.made_by["background"] == "rows of 'B cells'"


def test_one_group_is_compared_with_the_rest():
    rows, background = contrast(anndata_of(TABLE), "T cells", by="kind")
    np.testing.assert_array_equal(rows.dense(slice(None)), TABLE[10:35])
    np.testing.assert_array_equal(background.rows.dense(slice(None)), np.delete(TABLE, np.s_[10:35], axis=0))


def test_groups_may_be_numbers():
    rows, background = contrast(TABLE, 0, by=np.arange(40) % 3)
    assert (len(rows), len(background)) == (14, 26)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", ["latent", "reconstruction"])
def test_the_centres_of_clusters_give_the_values_of_all_rows_for_a_linear_score(kind, head, rows):
    model, table = cases.build(cases.Linear), TABLE * (TABLE > 0)
    few = kmeans(KINDS[kind](table), 6)
    got, want = (Explainer(model, background, head=head)(rows) for background in (few, table))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.base_values, want.base_values, rtol=0, atol=1e-12)
    assert len(few) == 6
    assert few.rows.names == (NAMES if kind in {"frame", "AnnData"} else None)


def test_centres_are_the_means_of_their_clusters():
    clumps = np.repeat(10 * np.eye(3), [5, 2, 9], axis=0)
    table = clumps + 0.1 * np.random.default_rng(0).normal(size=(16, 3))
    got = kmeans(table, 3)
    order = got.rows.values.argmax(axis=1).argsort()
    want = [table[:5].mean(axis=0), table[5:7].mean(axis=0), table[7:].mean(axis=0)]
    np.testing.assert_allclose(got.rows.values[order], want)
    np.testing.assert_allclose(got.weights[order], np.array([5, 2, 9]) * 3 / 16)


def test_the_process_is_not_changed():
    before = cases.world()
    sample(TABLE, 5)
    kmeans(TABLE, 3)
    stratified(TABLE, 5, by=LABELS)
    assert cases.world() == before


REFUSED = {
    "sample of none": (lambda: sample(TABLE, 0), "count must be an integer, at least 1, got 0"),
    "sample of too many": (lambda: sample(TABLE, 41), r"got 41\. For all rows, give the table itself as background"),
    "strata of too many": (lambda: stratified(TABLE, 41, by=LABELS), "from 40 rows 1 to 40 can be drawn, got 41"),
    "more centres than rows": (lambda: kmeans(TABLE, 41), "finds 1 to 40 centres of 40 rows, got k=41"),
    "no centres": (lambda: kmeans(TABLE, 0), "k must be an integer, at least 1, got 0"),
    "more centres than different rows": (
        lambda: kmeans(np.repeat(TABLE[:3], 4, axis=0), 5),
        r"only 3 different rows for k=5 centres\. Use k=3 or fewer",
    ),
    "too few labels": (
        lambda: stratified(TABLE, 5, by=LABELS[1:]),
        r"one label for each of the 40 rows, got shape \(39,\)",
    ),
    "labels missing": (
        lambda: contrast(TABLE, "NK", by=[None, np.nan, *LABELS[2:]]),
        r"the labels of rows 0, 1 are missing\. Leave these rows out, or give them labels",
    ),
    "labels of other rows": (
        lambda: stratified(named(TABLE), 5, by=pd.Series(LABELS, named(TABLE).index[::-1])),
        r"the labels and the table have different row names\. Give labels\.loc\[X\.index\]",
    ),
    "a column without an AnnData": (
        lambda: stratified(TABLE, 5, by="kind"),
        r"'kind' can be a column of obs only if the table is an AnnData, got ndarray\. Give",
    ),
    "one label twice": (
        lambda: contrast(TABLE, "NK", "NK", by=LABELS),
        r"no rows to compare 'NK' with\. Give another label",
    ),
    "no others": (lambda: contrast(TABLE, "x", by=["x"] * 40), "no rows to compare 'x' with"),
    "a number": (
        lambda: Explainer(cases.build(cases.Question), 100),
        r"must be a table, got 100\. Draw .*sample\(X, 100\)",
    ),
    "NaN": (lambda: kmeans(np.full((3, 2), np.nan), 2), "the background must be finite, but 6 of 6 numbers are NaN"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_arguments_are_refused(kind):
    draw, message = REFUSED[kind]
    with pytest.raises(DataError, match=message):
        draw()


UNKNOWN = {
    "rows": (lambda: contrast(TABLE, "B cel", by=LABELS), "no label is called 'B cel'; there are: B cells, "),
    "against": (lambda: contrast(TABLE, "NK", "NKT", by=LABELS), "no label is called 'NKT'; there are: NK, "),
    "column": (
        lambda: stratified(anndata_of(TABLE), 5, by="kinds"),
        "no column of obs is called 'kinds'; there are: kind",
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_labels_are_refused_and_known_labels_listed(kind):
    draw, message = UNKNOWN[kind]
    with pytest.raises(UnknownName, match=message):
        draw()


# What is recorded


ORIGINS = {
    "sample": (lambda: sample(TABLE, 5, seed=2), "5 of 40 rows, drawn with seed 2"),
    "kmeans": (
        lambda: kmeans(TABLE, 4, seed=1),
        "4 centres of k-means of 40 rows, seed 1, by the sizes of their clusters",
    ),
    "stratified": (
        lambda: stratified(TABLE, 5, by=LABELS),
        "5 of 40 rows, drawn from 3 groups by their sizes, with seed 0",
    ),
    "contrast": (lambda: contrast(TABLE, "NK", by=LABELS)[1], "rows of all other labels than 'NK'"),
    "weighted": (lambda: weighted(TABLE, np.arange(1, 41)), "40 rows with weights"),
}


@pytest.mark.parametrize("kind", ORIGINS)
def test_the_origin_of_the_background_is_recorded(kind, rows):
    make, origin = ORIGINS[kind]
    made_by = Explainer(cases.build(cases.Question), make())(rows).made_by
    assert made_by["background"] == origin
    assert repr(make()) == f"Background of {made_by['b']} rows: {origin}"


def test_a_note_says_that_the_rows_are_also_the_background(rows, background):
    model = cases.build(cases.Question)
    note = "the rows are also the background, so that each is compared with itself, too"
    for head in ("reconstruction_error", "latent"):
        assert Explainer(model, rows, head=head)(named(rows)).made_by["note"] == note
        assert Explainer(model, rows, head=head).summarize(rows).made_by["note"] == note
    assert "note" not in Explainer(model, background)(rows).made_by
    assert "note" not in Explainer(model, rows)(rows[::-1].copy()).made_by
    assert "note" not in Explainer(model, rows)(rows[:3]).made_by


def test_all_rows_of_a_large_background_are_used(rows):
    everything = cases.table(3000, seed=8)
    got = Explainer(cases.build(cases.Linear), everything, head="latent")(rows)
    assert got.made_by["b"] == 3000
    model = cases.build(cases.Linear)
    np.testing.assert_allclose(
        got.base_values[0], model.encoder(torch.tensor(everything)).mean(dim=0).detach(), rtol=1e-12
    )


def test_a_background_that_does_not_fit_is_refused(rows):
    with pytest.raises(
        TooLarge, match=re.escape("the background of 40 rows takes 1.92 kB, but memory='1 kB' is allowed. Draw")
    ):
        Explainer(cases.build(cases.Question), TABLE, memory="1kB")


def test_a_table_is_a_background_of_all_its_rows():
    assert read_background(TABLE).weights is None
    assert repr(read_background(TABLE)) == "Background of 40 rows: as they came"
