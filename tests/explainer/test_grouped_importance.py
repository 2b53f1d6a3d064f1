"""Averages over groups of rows, against the explanation of all rows."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from shapae import Explainer, GroupedImportance, backends, heads
from shapae.errors import DataError, TooLarge, UnknownName
from shapae.explainer.additivity import Sums
from shapae.explainer.importance import MEASURES, Importance
from shapae.explainer.worker import attempt
from shapae.utils.blocks import Room
from tests import cases
from tests.explainer.explanations import explanation

NAMES = list("abcdef")
LABELS = np.array(["T", "B", "T", "NK", "B", "T", "B", "B"])
ROWS = cases.table(8, seed=1)


def assert_averages(got, values, labels, atol=1e-12):
    """Each number of each group, from the values (n, d, k) of all rows."""
    for label in got.labels:
        some, one = values[np.asarray(labels) == label], got[label]
        assert one.rows == len(some)
        for mean, error, numbers in (("mean", "mean_error", some), ("mean_abs", "mean_abs_error", np.abs(some))):
            np.testing.assert_allclose(getattr(one, mean), numbers.mean(axis=0), rtol=0, atol=atol)
            with np.errstate(all="ignore"):
                want = numbers.std(axis=0, ddof=1) / np.sqrt(len(some)) if len(some) > 1 else np.nan * numbers[0]
            np.testing.assert_allclose(getattr(one, error), want, rtol=0, atol=atol)


def assert_same(got, want, atol=1e-12):
    """All numbers of two grouped importances, or of two importances."""
    for name in MEASURES:
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=0, atol=atol)


@pytest.mark.parametrize("head", ["reconstruction_error", "latent:1", "latent", "feature_error"])
@pytest.mark.parametrize("backend", backends.names())
def test_groups_have_the_averages_of_the_explanation(backend, head, model, background):
    explainer = Explainer(model, background, head=head, backend=backend, feature_names=NAMES)
    got, whole = explainer.summarize(ROWS, by=LABELS), explainer(ROWS)
    values, residual = whole.values.reshape(8, 6, -1), whole.residual.reshape(8, -1)
    assert got.labels == ["B", "NK", "T"]
    assert got.counts.tolist() == [4, 1, 3]
    assert_averages(got, values, LABELS)
    assert_same(got.overall, Importance.of(whole))
    for label in got:
        np.testing.assert_allclose(got[label].residual, residual[LABELS == label].mean(axis=0), rtol=0, atol=1e-12)
        assert_same(got[label], Importance.of(whole[LABELS == label]))
    assert_same(got, GroupedImportance.of(whole, LABELS))


@pytest.mark.parametrize("backend", ["deep", "exact", "gradient"])
def test_a_group_is_the_summary_of_its_rows_alone_and_the_overall_one_that_of_all_rows(backend, model, background):
    explainer = Explainer(model, background, head="latent", backend=backend)
    got, plain = explainer.summarize(ROWS, by=LABELS), explainer.summarize(ROWS)
    assert_same(got.overall, plain)
    np.testing.assert_allclose(got.overall.residual, plain.residual, rtol=0, atol=1e-12)
    if backend != "gradient":  # its draws depend on the positions of the rows
        for label in got:
            assert_same(got[label], explainer.summarize(ROWS[LABELS == label]))


def test_one_group_of_all_rows_is_the_summary_without_groups(model, background):
    explainer = Explainer(model, background, head="latent")
    got, want = explainer.summarize(ROWS, by=["all"] * 8), explainer.summarize(ROWS)
    for name in (*MEASURES, "residual"):
        np.testing.assert_array_equal(getattr(got["all"], name), getattr(want, name))
        np.testing.assert_array_equal(getattr(got.overall, name), getattr(want, name))


@pytest.mark.parametrize("settings", [{"memory": "100kB"}, {"n_jobs": 2}, {"memory": "1MB", "n_jobs": 2}], ids=str)
@pytest.mark.parametrize("order", ["as they are", "by group", "reversed"])
def test_cuts_workers_and_the_order_of_rows_change_nothing(settings, order, model, background):
    rows, labels = cases.table(150, seed=3), np.random.default_rng(0).integers(0, 4, 150)
    want = Explainer(model, background, head="reconstruction").summarize(rows, by=labels)
    assert_averages(want, Explainer(model, background, head="reconstruction")(rows).values, labels)
    place = {"as they are": np.arange(150), "by group": labels.argsort(), "reversed": np.arange(150)[::-1]}[order]
    explainer = Explainer(model, background, head="reconstruction", **settings)
    got = explainer.summarize(rows[place].copy(), by=labels[place])
    assert got.labels == want.labels == [0, 1, 2, 3]
    assert_same(got, want)
    assert_same(got.overall, want.overall)


def test_where_a_device_runs_out_of_memory_the_labels_are_halved_with_their_rows():
    seen = []

    def work(bound, rows, seeds, groups):
        if len(rows) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried")
        seen.append((rows[:, 0].tolist(), list(seeds), groups.tolist()))
        return {}, Sums(np.zeros((2, 1)), np.zeros((2, 1)))

    with pytest.warns(match="ran out of memory"):
        attempt(
            Room(2**30), work, torch.nn.Identity(), [], 0, torch.arange(4.0)[:, None], range(4), np.array([7, 8, 9, 7])
        )
    assert seen == [([0, 1], [0, 1], [7, 8]), ([2, 3], [2, 3], [9, 7])]


SETTINGS = {
    "tolerance": {"tolerance": 0.2},
    "tolerance of samples": {"tolerance": 0.1, "backend": "sampling"},
    "players": {"groups": {"two": ["feature 0", "feature 3"]}, "backend": "exact"},
    "latents as source": {"source": "latent", "head": "reconstruction"},
    "fixed target": {"head": heads.ReconstructionError(target="fixed")},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_groups_of_other_settings_have_the_averages_of_the_explanation(name, model):
    explainer = Explainer(model, cases.table(300, seed=2), **SETTINGS[name])
    got, whole = explainer.summarize(ROWS, by=LABELS), explainer(ROWS)
    assert_averages(got, whole.values.reshape(8, len(got.feature_names), -1), LABELS)
    assert got.feature_names == whole.feature_names
    for label in got:
        want = whole[LABELS == label]
        np.testing.assert_allclose(got[label].residual, want.residual.reshape(len(want), -1).mean(axis=0), atol=1e-12)
        assert (got[label].used is None) == (want.used is None)
        if want.used is not None:
            np.testing.assert_array_equal(got[label].used, want.used)
    if whole.used is not None:
        assert len({*whole.used}) > 1
        np.testing.assert_array_equal(got.overall.used, whole.used)
        assert got.made_by.get("samples") == whole.made_by.get("samples")


def test_heads_with_draws_have_one_output(background):
    vae = cases.build(cases.Variational)
    explainer = Explainer(vae, background, head=heads.ELBO(draws=8))
    got, whole = explainer.summarize(ROWS, by=LABELS), explainer(ROWS)
    assert got.mean.shape == (3, 6, 1)
    assert_averages(got, whole.values[..., None], LABELS)


def test_a_second_call_with_other_labels_has_its_own_groups(model, background):
    explainer = Explainer(model, background)
    explainer.summarize(ROWS, by=LABELS)
    got = explainer.summarize(ROWS, by=LABELS[::-1].copy())
    assert_averages(got, Explainer(model, background)(ROWS).values[..., None], LABELS[::-1])


# Labels


KINDS = {
    "list": (LABELS.tolist(), ["B", "NK", "T"]),
    "numbers": (np.array([2, 1, 2, 10, 1, 2, 1, 1]), [1, 2, 10]),
    "numbers of numpy": ([*np.array([2, 1, 2, 10, 1, 2, 1, 1])], [1, 2, 10]),
    "truth values": (LABELS == "T", [False, True]),
    "tensor": (torch.tensor([2, 1, 2, 10, 1, 2, 1, 1]), [1, 2, 10]),
    "series": (pd.Series(LABELS), ["B", "NK", "T"]),
    "named series": (pd.Series(LABELS, index=[f"cell {row}" for row in range(8)]), ["B", "NK", "T"]),
    "categories": (pd.Categorical(LABELS, ["T", "unused", "NK", "B"]), ["T", "NK", "B"]),
    "series of categories": (pd.Series(pd.Categorical(LABELS, ["T", "NK", "B"])), ["T", "NK", "B"]),
    "polars": (pl.Series(LABELS), ["B", "NK", "T"]),
    "mixed": ([*LABELS[:7], 1], [1, "B", "NK", "T"]),
    "dollars": (np.char.add(LABELS, "$/ x"), ["B$/ x", "NK$/ x", "T$/ x"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_may_be_of_many_kinds(kind, model, background):
    by, labels = KINDS[kind]
    got = Explainer(model, background).summarize(ROWS, by=by)
    assert got.labels == labels
    assert not any(isinstance(label, np.generic) for label in got.labels)
    plain = np.array([each.item() if isinstance(each, torch.Tensor) else each for each in by], dtype=object)
    assert_averages(got, Explainer(model, background)(ROWS).values[..., None], plain)


TIMES = np.array(["2024-02-01", "2024-01-01"] * 4, dtype="datetime64[ns]")


@pytest.mark.parametrize("unit", ["ns", "s", "D"])
def test_times_of_numpy_are_labels(unit, model, background):
    got = Explainer(model, background).summarize(ROWS, by=TIMES.astype(f"datetime64[{unit}]"))
    assert got.labels == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-02-01")]
    assert_averages(got, Explainer(model, background)(ROWS).values[..., None], pd.Series(TIMES).to_numpy(dtype=object))


def test_labels_may_be_a_tensor_with_a_gradient(model, background):
    labels = torch.tensor([0.0, 1.0] * 4, requires_grad=True)
    got = Explainer(model, background).summarize(ROWS, by=labels)
    assert got.labels == [0.0, 1.0]
    assert labels.requires_grad


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "in a file"])
def test_a_column_of_obs_gives_the_labels(on_disk, model, tmp_path):
    adata = cases.cells()
    adata.obs["stage"] = pd.Categorical(list("xxxyyyzz"), ["z", "y", "x"])
    kinds = adata.obs["stage"].to_numpy()
    explainer = Explainer(model, adata)
    want = explainer(adata).values[..., None]
    if on_disk:
        adata.write_h5ad(tmp_path / "cells.h5ad")
    got = explainer.summarize(tmp_path / "cells.h5ad" if on_disk else adata, by="stage")
    assert got.labels == ["z", "y", "x"]
    assert_averages(got, want, kinds)


def refuse(**given):
    return lambda explainer: explainer.summarize(**{"X": ROWS, "by": LABELS} | given)


MISSING = np.array(["T", None, "T", np.nan, "B", "T", "B", "B"], dtype=object)
REFUSED = {
    "too few": (refuse(by=LABELS[:5]), DataError, r"one label for each of the 8 rows, got shape \(5,\)"),
    "missing": (refuse(by=MISSING), DataError, "the labels of rows 1, 3 are missing"),
    "masked": (refuse(by=np.ma.array(LABELS, mask=LABELS == "NK")), DataError, "the labels of row 3 are missing"),
    "a name": (refuse(by="kind"), DataError, "'kind' can be a column of obs only if the table is an AnnData"),
    "no column": (refuse(X=cases.cells(), by="kinds"), UnknownName, "no column of obs is called 'kinds'; there are: k"),
    "lists": (
        refuse(by=[["a"], ["a", "b"], *LABELS[2:]]),
        DataError,
        r"labels must be names or numbers that can be compared, got \['a'\]",
    ),
    "other rows": (
        refuse(X=pd.DataFrame(ROWS, index=[*"abcdefgh"]), by=pd.Series(LABELS, index=[*"hgfedcba"])),
        DataError,
        "the labels and the table have different row names",
    ),
    "shuffled labels": (
        refuse(X=pd.DataFrame(ROWS), by=pd.Series(LABELS).iloc[::-1]),
        DataError,
        r"the labels and the table have different row names\. Give labels\.loc\[X\.index\], or",
    ),
    "shuffled rows": (
        refuse(X=pd.DataFrame(ROWS).iloc[::-1], by=pd.Series(LABELS)),
        DataError,
        "the labels and the table have different row names",
    ),
    "measurements": (
        refuse(X=cases.table(30), by=np.sqrt(np.arange(30))),
        DataError,
        r"the labels of 30 rows are 30 different numbers, such as 0\. Cut them into ranges.*pd\.cut\(labels, 4\)",
    ),
    "nobody": (refuse(by=None, X=ROWS[:0]), DataError, "must be a table"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_labels_are_refused_before_the_work(case, model, background, monkeypatch):
    call, error, message = REFUSED[case]
    explainer = Explainer(model, background)
    monkeypatch.setattr(type(model), "forward", None)  # not to be called
    with pytest.raises(error, match=message):
        call(explainer)


def test_averages_of_many_groups_that_do_not_fit_are_refused_before_the_work(model):
    """16 numbers of 8 bytes for each feature and output, for each group and for all of them."""
    explainer = Explainer(model, cases.table(9), head="reconstruction", memory="60kB")
    rows = cases.table(12)
    explainer.summarize(rows, by=[0, 1] * 6)
    with pytest.raises(
        TooLarge, match=r"over the rows of each of 6 groups need 32\.26 kB, .*fewer outputs or groups, or set memory="
    ):
        explainer.summarize(rows, by=[*range(6)] * 2)


def test_the_model_and_the_world_are_left_alone(background):
    model = cases.build(cases.Question).train()
    before, world, rows, labels = cases.snapshot(model), cases.world(), ROWS.copy(), LABELS.copy()
    Explainer(model, background).summarize(rows, by=labels)
    assert cases.snapshot(model) == before
    assert cases.world() == world
    np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(labels, LABELS)


# The result


@pytest.fixture
def grouped():
    return GroupedImportance.of(explanation(3), LABELS)


@pytest.fixture
def single():
    return GroupedImportance.of(explanation(), LABELS)


def test_an_explanation_is_averaged_over_groups_of_its_rows_and_slices(grouped):
    whole = explanation(3, row_names=[f"cell {row}" for row in range(8)])
    assert_averages(grouped, whole.values, LABELS)
    some = GroupedImportance.of(whole[2:7], pd.Series(LABELS[2:7], index=[f"cell {row}" for row in range(2, 7)]))
    assert_averages(some, whole.values[2:7], LABELS[2:7])
    assert_averages(GroupedImportance.of(whole[3], ["NK"]), whole.values[3:4], ["NK"])
    assert_averages(GroupedImportance.of(whole[..., 1:2], LABELS), whole.values[..., 1:2], LABELS)
    with pytest.raises(DataError, match="different row names"):
        GroupedImportance.of(whole, pd.Series(LABELS, index=[f"cell {row}" for row in range(1, 9)]))


def test_it_maps_labels_to_importances(grouped):
    assert [*grouped] == ["B", "NK", "T"]
    assert len(grouped) == 3
    assert "NK" in grouped
    assert "b" not in grouped
    assert {label: one.rows for label, one in grouped.items()} == {"B": 4, "NK": 1, "T": 3}
    for label in ("b", ["B"], None):
        with pytest.raises(UnknownName, match=r"no group is called .*; there are: B, NK, T|there are: T, B, NK"):
            grouped[label]


def test_the_table_of_a_group_is_the_table_of_its_importance(grouped, single):
    for label in grouped:
        pd.testing.assert_frame_equal(single.table.loc[label], single[label].table)
        for output in grouped.output_names:
            pd.testing.assert_frame_equal(grouped.table.loc[label, output], grouped[label].output(output))
    assert grouped.table.index.names == ["group", "output", "feature"]
    assert single.table.index.names == ["group", "feature"]
    assert grouped.table.shape == (3 * 3 * 6, 4)
    pd.testing.assert_frame_equal(grouped.top(2).loc["T"], grouped["T"].top(2))


def test_a_table_of_categories_of_intervals_has_them_in_their_order():
    ages = pd.cut([1, 30, 61, 35, 5, 70, 31, 20], [0, 18, 60, 99])
    got = GroupedImportance.of(explanation(), ages)
    assert got.labels == [*ages.categories]
    assert got.table.index.get_level_values("group").unique().tolist() == got.labels


def test_labels_of_all_kinds_are_in_the_table():
    for labels in (pd.Series([(1, 2), (0, 1)] * 4), [1.5, 2.5] * 4, [True, False] * 4, ["a", 3] * 4):
        got = GroupedImportance.of(explanation(), labels)
        assert got.table.index.get_level_values("group").tolist() == [label for label in got.labels for _ in range(6)]
        assert got.table["mean_value"].tolist() == [x for one in got.values() for x in one.table["mean_value"]]


def test_a_group_of_one_row_has_no_standard_errors(grouped):
    assert np.isnan(grouped["NK"].mean_error).all()
    assert np.isnan(grouped.mean_abs_error[1]).all()
    assert np.isfinite(grouped.mean_error[[0, 2]]).all()
    np.testing.assert_array_equal(grouped["NK"].mean_abs, np.abs(grouped["NK"].mean))


def test_its_repr_counts_rows_by_group(grouped):
    assert repr(grouped).split("\n  ")[:2] == [
        "GroupedImportance of 6 features for 3 outputs, over 8 rows",
        "3 groups of rows: B (4), NK (1), T (3)",
    ]
