"""Backgrounds: how they are drawn, and what weights do to everything that is averaged over them."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from shapae import Explainer, backends, from_anndata, heads
from shapae.errors import DataError, TooLarge, UnknownName
from shapae.tables import background as backgrounds
from shapae.tables.background import contrast, kmeans, sample, stratified, weighted
from tests import cases

NAMES = list("abcdef")
TABLE = cases.table(40)
LABELS = np.array(["B cells"] * 10 + ["T cells"] * 25 + ["NK"] * 5)
COUNTS = np.array([3, 1, 4, 1, 5, 2, 6])  # of the seven rows of the background
every_backend = pytest.mark.parametrize("backend", backends.names())
# Those that go through the background, and those that draw from it one row after the other.
PRECISE = [
    name for name in backends.names() if not backends.named(name).n_samples and backends.named(name).splits_background
]
DRAWN = ["gradient", "shap_gradient", "captum_gradient_shap"]
HEADS = {
    "error": "reconstruction_error",
    "latent": "latent",
    "all outputs": "reconstruction",
    "anchored": lambda: heads.ReconstructionError(target="fixed"),
}


def named(table):
    return pd.DataFrame(table, columns=NAMES, index=[f"cell {row}" for row in range(len(table))])


def annotated(table):
    anndata = pytest.importorskip("anndata")
    frame = named(table)
    return anndata.AnnData(sparse.csr_matrix(table), pd.DataFrame({"kind": LABELS}, frame.index), frame.T[[]])


# Weights


def explained(background, rows, head="error", **settings):
    made = HEADS[head]() if callable(HEADS[head]) else HEADS[head]
    return Explainer(cases.build(cases.Question), background, head=made, **settings)(rows)


@pytest.mark.parametrize("backend", PRECISE)
@pytest.mark.parametrize("head", HEADS)
def test_a_row_of_weight_two_counts_as_two_rows(backend, head, rows, background):
    want = explained(np.repeat(background, COUNTS, axis=0), rows, head, backend=backend)
    got = explained(weighted(background, COUNTS * 10.0), rows, head, backend=backend)
    for name in ("values", "base_values", "scores", "residual"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=0, atol=1e-12, err_msg=name)
    assert got.standard_errors is None
    assert got.made_by["b"] == 7


@pytest.mark.parametrize("backend", PRECISE)
@pytest.mark.parametrize("memory", [14_000, "1GB"])
def test_weights_stay_with_their_rows_where_the_background_is_cut(backend, memory, background):
    rows = cases.table(2, seed=1)
    memory = 200_000 if backend == "exact" and memory != "1GB" else memory
    want = explained(np.repeat(background, COUNTS, axis=0), rows, backend=backend)
    got = explained(weighted(background, COUNTS), rows, backend=backend, memory=memory)
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", DRAWN)
def test_draws_are_as_frequent_as_the_weights_say(backend, background):
    """For a linear score, values against draws are (x - mean of the draws) times a slope."""
    model, rows = cases.build(cases.Linear), np.tile(cases.table(1, seed=1), (30, 1))
    weights = np.array([1, 1, 1, 1, 1, 1, 30.0])
    got = Explainer(model, weighted(background, weights), head="latent:0", backend=backend)(rows)
    slope = model.encoder.weight.detach().numpy()[0]
    want = (rows[0] - np.average(background, axis=0, weights=weights)) * slope
    np.testing.assert_allclose(got.base_values, np.average(_latents(model, background)[:, 0], weights=weights))
    spread = got.values.std(axis=0)
    assert (np.abs(got.values.mean(axis=0) - want) < 4.5 * spread / np.sqrt(30)).all()
    plain = (rows[0] - background.mean(axis=0)) * slope
    assert (np.abs(got.values.mean(axis=0) - plain) > 10 * spread / np.sqrt(30)).any()
    np.testing.assert_allclose(got.standard_errors.mean(axis=0), spread, rtol=0.4)


def _latents(model, table):
    return table @ model.encoder.weight.detach().numpy().T + model.encoder.bias.detach().numpy()


@every_backend
def test_equal_weights_are_no_weights(backend, rows, background):
    plain = explained(background, rows, backend=backend)
    got = explained(weighted(background, [0.3] * 7), rows, backend=backend)
    if backend in PRECISE:
        np.testing.assert_allclose(got.values, plain.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.base_values, plain.base_values, rtol=0, atol=1e-14)


@pytest.mark.parametrize("head", ["error", "latent", "anchored"])
def test_a_summary_counts_by_weight_too(head, rows, background):
    made = HEADS[head]() if callable(HEADS[head]) else HEADS[head]
    explainer = Explainer(cases.build(cases.Question), weighted(background, COUNTS), head=made)
    got, explanation = explainer.summarize(rows), explainer(rows)
    values = explanation.values.reshape(5, 6, -1)
    np.testing.assert_allclose(got.mean_abs, np.abs(values).mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.residual, 0, atol=1e-14)


@every_backend
def test_weights_reach_workers(backend, rows, background):
    explainer = Explainer(cases.build(cases.Question), weighted(background, COUNTS), backend=backend)
    here = cases.attribution(backends.named(backend), explainer._game)
    there, some = pickle.loads(pickle.dumps(here)), torch.tensor(rows[:2])
    np.testing.assert_array_equal(there(some, seeds=[3, 4]).mean, here(some, seeds=[3, 4]).mean)


def test_a_tolerance_has_nothing_to_go_by_with_weights(background):
    with pytest.raises(DataError, match=r"not known with weights, .* Leave tolerance= out, or .*sample\(X, 100\)"):
        Explainer(cases.build(cases.Question), weighted(background, COUNTS), tolerance=0.1)


def test_weights_are_one_on_average_however_large_they_are():
    for scale in (1e-300, 1.0, 1e308):
        got = weighted(TABLE[:3], np.array([0.25, 0.5, 1.0]) * scale)
        np.testing.assert_allclose(got.weights, [3 / 7, 6 / 7, 12 / 7])


BAD_WEIGHTS = {
    "negative": (
        [1, -1, 2],
        "must be positive numbers, but those of row 1 are zero, negative or not finite; leave rows",
    ),
    "zero": ([0, 1, 0], "but those of rows 0, 2 are zero"),
    "all zero": ([0, 0, 0], "must be positive numbers, but none of them is"),
    "NaN": ([1, np.nan, np.inf], "but those of rows 1, 2 are"),
    "too few": ([1, 2], r"one number for each of the 3 background rows, got int64 of shape \(2,\)"),
    "a column": ([[1], [2], [3]], r"got int64 of shape \(3, 1\)"),
    "text": (["1", "2", "3"], "got <U1 of shape"),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_other_weights_are_refused(kind):
    weights, message = BAD_WEIGHTS[kind]
    with pytest.raises(DataError, match=message):
        weighted(TABLE[:3], weights)


# Draws

KINDS = {"array": np.asarray, "frame": named, "AnnData": annotated, "sparse": sparse.csc_array}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_drawn_once_each_in_their_order(kind):
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


def test_every_row_is_drawn_as_often_as_every_other():
    drawn = np.concatenate([sample(np.arange(12.0)[:, None], 5, seed=s).rows.values.ravel() for s in range(600)])
    expected = 600 * 5 / 12
    assert (np.abs(np.bincount(drawn.astype(int)) - expected) < 5 * np.sqrt(expected)).all()


def test_groups_are_drawn_in_proportion():
    got = stratified(TABLE, LABELS, 8, seed=1)
    places = [int(np.flatnonzero((TABLE == row).all(axis=1))[0]) for row in got.rows.values]
    assert (np.diff(places) > 0).all()
    assert dict(zip(*np.unique(LABELS[places], return_counts=True), strict=True)) == {
        "B cells": 2,
        "NK": 1,
        "T cells": 5,
    }
    assert (stratified(TABLE, LABELS, 8, seed=2).rows.values != got.rows.values).any()


@pytest.mark.parametrize("count", range(1, 41))
def test_no_group_is_more_than_a_row_off_its_share(count):
    got = stratified(np.arange(40.0)[:, None], LABELS, count).rows.values.ravel().astype(int)
    assert len({*got}) == count
    for kind in {*LABELS}:
        assert abs((LABELS[got] == kind).sum() - count * (LABELS == kind).mean()) < 1


def test_labels_may_be_a_column_of_an_anndata_or_a_series():
    want = stratified(TABLE, LABELS, 8).rows.values
    for table, by in [
        (annotated(TABLE), "kind"),
        (annotated(TABLE), annotated(TABLE).obs["kind"]),
        (from_anndata(annotated(TABLE)), LABELS.tolist()),
        (named(TABLE), pd.Series(LABELS, named(TABLE).index)),
        (named(TABLE), pd.Series(LABELS)),
        (TABLE, pd.Categorical(LABELS)),
    ]:
        np.testing.assert_array_equal(stratified(table, by, 8).rows.dense(slice(None)), want)


def test_one_group_is_compared_with_another():
    rows, background = contrast(named(TABLE), LABELS, "NK", "B cells")
    np.testing.assert_array_equal(rows.values, TABLE[35:])
    np.testing.assert_array_equal(background.rows.values, TABLE[:10])
    assert list(rows.row_names) == [f"cell {row}" for row in range(35, 40)]
    got = Explainer(cases.build(cases.Question), background)(rows)
    want = Explainer(cases.build(cases.Question), TABLE[:10])(TABLE[35:])
    np.testing.assert_array_equal(got.values, want.values)
    assert got.made_by["background"] == "rows of 'B cells'"


def test_one_group_is_compared_with_the_rest():
    rows, background = contrast(annotated(TABLE), "kind", "T cells")
    np.testing.assert_array_equal(rows.dense(slice(None)), TABLE[10:35])
    np.testing.assert_array_equal(background.rows.dense(slice(None)), np.delete(TABLE, np.s_[10:35], axis=0))


def test_groups_may_be_numbers():
    rows, background = contrast(TABLE, np.arange(40) % 3, 0)
    assert (len(rows), len(background)) == (14, 26)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", ["latent", "reconstruction"])
def test_the_centres_of_clusters_stand_for_all_rows_of_a_linear_score(kind, head, rows):
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


def test_drawing_leaves_the_process_as_it_was():
    before = cases.world()
    sample(TABLE, 5)
    kmeans(TABLE, 3)
    stratified(TABLE, LABELS, 5)
    assert cases.world() == before


REFUSED = {
    "sample of none": (lambda: sample(TABLE, 0), "from 40 rows 1 to 40 can be drawn, got 0"),
    "sample of too many": (lambda: sample(TABLE, 41), "got 41; for all of them, give the table itself as background"),
    "strata of too many": (lambda: stratified(TABLE, LABELS, 41), "from 40 rows 1 to 40 can be drawn, got 41"),
    "more centres than rows": (lambda: kmeans(TABLE, 41), "finds 1 to 40 centres of 40 rows, got k=41"),
    "no centres": (lambda: kmeans(TABLE, 0), "finds 1 to 40 centres of 40 rows, got k=0"),
    "more centres than different rows": (
        lambda: kmeans(np.repeat(TABLE[:3], 4, axis=0), 5),
        "only 3 different rows for k=5 centres; use fewer",
    ),
    "too few labels": (
        lambda: stratified(TABLE, LABELS[1:], 5),
        r"one label for each of the 40 rows, got shape \(39,\)",
    ),
    "labels missing": (
        lambda: contrast(TABLE, [None, np.nan, *LABELS[2:]], "NK"),
        "the labels of rows 0, 1 are missing; leave these rows out, or name them",
    ),
    "labels of other rows": (
        lambda: stratified(named(TABLE), pd.Series(LABELS, named(TABLE).index[::-1]), 5),
        r"the labels have other names of rows than the table; give labels\.loc\[X\.index\]",
    ),
    "a column without an AnnData": (
        lambda: stratified(TABLE, "kind", 5),
        "'kind' would be a column .* is a ndarray; give",
    ),
    "the same twice": (lambda: contrast(TABLE, LABELS, "NK", "NK"), "nothing to compare 'NK' with: give another label"),
    "no others": (lambda: contrast(TABLE, ["x"] * 40, "x"), "nothing to compare 'x' with"),
    "a number": (
        lambda: Explainer(cases.build(cases.Question), 100),
        r"must be a table, got 100; .*sample\(X, 100\)",
    ),
    "NaN": (lambda: kmeans(np.full((3, 2), np.nan), 2), "the background must be finite, but 6 of 6 numbers are NaN"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_not_be_drawn_is_refused(kind):
    draw, message = REFUSED[kind]
    with pytest.raises(DataError, match=message):
        draw()


UNKNOWN = {
    "rows": (lambda: contrast(TABLE, LABELS, "B cel"), "no label is called 'B cel'; there are: B cells, "),
    "against": (lambda: contrast(TABLE, LABELS, "NK", "NKT"), "no label is called 'NKT'; there are: NK, "),
    "column": (lambda: stratified(annotated(TABLE), "kinds", 5), "no column of obs is called 'kinds'; there are: kind"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_labels_are_refused_and_the_known_listed(kind):
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
        lambda: stratified(TABLE, LABELS, 5),
        "5 of 40 rows, drawn from 3 groups by their sizes, with seed 0",
    ),
    "contrast": (lambda: contrast(TABLE, LABELS, "NK")[1], "rows of all other labels than 'NK'"),
    "weighted": (lambda: weighted(TABLE, np.arange(1, 41)), "40 rows with weights"),
}


@pytest.mark.parametrize("kind", ORIGINS)
def test_it_is_recorded_how_the_background_was_made(kind, rows):
    make, origin = ORIGINS[kind]
    made_by = Explainer(cases.build(cases.Question), make())(rows).made_by
    assert made_by["background"] == origin
    assert repr(make()) == f"Background of {made_by['b']} rows: {origin}"


def test_it_is_noted_when_the_rows_are_the_background(rows, background):
    model = cases.build(cases.Question)
    note = "the rows are also the background, so that each is compared with itself, too"
    for head in ("reconstruction_error", "latent"):
        assert Explainer(model, rows, head=head)(named(rows)).made_by["note"] == note
        assert Explainer(model, rows, head=head).summarize(rows).made_by["note"] == note
    assert "note" not in Explainer(model, background)(rows).made_by
    assert "note" not in Explainer(model, rows)(rows[::-1].copy()).made_by
    assert "note" not in Explainer(model, rows)(rows[:3]).made_by


def test_no_row_of_a_background_is_left_out(rows):
    everything = cases.table(3000, seed=8)
    got = Explainer(cases.build(cases.Linear), everything, head="latent")(rows)
    assert got.made_by["b"] == 3000
    model = cases.build(cases.Linear)
    np.testing.assert_allclose(got.base_values[0], _latents(model, everything).mean(axis=0), rtol=1e-12)


def test_a_background_that_does_not_fit_is_refused(rows):
    with pytest.raises(
        TooLarge, match=re.escape("the background of 40 rows takes 1.92 kB, and may take memory='1 kB'")
    ):
        Explainer(cases.build(cases.Question), TABLE, memory="1kB")


def test_a_table_is_a_background_of_all_its_rows():
    assert backgrounds.read_background(TABLE).weights is None
    assert repr(backgrounds.read_background(TABLE)) == "Background of 40 rows: as they came"
