"""Explainer.interactions: heads, choices of features, errors; and the result as table, files and text."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config

from shapae import Explainer, Interactions, heads
from shapae.errors import DataError, ModelError, OutputError, TooLarge, UnknownName
from tests import cases
from tests.closed_forms import affine

WIDE = 15
ROWS, BACKGROUND = cases.table(3, WIDE, seed=1), cases.table(9, WIDE, seed=2)
pytestmark = pytest.mark.filterwarnings("ignore::shapae.errors.ReconstructionWarning")


def linear(**options):
    return Explainer(cases.build(cases.Linear, WIDE), BACKGROUND, **options)


def curved(background=BACKGROUND, **options):
    return Explainer(cases.build(cases.Question, WIDE), background, **options)


def quadratic(matrix, rows, background):
    """2 D_i D_j (M' M / d)_ij, the mean over the background: (n, d, d)."""
    delta = rows[:, None] - background
    return 2 * np.einsum("nbi,nbj->nij", delta, delta) / len(background) * (matrix.T @ matrix) / len(matrix)


def halves(index):
    off = ~np.eye(index.shape[-1], dtype=bool)
    return index[:, off] / 2, off


def test_few_features_are_exact_with_rows_that_sum_to_the_exact_values(model, rows, background):
    found = Explainer(model, background).interactions(rows)
    exact = Explainer(model, background, backend="exact")(rows)
    np.testing.assert_allclose(found.shapley_values, exact.values, atol=1e-13)
    np.testing.assert_array_equal(found.values, found.values.transpose(0, 2, 1))
    for name in ("data", "scores", "base_values"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), atol=1e-15)
    assert found.feature_names == exact.feature_names
    assert not found.standard_errors.any()
    assert (found.made_by["head"], found.made_by["backend"]) == ("reconstruction_error", "interactions")
    assert found.made_by["samples"] == "all 64 coalitions"


@pytest.mark.parametrize("target", ["moving", "fixed"])
def test_a_linear_autoencoder_has_its_closed_form_with_and_without_anchors(target):
    explainer = linear(head=heads.ReconstructionError(target=target))
    matrix = affine(*(getattr(cases.build(cases.Linear, WIDE), part) for part in ("encoder", "decoder")))[0]
    matrix = matrix - np.eye(WIDE) if target == "moving" else matrix
    want, off = halves(quadratic(matrix, ROWS, BACKGROUND))
    found = explainer.interactions(ROWS)
    np.testing.assert_allclose(found.values[:, off], want, atol=1e-10)


def test_latents_are_players_of_their_decoder():
    model = cases.build(cases.Linear, WIDE, 14)
    encoder, decoder = affine(model.encoder), affine(model.decoder)
    latents = [rows @ encoder[0].T + encoder[1] for rows in (ROWS, BACKGROUND)]
    want, off = halves(quadratic(decoder[0], *latents))
    found = Explainer(model, BACKGROUND, source="latent").interactions(ROWS)
    np.testing.assert_allclose(found.values[:, off], want, atol=1e-10)
    np.testing.assert_allclose(found.data, latents[0], atol=1e-12)
    assert found.feature_names[3] == "latent 3"


def test_groups_are_players(model, rows, background):
    groups = {"pair": ["feature 0", "feature 4"]}
    found = Explainer(model, background, groups=groups).interactions(rows)
    exact = Explainer(model, background, groups=groups, backend="exact")(rows)
    np.testing.assert_allclose(found.shapley_values, exact.values, atol=1e-13)
    np.testing.assert_allclose(found.data, exact.data)
    assert found.feature_names == exact.feature_names


def test_samples_of_a_head_are_averaged_before(rows, background):
    model = cases.build(cases.Variational)
    explainer = Explainer(model, background, head=heads.ELBO(draws=3), backend="exact")
    np.testing.assert_allclose(explainer.interactions(rows).shapley_values, explainer(rows).values, atol=1e-12)


