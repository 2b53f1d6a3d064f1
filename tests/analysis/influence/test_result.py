"""Proponents, checks, tables and files of influences."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import linregress
from sklearn.datasets import load_digits
from torch import nn

import shapae
from benchmarks import _influence_tasks as tasks
from shapae import Autoencoder, plots
from shapae.cli.influence import report_influence
from shapae.errors import DataError, OutputError, UnknownName
from tests import cases

NAMES = [f"cell {row}" for row in range(9)]


def model():
    net = cases.build(lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 4)))
    return Autoencoder(net, encode=lambda m, x: m[:2](x))


def table(n=9):
    return pd.DataFrame(cases.table(n, 4), NAMES[:n], list("abcd"))


@pytest.fixture(scope="module")
def influence():
    train = table()
    return shapae.influence(model(), train, pd.concat([train.iloc[[4, 0]], table() * 2]).iloc[:5])


def test_proponents_and_opponents_are_the_largest_and_the_smallest(influence):
    frame = influence.to_frame()
    assert [*frame.index] == [*influence.row_index]
    assert [*frame.columns] == NAMES
    for found, sign in ((influence.proponents(3), -1), (influence.opponents(3), 1)):
        assert found.index.names == ["row", "rank"]
        for place in range(5):
            order = np.argsort(sign * influence.values[place], kind="stable")[:3]
            some = found.iloc[3 * place : 3 * place + 3]
            assert [*some["training row"]] == [NAMES[each] for each in order]
            np.testing.assert_array_equal(some["influence"], influence.values[place, order])
            np.testing.assert_array_equal(some["loss"], influence.losses[order])
    with pytest.raises(DataError, match="between 1 and the 9 training rows, got 10"):
        influence.proponents(10)


def test_rows_are_recognized_among_the_training_rows(influence):
    assert influence.places.tolist() == [4, 0, -1, -1, -1]
    ranks = influence.own_ranks
    for place, own in ((0, 4), (1, 0)):
        assert ranks[place] == 1 + (influence.values[place] > influence.values[place, own]).sum()
    assert np.isnan(ranks[2:]).all()
    assert influence.top_1 == (ranks[:2] == 1).mean()
    others = shapae.influence(model(), table(), table() + 1)
    with pytest.raises(DataError, match="Give rows=train"):
        _ = others.top_1


def test_copies_of_a_row_are_as_good_as_the_row():
    train = pd.concat([table(), table()], ignore_index=True)
    influence = shapae.influence(model(), train, train)
    single = shapae.influence(model(), table(), table())
    np.testing.assert_array_equal(influence.places, np.tile(range(9), 2))
    assert influence.top_1 == single.top_1


@pytest.mark.parametrize("by", ["mask", "names"])
def test_the_curves_count_the_planted_rows(by):
    influence = shapae.influence(model(), table(), table())
    planted = ["cell 2", "cell 7"]
    given = planted if by == "names" else np.isin(NAMES, planted)
    cleaning = influence.cleaning(given)
    values = influence.values * (1 - np.eye(9))
    keys = {
        "self influence": -influence.self_influence,
        "loss": -influence.losses,
        "mean influence": values.mean(axis=0),
    }
    for name, key in keys.items():
        order = [NAMES[place] for place in np.argsort(key)]
        want = [len({*order[:count]} & {*planted}) / 2 for count in range(10)]
        np.testing.assert_array_equal(cleaning.curves[name], want)
        area = sum((one + other) / 2 / 9 for one, other in zip(want, want[1:], strict=False))
        np.testing.assert_allclose(cleaning.areas[name], area)
    assert cleaning.areas["best"] == pytest.approx(1 - 2 / 9 / 2)
    assert cleaning.area == cleaning.areas["self influence"]
    for wrong in (["nobody"], np.zeros(9, bool), np.ones(9, bool)):
        with pytest.raises(DataError, match="training rows"):
            influence.cleaning(wrong)


def test_planted_digits_are_found_with_an_area_above_0_9():
    """Real rows of other digits, one in twenty: by self influence, as Pruthi et al. found mislabelled images."""
    digits = load_digits()
    rng, pixels = np.random.default_rng(0), torch.tensor(digits.data / 16, dtype=torch.float32)
    own = np.flatnonzero(digits.target < 2)
    foreign = rng.choice(np.flatnonzero(np.isin(digits.target, [4, 7])), len(own) // 20, replace=False)
    rows = pixels[np.r_[own, foreign]]
    net, _ = tasks.train(rows, tasks.Recipe(hidden=48, latents=8, epochs=100))
    influence = shapae.influence(net, rows, rows)
    assert influence.cleaning(np.arange(len(rows)) >= len(own)).area > 0.9


def test_relations_to_losses_distances_and_labels_are_computed_by_hand(influence):
    line = linregress(influence.losses, influence.self_influence)
    assert influence.loss_fit()["r_squared"] == pytest.approx(line.rvalue**2)
    assert influence.loss_fit()["slope"] == pytest.approx(line.slope)
    distances = np.array([
        [np.linalg.norm(one - other) for other in influence.train_latents] for one in influence.latents
    ])
    by_distance = influence.by_distance(3)
    assert by_distance["pairs"].sum() == 45
    assert by_distance["pairs"].between(14, 16).all()
    part_of = np.searchsorted(np.quantile(distances, [1 / 3, 2 / 3]), distances)
    for part in range(3):
        line, values = by_distance.iloc[part], influence.values[part_of == part]
        assert len(values) == line["pairs"]
        np.testing.assert_allclose(line["mean influence"], values.mean())
        np.testing.assert_allclose(line["mean |influence|"], np.abs(values).mean())


def test_training_rows_of_the_same_label_are_compared_with_others(influence):
    labels, train = list("xyxyz"), list("xxxyyyzzz")
    found = influence.by_label(labels, train, k=2)
    for label in "xyz":
        rows, same = [i for i in range(5) if labels[i] == label], [j for j in range(9) if train[j] == label]
        values = influence.values[rows]
        np.testing.assert_allclose(found.loc[label, "same label"], values[:, same].mean())
        np.testing.assert_allclose(found.loc[label, "other labels"], np.delete(values, same, axis=1).mean())
        best = np.argsort(-values, axis=1)[:, :2]
        np.testing.assert_allclose(found.loc[label, "same among proponents"], np.isin(best, same).mean())
        np.testing.assert_allclose(found.loc[label, "same among all"], 3 / 9)
    with pytest.raises(DataError, match="one label for each of the 9 training rows"):
        influence.by_label(labels, k=2)


def test_latents_are_optional():
    """A chain of layers has no part that is called its encoder."""
    plain = shapae.influence(
        cases.build(lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 4))), table(), table()
    )
    assert plain.latents is None
    with pytest.raises(DataError, match="no known encoder"):
        plain.by_distance()


def test_a_saved_result_comes_back(influence, tmp_path):
    folder = influence.save(tmp_path / "influence")
    loaded = shapae.Influence.load(folder)
    for name in ("values", "self_influence", "scores", "losses", "places", "latents", "train_latents", "row_names"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(influence, name))
    assert [*loaded.train_index] == NAMES
    assert loaded.made_by == influence.made_by
    with pytest.raises(OutputError, match="does not hold influence"):
        shapae.Influence.load(tmp_path)


def test_names_that_are_numbers_come_back_as_numbers(tmp_path):
    rows = table().set_axis(range(10, 19))
    loaded = shapae.Influence.load(shapae.influence(model(), rows, rows[:2]).save(tmp_path / "influence"))
    assert [*loaded.train_index] == [*rows.index]
    assert [*loaded.row_index] == [10, 11]


def test_an_anndata_has_the_influences_of_all_pairs(tmp_path):
    anndata = pytest.importorskip("anndata")
    train = table()
    whole, some = (shapae.influence(model(), train, rows) for rows in (train, train.iloc[[3, 1]]))
    adata = anndata.AnnData(train.to_numpy(), pd.DataFrame(index=NAMES), pd.DataFrame(index=list("abcd")))
    for given in (None, adata):
        out = whole.to_anndata(given)
        np.testing.assert_array_equal(out.obsp["influence"], whole.values)
        np.testing.assert_array_equal(out.obs["self_influence"], whole.self_influence)
        assert [*out.obs_names] == NAMES
    out = some.to_anndata(adata)
    out.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(read.obsm["influence"], some.values.T)
    assert [*read.uns["shapae_influence"]["rows"]] == ["cell 3", "cell 1"]
    assert "influence" not in adata.obsm
    with pytest.raises(DataError, match="other rows than the 9 training rows"):
        some.to_anndata(adata[::-1])
    with pytest.raises(DataError, match="got DataFrame"):
        some.to_anndata(train)


def test_rows_without_names_have_numbers():
    influence = shapae.influence(model(), table().to_numpy(), table().to_numpy()[:2])
    assert [*influence.row_index] == [0, 1]
    assert influence.position(1) == 1
    assert influence.proponents(1).index[1] == (1, 1)


def test_bars_are_the_proponents_and_opponents_of_the_row(influence):
    ax = influence.plot("cell 0", k=2)
    order = np.delete(order := np.argsort(-influence.values[1]), np.flatnonzero(order == 0))  # not the row itself
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], influence.values[1][[*order[:2], *order[-2:]]])
    assert [text.get_text() for text in ax.get_yticklabels()] == [NAMES[each] for each in [*order[:2], *order[-2:]]]
    labelled = influence.plot(0, k=20, labels=list("xxxyyyzzz"))
    assert {text.get_text() for text in labelled.get_legend().get_texts()} == {*"xyz"}
    assert len(labelled.patches) == 8
    assert f"without itself: {influence.values[0, 4]:.3g}" in labelled.get_title()
    assert len(influence.plot(3, k=20).patches) == 9
    with pytest.raises(UnknownName, match="no row is called 'nobody'"):
        influence.plot("nobody")
    with pytest.raises(DataError, match="one label for each of the 9 training rows, got 1"):
        influence.plot(0, labels=["x"])


def test_dots_are_losses_and_self_influences(influence):
    ax = plots.self_influence(influence)
    np.testing.assert_allclose(
        ax.collections[0].get_offsets(), np.stack([influence.losses, influence.self_influence], 1)
    )
    with pytest.raises(DataError, match="one label for each of the 9"):
        plots.self_influence(influence, labels=["x"])


def test_curves_are_drawn(influence):
    cleaning = influence.cleaning(["cell 1"])
    lines = {line.get_label().partition(",")[0]: line.get_ydata() for line in cleaning.plot().get_lines()}
    for name in cleaning.curves:
        np.testing.assert_array_equal(lines[name], cleaning.curves[name])


def test_titles_with_long_names_fit_the_figure():
    names = [f"SAMPLE {row} OF THE SECOND BATCH OF MARCH 2024" for row in range(9)]
    table = pd.DataFrame(cases.table(9, 4) * 1e-3, names, list("abcd"))
    ax = shapae.influence(model(), table, table).plot(0, labels=["a kind"] * 9)
    ax.figure.canvas.draw()
    box, figure = ax.title.get_window_extent(), ax.figure.bbox
    assert figure.x0 <= box.x0
    assert box.x1 <= figure.x1


def test_the_command_draws_each_row_also_if_several_have_one_name(tmp_path):
    rows = table().set_axis(["same"] * 8 + ["other"])
    found = shapae.influence(model(), table(), rows)
    report_influence(found, 9).draw(tmp_path)
    pictures = {path.read_bytes() for path in (tmp_path / "rows").iterdir()}
    assert len(pictures) == 9
