"""Groups of features that are found: one-hot columns, clusters of correlated features, gene sets."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from shapae import Explainer, cluster_features, read_gmt
from shapae.errors import DataError, TooLarge
from shapae.tables.groups import one_hot
from tests import cases


def test_one_hot_columns_are_found():
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


def test_attributes_with_a_common_prefix_are_separated():
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
def test_columns_that_do_not_sum_to_one_are_no_attribute(kind):
    assert one_hot(pd.DataFrame(NOT_ONE_HOT[kind], columns=["has_cat", "has_dog"])) == {}


def test_columns_without_names_are_refused():
    for find in (one_hot, cluster_features):
        with pytest.raises(
            DataError, match=r"columns must have names to be grouped\. Give a DataFrame, pd\.DataFrame\(X"
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


def test_correlated_features_are_found_with_any_sign():
    assert cluster_features(correlated(), threshold=0.8) == {
        "a and 1 more": ["a", "c"],
        "d and 2 more": ["d", "e", "f"],
    }
    # The exponential function is monotonic, but not linear.
    assert [*cluster_features(correlated(), threshold=0.8, correlation="pearson")] == ["d and 2 more"]


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_clusters_of_two_are_joined_at_their_correlation(kind):
    pair = correlated()[["a", "c"]]
    size = abs(spearmanr(pair).statistic if kind == "spearman" else np.corrcoef(pair.T)[0, 1])
    assert len(cluster_features(pair, threshold=size - 1e-9, correlation=kind)) == 1
    assert len(cluster_features(pair, threshold=size + 1e-9, correlation=kind)) == 0


def test_clusters_are_joined_by_the_average_of_their_correlations():
    """Of d, e and f, the third joins at the mean of its two correlations."""
    table = correlated()[["d", "e", "f"]]
    sizes = np.abs(spearmanr(table).statistic)
    near = np.argmax(np.triu(sizes, 1))
    pair, third = {*divmod(near, 3)}, ({0, 1, 2} - {*divmod(near, 3)}).pop()
    mean = np.mean([sizes[third, other] for other in pair])
    assert len([*cluster_features(table, threshold=mean - 1e-9).values()][0]) == 3
    assert len([*cluster_features(table, threshold=mean + 1e-9).values()][0]) == 2


def test_a_sparse_table_has_the_clusters_of_the_dense_table():
    anndata = pytest.importorskip("anndata")
    table = correlated()
    adata = anndata.AnnData(sparse.csr_matrix(table.to_numpy()), var=table.T[[]])
    assert cluster_features(adata) == cluster_features(table)


NO_CLUSTERS = {
    "threshold": ({"threshold": 0}, "threshold must be a number above 0 and at most 1, got 0"),
    "more than one": ({"threshold": 1.5}, "got 1.5"),
    "correlation": ({"correlation": "kendall"}, "correlation must be 'spearman' or 'pearson', got 'kendall'"),
}


@pytest.mark.parametrize("kind", NO_CLUSTERS)
def test_other_settings_are_refused(kind):
    settings, message = NO_CLUSTERS[kind]
    with pytest.raises(DataError, match=message):
        cluster_features(correlated(), **settings)


def test_correlations_of_too_few_rows_are_refused():
    with pytest.raises(DataError, match="correlations need 3 rows and 2 columns or more, got 2 and 7"):
        cluster_features(correlated(2))


def test_correlations_that_do_not_fit_are_refused_and_the_advice_works():
    with pytest.raises(
        TooLarge,
        match=r"of 7 features over 200 rows take 23\.97 kB, but memory='20 kB' is allowed\. .* allow memory='24",
    ):
        cluster_features(correlated(), memory="20kB")
    cluster_features(correlated(), memory="24.21kB")


# Names of groups that are names of features


def players_of(groups, table):
    """The names of the players of an explainer of ``table``."""
    model = cases.build(cases.Linear, table.shape[1])
    background = table.iloc[:3].astype(float)
    return Explainer(model, background, groups=groups, backend="sampling")(background).feature_names


def test_a_group_of_one_hot_columns_is_not_called_as_a_feature_outside():
    table = pd.DataFrame({"colour": [3, 1, 2], "colour_r": [1, 0, 0], "colour_g": [0, 1, 1], "size": [1, 2, 3]})
    groups = one_hot(table)
    assert groups == {"colour (group)": ["colour_r", "colour_g"]}
    assert players_of(groups, table) == ["colour (group)", "colour", "size"]
    taken = table.assign(**{"colour (group)": [1.0, 2.0, 4.0]})
    assert players_of(one_hot(taken), taken) == ["colour (group) (group)", "colour", "size", "colour (group)"]


def test_a_group_may_be_called_as_a_feature_inside():
    table = pd.DataFrame(np.eye(3)[:, :2], columns=["a_b", "a_b_c"]).assign(a=[0, 0, 1])
    table.columns = ["a_x", "a_y_z", "a_y"]
    assert one_hot(table) == {"a": ["a_x", "a_y_z", "a_y"]}


def test_columns_that_begin_with_the_separator_have_no_common_prefix():
    assert one_hot(pd.DataFrame(np.eye(2), columns=["_r", "_g"])) == {}


def test_a_cluster_is_not_called_as_a_feature_outside():
    table = correlated().drop(columns="constant").rename(columns={"b": "a and 1 more"})
    groups = cluster_features(table, threshold=0.8)
    assert [*groups] == ["a and 1 more (group)", "d and 2 more"]
    assert players_of(groups, table) == ["a and 1 more (group)", "d and 2 more", "a and 1 more"]


def test_a_gene_set_is_not_called_as_a_gene_outside(tmp_path):
    (tmp_path / "sets.gmt").write_text("CD3D\tx\tCD79A\tMS4A1\nCD79A\tx\tNKG7\tLYZ\n")
    genes = ["CD3D", "CD79A", "MS4A1", "NKG7", "LYZ"]
    groups = read_gmt(tmp_path / "sets.gmt", genes)
    assert groups == {"CD3D (group)": ["CD79A", "MS4A1"], "CD79A": ["NKG7", "LYZ"]}
    table = pd.DataFrame(cases.table(4, 5), columns=genes)
    assert players_of(groups, table) == ["CD3D (group)", "CD79A", "CD3D"]


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
    "two fields": (
        "A\tx\tCD3D\nB\tx\n",
        r"line 2 of .*sets\.gmt is not a gene set\. Expected name, description and genes",
    ),
    "spaces": ("A x CD3D\n", "line 1 of .* is not a gene set"),
    "the same name": ("A\tx\tCD3D\nA\tx\tCD79A\n", "line 2 of .* repeats the name of an earlier set, 'A'"),
    "another encoding": ("A\tx\tCD3D\n".encode("utf-16"), "can't read the gene sets in .*: .*codec"),
    "other genes": (
        "A\tx\tCD3D\tCD79A\n",
        r"no gene of .* among the features\. The file has genes CD3D, CD79A; the features are feature ENSG1\.",
    ),
}


@pytest.mark.parametrize("kind", BAD_SETS)
def test_other_gene_sets_are_refused(kind, tmp_path):
    text, message = BAD_SETS[kind]
    (tmp_path / "sets.gmt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        read_gmt(tmp_path / "sets.gmt", ["ENSG1"])


def test_a_missing_file_of_gene_sets_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"can't read the gene sets in .*gone\.gmt: .*No such file"):
        read_gmt(tmp_path / "gone.gmt")


# Groups of outputs
