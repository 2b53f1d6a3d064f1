"""Groups of features: how they are found, their sums, and what they are as players."""

import pickle
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.stats import spearmanr
from torch import nn

from shapae import Explainer, backends, cluster_features, read_gmt
from shapae.errors import DataError, TooLarge
from shapae.explainer.explanation import Explanation
from shapae.tables.background import weighted
from shapae.tables.groups import one_hot
from shapae.tables.players import players
from tests import cases

NAMES = list("abcdef")
GROUPS = {"first": ["b", "e"], "second": ["f", "a", "d"]}
every_backend = pytest.mark.parametrize("backend", backends.names())
PLAYING = [name for name in backends.names() if backends.named(name).supports_groups]
SUMMING = sorted({*backends.names()} - {*PLAYING})


def named(table):
    return pd.DataFrame(table, columns=NAMES)


class Function(nn.Module):
    """A head of the user's own: any function of the rows."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, autoencoder, rows):
        return self.function(rows)


# Sums


@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
def test_the_value_of_a_group_is_the_sum_of_its_features(head, model, rows, background):
    whole = Explainer(model, named(background), head=head)(named(rows))
    got = whole.grouped(GROUPS)
    assert got.feature_names == ["first", "second", "c"]
    for at, members in enumerate([[1, 4], [0, 3, 5], [2]]):
        np.testing.assert_allclose(got.values[:, at], whole.values[:, members].sum(axis=1), rtol=0, atol=1e-14)
        np.testing.assert_allclose(got.data[:, at], rows[:, members].mean(axis=1), rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.residual, whole.residual, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(got.scores, whole.scores)
    assert got.standard_errors is None
    assert got.made_by["groups"] == GROUPS
    assert type(got) is Explanation


@pytest.mark.parametrize("index", [3, slice(1, 4), (3, ..., "latent 1"), (..., "latent 1")])
def test_what_is_grouped_can_be_sliced_before_and_after(index, model, rows, background):
    whole = Explainer(model, named(background), head="latent")(named(rows))
    before, after = whole[index].grouped(GROUPS), whole.grouped(GROUPS)[index]
    for name in ("values", "data", "scores", "residual"):
        np.testing.assert_allclose(getattr(before, name), getattr(after, name), rtol=0, atol=1e-14)
    assert before.feature_names == after.feature_names


def test_a_feature_in_two_groups_counts_twice_and_the_residual_says_so(model, rows, background):
    whole = Explainer(model, named(background))(named(rows))
    got = whole.grouped({"x": ["a", "b"], "y": ["b", "c"]})
    np.testing.assert_allclose(got.residual, whole.residual - whole.values[:, 1], rtol=0, atol=1e-14)


def test_grouped_values_are_saved_and_loaded(model, rows, background, tmp_path):
    got = Explainer(model, named(background), groups=GROUPS)(named(rows))
    loaded = Explanation.load(got.save(tmp_path / "out"))
    np.testing.assert_array_equal(loaded.values, got.values)
    assert loaded.made_by["groups"] == GROUPS


# Players


def test_the_sum_over_a_group_is_not_the_value_of_the_group_as_a_player():
    """6 x y z is shared out in three equal parts, so two of them sum to 4; two players share it in halves."""
    head, background = Function(lambda rows: 6 * rows.prod(dim=1)), pd.DataFrame([[0.0, 0.0, 0.0]], columns=list("xyz"))
    row, groups = pd.DataFrame([[1.0, 1.0, 1.0]], columns=list("xyz")), {"xy": ["x", "y"]}
    explain = [Explainer(nn.Identity(), background, head=head, backend=name) for name in ("exact", "deep")]
    np.testing.assert_allclose(explain[0](row).grouped(groups).values, [[4, 2]])
    np.testing.assert_allclose(
        Explainer(nn.Identity(), background, head=head, backend="exact", groups=groups)(row).values, [[3, 3]]
    )


def shapley(score, row, background, players):
    """Shapley values of ``players``, lists of features, by all orders in which they may join."""
    values = np.zeros(len(players))
    orders = list(permutations(range(len(players))))
    for b in background:
        for order in orders:
            mixed, before = b.copy(), score(b)
            for player in order:
                mixed[players[player]] = row[players[player]]
                after = score(mixed)
                values[player] += after - before
                before = after
    return values / len(background) / len(orders)


@pytest.mark.parametrize("backend", PLAYING)
def test_players_have_the_values_of_all_orders_in_which_they_may_join(backend, model, rows, background):
    got = Explainer(model, named(background), backend=backend, groups=GROUPS)(named(rows))

    def score(row):
        with torch.no_grad():
            return float(((model(torch.tensor(row)) - torch.tensor(row)) ** 2).mean())

    want = [shapley(score, row, background, [[1, 4], [5, 0, 3], [2]]) for row in rows]
    drawn = backends.named(backend).n_samples and got.standard_errors is not None
    room = 1e-9 + (5 * got.standard_errors if drawn else 0)
    assert (np.abs(got.values - want) <= room).all()


@every_backend
@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
def test_players_share_the_score_with_every_backend(backend, head, model, rows, background):
    explainer = Explainer(model, named(background), head=head, backend=backend, groups=GROUPS)
    got, plain = explainer(named(rows[:2])), Explainer(model, background, head=head, backend=backend)(rows[:2])
    assert got.feature_names == ["first", "second", "c"]
    assert got.values.shape == (2, 3, *plain.values.shape[2:])
    np.testing.assert_allclose(got.data[:, 0], rows[:2][:, [1, 4]].mean(axis=1), rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.scores, plain.scores, rtol=0, atol=1e-14)
    if backends.named(backend).additive:
        np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    if backend in SUMMING:
        want = Explainer(model, named(background), head=head, backend=backend)(named(rows[:2])).grouped(GROUPS)
        np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)
        assert got.standard_errors is None


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_a_summary_takes_the_sizes_of_sums(backend, model, rows, background):
    explainer = Explainer(model, named(background), head="latent", backend=backend, groups=GROUPS)
    got, values = explainer.summarize(named(rows)), explainer(named(rows)).values
    assert list(got.table.index) == ["first", "second", "c"]
    np.testing.assert_allclose(got.mean_abs, np.abs(values).mean(axis=0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_groups_do_with_weights(backend, model, rows, background):
    few, settings = weighted(named(background), np.arange(1, 8)), {"backend": backend, "groups": GROUPS}
    got = Explainer(model, few, **settings)(named(rows))
    want = Explainer(model, named(np.repeat(background, np.arange(1, 8), axis=0)), **settings)(named(rows))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_groups_do_with_a_tolerance(backend, model, rows):
    large, settings = named(cases.table(400, seed=4)), {"backend": backend, "groups": GROUPS}
    whole = Explainer(model, large, **settings)(named(rows)).values
    sure, some = (Explainer(model, large, tolerance=size, **settings)(named(rows)) for size in (1e-9, 0.2))
    np.testing.assert_allclose(sure.values, whole, rtol=0, atol=1e-12)
    assert (sure.used == 400).all()
    assert (some.used < 400).any()
    assert (np.abs(some.values - whole) < 5 * some.standard_errors).all()


@every_backend
def test_groups_reach_workers(backend, model, rows, background):
    explainer = Explainer(model, named(background), backend=backend, groups=GROUPS)
    here = cases.attribution(backends.named(backend), explainer._game)
    there, row = pickle.loads(pickle.dumps(here)), torch.tensor(rows[:1])
    np.testing.assert_array_equal(there(row, seeds=[3]).mean, here(row, seeds=[3]).mean)


def test_thirty_features_in_few_groups_are_explained_exactly():
    names = [f"x{at}" for at in range(30)]
    tables = [pd.DataFrame(cases.table(3, 30, seed=seed), columns=names) for seed in (1, 2)]
    model = cases.build(cases.Question, 30)
    groups = {"left": names[:14], "middle": names[14:20], "right": names[20:]}
    got = Explainer(model, tables[0], backend="exact", groups=groups)(tables[1])
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    with pytest.raises(
        TooLarge, match=r"at most 12 features, got 30 .* fewer features, or groups of them: Explainer\("
    ):
        Explainer(model, tables[0], backend="exact")(tables[1])


def test_no_groups_are_no_groups(model, rows, background):
    np.testing.assert_array_equal(
        Explainer(model, background, groups={})(rows).values, Explainer(model, background)(rows).values
    )


BAD = {
    "a list": (["a", "b"], r"groups must be a dict from names to lists of features, got list; write \{'colour'"),
    "a string": ({"x": "ab"}, "the group 'x' must be a list of one feature or more, got 'ab'"),
    "nothing": ({"x": []}, r"the group 'x' must be a list of one feature or more, got \[\]"),
    "twice": ({"x": ["a", "b", "a"]}, r"the group 'x' names a feature twice: \['a', 'b', 'a'\]"),
    "unknown": (
        {"x": ["a", "red"], "y": [f"n{at}" for at in range(12)]},
        r"features that are not there: red \(in x\), n0 \(in y\), .* n11 \(in y\)\.",
    ),
    "a name that is taken": (
        {"c": ["a", "b"]},
        "must have other names than the features outside of them, and than each other; rename group c",
    ),
    "a name that comes twice": ({1: ["a"], "1": ["b"]}, "and than each other; rename group 1"),
    "overlapping": (
        {"x": ["a", "b"], "y": ["b", "c"], "z": ["b", "c"]},
        r"one player only, but groups share features b \(in x and y and z\), c \(in y and z\); .*explanation\.grouped",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_groups_are_refused(kind, model, background):
    groups, message = BAD[kind]
    with pytest.raises(DataError, match=message):
        Explainer(model, named(background), groups=groups)


def test_a_group_may_have_the_name_of_one_of_its_features(model, rows, background):
    got = Explainer(model, named(background), groups={"a": ["a", "b"]})(named(rows))
    assert got.feature_names == ["a", "c", "d", "e", "f"]


def test_one_feature_can_not_be_grouped(model, rows, background):
    with pytest.raises(DataError, match="the values of one feature, 'a', can't be grouped; group all of them"):
        Explainer(model, named(background))(named(rows))[:, "a"].grouped(GROUPS)


def test_groups_of_features_without_names_go_by_their_numbers(model, rows, background):
    groups = {"x": ["feature 0", "feature 5"]}
    assert Explainer(model, background, groups=groups)(rows).feature_names[0] == "x"
    with pytest.raises(DataError, match="features that are not there: a"):
        Explainer(model, background, groups={"x": ["a"]})
    with pytest.raises(DataError, match="without columns feature 0"):
        Explainer(model, background, groups=groups)(named(rows))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sums_and_means_go_along_any_axis(axis):
    by = players({"x": ["a", "c"], "y": ["c", "b"]}, list("abcd"), disjoint=False)
    table = np.moveaxis(np.random.default_rng(0).normal(size=(4, 2, 3)), 0, axis)
    parts = [np.take(table, members, axis) for members in ([0, 2], [2, 1], [3])]
    np.testing.assert_allclose(by.sums(table, axis), np.stack([part.sum(axis) for part in parts], axis))
    np.testing.assert_allclose(by.means(table, axis), np.stack([part.mean(axis) for part in parts], axis))
    assert by.names == ["x", "y", "d"]


# One-hot columns


def test_columns_of_one_attribute_are_found():
    raw = pd.DataFrame({
        "colour": list("rgbrg"),
        "city": ["new_york", "rome", "rome", "new_york", "bonn"],
        "size": range(5),
    })
    table = pd.get_dummies(raw, columns=["colour", "city"])
    want = {name: [column for column in table if column.startswith(f"{name}_")] for name in ("city", "colour")}
    assert one_hot(table) == want
    assert {*want["city"]} == {"city_new_york", "city_rome", "city_bonn"}
    dotted = table.rename(columns=lambda name: name.replace("_", "."))
    assert one_hot(dotted) == {}
    assert [*one_hot(dotted, separator=".")] == ["city", "colour"]


def test_attributes_with_a_common_beginning_are_told_apart():
    raw = pd.DataFrame({"eye_colour": list("gbb"), "eye_shape": list("rro")})
    assert one_hot(pd.get_dummies(raw)) == {
        "eye_colour": ["eye_colour_b", "eye_colour_g"],
        "eye_shape": ["eye_shape_o", "eye_shape_r"],
    }


NOT_ONE_HOT = {
    "two at once": [[1, 1], [0, 1]],
    "none": [[1, 0], [0, 0]],
    "halves": [[0.5, 0.5], [1, 0]],
    "negative": [[2, -1], [1, 0]],
}


@pytest.mark.parametrize("kind", NOT_ONE_HOT)
def test_columns_that_are_not_exactly_one_are_no_attribute(kind):
    assert one_hot(pd.DataFrame(NOT_ONE_HOT[kind], columns=["has_cat", "has_dog"])) == {}


def test_columns_without_names_are_refused():
    for find in (one_hot, cluster_features):
        with pytest.raises(
            DataError, match=r"columns must have names to be grouped; give a DataFrame, pd\.DataFrame\(X"
        ):
            find(np.eye(3))


# Clusters


def correlated(n=200):
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n, 2))
    columns = {
        "a": latent[:, 0],
        "b": rng.normal(size=n),
        "c": -np.exp(4 * latent[:, 0] + 0.1 * rng.normal(size=n)),
        "d": latent[:, 1],
        "e": latent[:, 1] + 0.2 * rng.normal(size=n),
        "f": latent[:, 1] + 0.2 * rng.normal(size=n),
        "constant": np.full(n, 0.1),
    }
    return pd.DataFrame(columns)


def test_features_that_go_together_are_found_whatever_their_sign():
    assert cluster_features(correlated(), threshold=0.8) == {
        "a and 1 more": ["a", "c"],
        "d and 2 more": ["d", "e", "f"],
    }
    # The exponential is monotonic, but no line.
    assert [*cluster_features(correlated(), threshold=0.8, correlation="pearson")] == ["d and 2 more"]


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_clusters_of_two_are_joined_at_their_correlation(kind):
    pair = correlated()[["a", "c"]]
    size = abs(spearmanr(pair).statistic if kind == "spearman" else np.corrcoef(pair.T)[0, 1])
    assert len(cluster_features(pair, threshold=size - 1e-9, correlation=kind)) == 1
    assert len(cluster_features(pair, threshold=size + 1e-9, correlation=kind)) == 0


def test_clusters_are_joined_by_the_average_of_their_correlations():
    """d, e and f one after the other: the third joins at the mean of its two correlations."""
    table = correlated()[["d", "e", "f"]]
    sizes = np.abs(spearmanr(table).statistic)
    near = np.argmax(np.triu(sizes, 1))
    pair, third = {*divmod(near, 3)}, ({0, 1, 2} - {*divmod(near, 3)}).pop()
    mean = np.mean([sizes[third, at] for at in pair])
    assert len([*cluster_features(table, threshold=mean - 1e-9).values()][0]) == 3
    assert len([*cluster_features(table, threshold=mean + 1e-9).values()][0]) == 2


def test_a_sparse_table_has_the_clusters_of_the_dense_one():
    anndata = pytest.importorskip("anndata")
    table = correlated()
    adata = anndata.AnnData(sparse.csr_matrix(table.to_numpy()), var=table.T[[]])
    assert cluster_features(adata) == cluster_features(table)


NO_CLUSTERS = {
    "threshold": ({"threshold": 0}, "threshold must be a correlation above 0 and at most 1, got 0"),
    "more than one": ({"threshold": 1.5}, "got 1.5"),
    "correlation": ({"correlation": "kendall"}, "correlation must be 'spearman' or 'pearson', got 'kendall'"),
}


@pytest.mark.parametrize("kind", NO_CLUSTERS)
def test_other_settings_are_refused(kind):
    settings, message = NO_CLUSTERS[kind]
    with pytest.raises(DataError, match=message):
        cluster_features(correlated(), **settings)


def test_too_few_rows_have_no_correlations():
    with pytest.raises(DataError, match="correlations need 3 rows and 2 columns or more, got 2 and 7"):
        cluster_features(correlated(2))


def test_correlations_that_do_not_fit_are_refused_and_the_advice_works():
    with pytest.raises(
        TooLarge, match=r"of 7 features over 200 rows take 23\.97 kB, .*memory='20 kB'.* allow memory='24"
    ):
        cluster_features(correlated(), memory="20kB")
    cluster_features(correlated(), memory="24.21kB")


# Gene sets

SETS = "B CELLS\thttp://x\tCD79A\tMS4A1\tCD79A\nPAN\t\tCD79A\tCD3D\tABSENT\t\n\nGONE\tna\tABSENT\tABSENT2\n"


@pytest.fixture
def gmt(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text(SETS)
    return path


def test_gene_sets_are_read(gmt):
    assert read_gmt(gmt) == {
        "B CELLS": ["CD79A", "MS4A1"],
        "PAN": ["CD79A", "CD3D", "ABSENT"],
        "GONE": ["ABSENT", "ABSENT2"],
    }
    genes = ["CD3D", "CD79A", "MS4A1", "NKG7"]
    assert read_gmt(str(gmt), genes) == {"B CELLS": ["CD79A", "MS4A1"], "PAN": ["CD79A", "CD3D"]}


def test_gene_sets_group_values_and_are_refused_as_players(gmt, model, rows, background):
    genes = ["CD3D", "CD79A", "MS4A1", "NKG7", "LYZ", "S100A8"]
    tables = [pd.DataFrame(table, columns=genes) for table in (background, rows)]
    sets = read_gmt(gmt, genes)
    got = Explainer(model, tables[0])(tables[1]).grouped(sets)
    assert got.feature_names == ["B CELLS", "PAN", "NKG7", "LYZ", "S100A8"]
    with pytest.raises(DataError, match=r"groups share feature CD79A \(in B CELLS and PAN\)"):
        Explainer(model, tables[0], groups=sets)


BAD_SETS = {
    "two fields": ("A\tx\tCD3D\nB\tx\n", r"line 2 of .*sets\.gmt is no gene set: name, description and genes"),
    "spaces": ("A x CD3D\n", "line 1 of .* is no gene set"),
    "the same name": ("A\tx\tCD3D\nA\tx\tCD79A\n", "line 2 of .* has the name of an earlier set, 'A'"),
    "other genes": ("A\tx\tCD3D\tCD79A\n", r"no gene of .* it has genes CD3D, CD79A; the features are feature ENSG1\."),
}


@pytest.mark.parametrize("kind", BAD_SETS)
def test_what_is_no_gene_set_is_refused(kind, tmp_path):
    text, message = BAD_SETS[kind]
    (tmp_path / "sets.gmt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_gmt(tmp_path / "sets.gmt", ["ENSG1"])


# Groups of outputs


def test_the_error_of_a_group_of_features_is_that_of_a_head_that_adds_them_up(model, rows, background):
    class Sum(torch.nn.Module):
        def forward(self, autoencoder, rows):
            errors = (autoencoder.reconstruct(rows) - rows).square()
            return torch.stack([errors[:, [0, 2]].sum(dim=1), errors[:, 1]], dim=1)

    found = Explainer(model, background, head="feature_error")(rows)
    got = found.grouped_outputs({"two": ["feature 0", "feature 2"]})
    want = Explainer(model, background, head=Sum())(rows)
    assert got.output_names == ["two", "feature 1", "feature 3", "feature 4", "feature 5"]
    for name in ("values", "scores", "base_values"):
        np.testing.assert_allclose(getattr(got, name)[..., :2], getattr(want, name), atol=1e-12, err_msg=name)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    one = found[0].grouped_outputs({"two": ["feature 0", "feature 2"]})
    np.testing.assert_allclose(one.values, got.values[0], atol=1e-12)


def test_groups_of_outputs_need_several_that_are_there(model, rows, background):
    with pytest.raises(DataError, match="there is one output, 'reconstruction error'; explain several"):
        Explainer(model, background)(rows).grouped_outputs({"two": ["a"]})
    with pytest.raises(DataError, match="groups name features that are not there: x .in two."):
        Explainer(model, background, head="latent")(rows).grouped_outputs({"two": ["x"]})
