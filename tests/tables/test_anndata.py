"""Tables in an AnnData."""

import warnings

import numpy as np
import pandas as pd
import pytest

from shapae import Explainer, from_anndata
from shapae.errors import DataError, UnknownName
from tests import cases

N, D, FEATURES, ROWS = 8, 6, cases.FEATURES, cases.CELLS


def test_an_anndata_is_a_table_with_names(model, background):
    adata = cases.cells()
    got = Explainer(model, adata, head="latent")(adata)
    want = Explainer(model, adata.X.toarray(), head="latent")(adata.X.toarray())
    np.testing.assert_array_equal(got.values, want.values)
    np.testing.assert_array_equal(got.data, adata.X.toarray())
    assert got.feature_names == FEATURES
    assert got.row_names.tolist() == ROWS


MATRICES = {
    "X": ({}, lambda adata: adata.X.toarray()),
    "a layer": ({"layer": "counts"}, lambda adata: adata.layers["counts"]),
    "raw": ({"raw": True}, lambda adata: adata.raw.X.toarray()),
}


@pytest.mark.parametrize("which", MATRICES)
@pytest.mark.parametrize("view", [False, True])
def test_another_matrix_is_chosen(which, view):
    settings, matrix = MATRICES[which]
    adata = cases.cells()
    adata.raw = adata.copy()
    adata = adata[2:6, ::-1] if view else adata
    rows = from_anndata(adata, **settings)
    np.testing.assert_array_equal(rows.dense(slice(None)), matrix(adata))
    assert rows.names == list((adata.raw if which == "raw" else adata).var_names)
    assert list(rows.row_names) == list(adata.obs_names)


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_an_anndata_in_a_file_stays_there(kind, tmp_path):
    anndata = pytest.importorskip("anndata")
    adata = cases.cells()
    adata.X = adata.X if kind == "sparse" else adata.X.toarray()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    rows = from_anndata(anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r"))
    np.testing.assert_array_equal(rows.dense(slice(2, 5)), adata[2:5].to_df())
    assert not isinstance(rows.values, np.ndarray)


def test_repeated_names_are_made_unique_as_scanpy_does():
    names = ["CD8A", "CD8A-1", "CD8A", "x", "x", "CD8A"]
    adata = cases.cells(names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = from_anndata(adata).names
        twin = adata.copy()
        twin.var_names_make_unique()
    assert got == list(twin.var_names)
    assert list(adata.var_names) == names
    assert "names CD8A, x came repeatedly. Repeated names were made unique" in str(caught[0].message)
    assert "adata.var_names_make_unique()" in str(caught[0].message)


def test_columns_in_another_order_are_refused_and_the_advice_works(model):
    adata = cases.cells()
    explainer = Explainer(model, adata)
    with pytest.raises(
        DataError, match=r"in another order .*\. Select them as .* X\[:, explainer\.feature_names\] of an AnnData"
    ):
        explainer(adata[:, ::-1])
    X = adata[:, ::-1]
    np.testing.assert_array_equal(explainer(X[:, explainer.feature_names]).values, explainer(adata).values)


REFUSED = {
    "no raw": (
        cases.cells,
        {"raw": True},
        DataError,
        r"this AnnData has no \.raw\. Leave raw=True out, or give layer=",
    ),
    "both": (
        cases.cells,
        {"raw": True, "layer": "counts"},
        DataError,
        r"raw has no layers\. Give either layer= or raw",
    ),
    "no layer": (cases.cells, {"layer": "count"}, UnknownName, "no layer is called 'count'; there are: counts"),
    "a frame": (pd.DataFrame, {}, DataError, "from_anndata takes an AnnData, got DataFrame"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_missing_matrix_is_refused(kind):
    make, settings, error, message = REFUSED[kind]
    with pytest.raises(error, match=message):
        from_anndata(make(), **settings)


def test_an_anndata_without_x_is_refused_but_its_layers_are_explained(model):
    adata = cases.cells()
    adata.X = None
    with pytest.raises(
        DataError, match=r"this AnnData has no X\. Choose a layer, as in shapae\.from_anndata\(adata, l"
    ):
        Explainer(model, adata)
    assert Explainer(model, from_anndata(adata, layer="counts"))(from_anndata(adata, layer="counts")).shape == (N, D)


def test_nan_in_an_anndata_is_named_with_its_gene(model):
    adata = cases.cells()
    adata.layers["counts"][3, 1] = np.nan
    with pytest.raises(DataError, match="the table must be finite, .* in row 3 and column α-Globin"):
        from_anndata(adata, layer="counts")
