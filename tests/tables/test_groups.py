"""Groups of features that are found: one-hot columns, clusters of correlated features, gene sets."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from shapae import Explainer, cluster_features, read_gmt
from shapae.errors import DataError, TooLarge
from shapae.tables.groups import one_hot


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
    "threshold": ({"threshold": 0}, "threshold must be a correlation above 0 and at most 1, got 0"),
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
    "other genes": (
        "A\tx\tCD3D\tCD79A\n",
        r"no gene of .* among the features\. The file has genes CD3D, CD79A; the features are feature ENSG1\.",
    ),
}


@pytest.mark.parametrize("kind", BAD_SETS)
def test_other_gene_sets_are_refused(kind, tmp_path):
    text, message = BAD_SETS[kind]
    (tmp_path / "sets.gmt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_gmt(tmp_path / "sets.gmt", ["ENSG1"])


# Groups of outputs