def test_the_top_features_are_those_of_the_backend_in_descending_order():
    explainer = curved(backend="sampling")
    want = explainer.summarize(ROWS).table.index[:4].tolist()
    found = explainer.interactions(ROWS, top=4)
    assert found.feature_names == want
    assert found.values.shape == found.standard_errors.shape == (3, 4, 4)
    assert found.made_by["samples"] == "400 coalitions a row"
    assert (found.standard_errors > 0).all()
    positions = [explainer.feature_names.index(name) for name in want]
    np.testing.assert_array_equal(found.data, ROWS[:, positions])


def test_named_features_are_taken_in_their_order():
    found = curved().interactions(ROWS, features=["feature 9", "feature 2"])
    both = curved().interactions(ROWS, top=99)
    assert found.feature_names == ["feature 9", "feature 2"]
    assert both.feature_names == curved().feature_names
    error = np.hypot(found.standard_errors, both.standard_errors[:, [9, 2]][:, :, [9, 2]])
    assert (np.abs(found.values - both.values[:, [9, 2]][:, :, [9, 2]])[:, 0, 1] < 5 * error[:, 0, 1]).all()


def test_a_model_without_gradients_has_interactions():
    explainer = curved(head=lambda model, rows: (model(rows) > 0).double().sum(dim=1), backend="sampling")
    found = explainer.interactions(ROWS, top=3)
    exact = Explainer(
        cases.build(cases.Question), BACKGROUND[:, :6], head=lambda m, r: m(r).round().sum(dim=1), backend="exact"
    )
    assert np.abs(found.values).max() > 0.01
    np.testing.assert_allclose(exact.interactions(ROWS[:, :6]).shapley_values, exact(ROWS[:, :6]).values, atol=1e-12)


def test_memory_and_workers_change_nothing():
    want = curved().interactions(ROWS, features=["feature 0", "feature 1"])
    with parallel_config(backend="threading"):
        for options in ({"memory": "20 kB"}, {"n_jobs": 2}):
            found = curved(**options).interactions(ROWS, features=["feature 0", "feature 1"])
            np.testing.assert_allclose(found.values, want.values, atol=1e-14)
    other = curved(seed=1).interactions(ROWS, features=["feature 0", "feature 1"])
    assert np.abs(other.values - want.values).max() > 1e-6


def test_model_and_process_come_back_as_they_were(rows, background):
    model = cases.build(cases.Nested).train()
    before, world = cases.snapshot(model), cases.world()
    Explainer(model, background).interactions(rows)
    assert (cases.snapshot(model), cases.world()) == (before, world)


def test_rows_keep_their_names_and_dtype():
    table = pd.DataFrame(ROWS, index=["a", "b", "c"], columns=[f"gene {i}" for i in range(WIDE)])
    model = cases.build(cases.Question, WIDE, dtype=torch.float32)
    found = Explainer(model, table).interactions(table, features=["gene 3", "gene 1"])
    assert found.row_names.tolist() == ["a", "b", "c"]
    assert found.values.dtype == np.float32
    assert found.to_frame()["row"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"top": 1}, DataError, "at least 2, got 1"),
        ({"top": 2.5}, DataError, "at least 2, got 2.5"),
        ({"features": ["feature 1"]}, DataError, "a list of two names or more"),
        ({"features": "feature 1"}, DataError, "a list of two names or more"),
        ({"features": ["feature 1"] * 2}, DataError, "each there once"),
        ({"features": ["feature 1", "feature X"]}, UnknownName, "no feature is called 'feature X'"),
    ],
)
def test_a_wrong_choice_of_features_is_refused(options, kind, text):
    with pytest.raises(kind, match=text):
        curved().interactions(ROWS, **options)


def test_several_outputs_are_refused_with_the_way_out():
    with pytest.raises(
        DataError, match=r"latent has 7: outputs latent 0, .*Choose one, such as 'latent 0': head='latent:0'"
    ):
        curved(head="latent").interactions(ROWS)
    assert curved(head="latent:3").interactions(ROWS, top=2).values.shape == (3, 2, 2)


def test_one_feature_has_no_pairs():
    with pytest.raises(DataError, match="two features, or two groups, but there is one"):
        Explainer(cases.build(cases.Linear, 1, 1), BACKGROUND[:, :1]).interactions(ROWS[:, :1])


@pytest.mark.parametrize(("memory", "text"), [(300, "2 features in 3 rows and their"), (500, "scoring one row takes")])
def test_memory_that_is_not_enough_is_refused(memory, text):
    explainer = curved()
    explainer.memory = memory
    with pytest.raises(TooLarge, match=text):
        explainer.interactions(ROWS, features=["feature 0", "feature 1"])


def test_values_that_are_not_finite_are_refused():
    """The score is finite for rows and background, and NaN for mixtures of them."""
    rows, background = ROWS.copy(), BACKGROUND.copy()
    rows[:, :2], background[:, :2] = 1, -1
    explainer = curved(background, head=lambda model, rows: (rows[:, 0] * rows[:, 1]).log())
    with pytest.raises(ModelError, match="the values of 1 of 1 rows are NaN or infinite, first in row 0"):
        explainer.interactions(rows, features=["feature 0", "feature 1"])


def result(n=4, m=3, names=None):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n, m, m))
    errors = rng.random((n, m, m))
    return Interactions(
        values=values + values.transpose(0, 2, 1),
        standard_errors=errors + errors.transpose(0, 2, 1),
        data=rng.normal(size=(n, m)),
        scores=rng.normal(size=n),
        base_values=rng.normal(size=n),
        feature_names=["CD79A", "α", "x $"][:m],
        made_by={"head": "reconstruction_error"},
        row_names=names,
    )


def test_the_long_table_has_whole_interactions_the_largest_of_each_row_first():
    found = result()
    table = found.to_frame()
    assert list(table) == ["row", "feature", "other_feature", "interaction", "standard_error"]
    assert table["row"].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    place = {name: at for at, name in enumerate(found.feature_names)}
    for line in table.itertuples():
        at = (line.row, place[line.feature], place[line.other_feature])
        assert (line.interaction, line.standard_error) == (2 * found.values[at], 2 * found.standard_errors[at])
    assert all(part["interaction"].abs().is_monotonic_decreasing for _, part in table.groupby("row"))


def test_the_top_pairs_are_those_with_the_largest_mean_size():
    found = result()
    table = found.top(2)
    first, second = 2 * found.values[:, [0, 0, 1], [1, 2, 2]], 2 * found.standard_errors[:, [0, 0, 1], [1, 2, 2]]
    largest = np.abs(first).mean(axis=0).argsort()[::-1][:2]
    np.testing.assert_allclose(table["mean_abs_interaction"], np.abs(first).mean(axis=0)[largest])
    np.testing.assert_allclose(table["mean_interaction"], first.mean(axis=0)[largest])
    np.testing.assert_allclose(table["standard_error"], np.sqrt((second**2).sum(axis=0))[largest] / 4)
    pairs = [("CD79A", "α"), ("CD79A", "x $"), ("α", "x $")]
    assert table.index.tolist() == [pairs[place] for place in largest]
    assert repr(found).startswith("Interactions of 3 features in 4 rows\n")
    assert " with ".join(table.index[0]) in repr(found)


@pytest.mark.parametrize("names", [None, ["a", "b", "c", "d"], pd.date_range("2020", periods=4)])
def test_what_was_saved_is_loaded_bit_for_bit(names, tmp_path):
    found = result(names=names)
    assert found.save(tmp_path / "out") == tmp_path / "out"
    loaded = Interactions.load(tmp_path / "out")
    for name in ("values", "standard_errors", "data", "scores", "base_values", "shapley_values"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
    assert (loaded.feature_names, loaded.made_by) == (found.feature_names, found.made_by)
    assert (loaded.row_names is None) == (names is None)
    if names is not None:
        assert loaded.row_names.tolist() == [str(name) for name in pd.Index(names)]
    replace(found, made_by={"head": "again"}).save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "interactions.json").read_text())["made_by"] == {"head": "again"}


def test_other_files_are_neither_read_nor_replaced(tmp_path):
    with pytest.raises(OutputError, match="does not hold interactions that can be read"):
        Interactions.load(tmp_path)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"holds thesis\.tex"):
        result().save(tmp_path)


def test_the_text_of_an_enumeration_has_no_standard_errors_of_zero(model, rows, background):
    pairs = Explainer(model, background).interactions(rows)
    assert not pairs.standard_errors.any()
    assert "all 64 coalitions" in repr(pairs)
    assert "standard errors" not in repr(pairs)
