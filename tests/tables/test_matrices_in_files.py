"""Layers and the raw matrix of a .h5ad, by their place behind the name of the file."""

import warnings

import numpy as np
import pytest

from shapae import Explainer, from_anndata
from shapae.errors import DataError, UnknownName
from shapae.tables import stored
from shapae.tables.table import read_table
from tests import cases

anndata = pytest.importorskip("anndata")


@pytest.fixture(params=["in memory", "in the file"])
def cells(request, tmp_path, monkeypatch):
    """An AnnData with a layer, and .raw with a column more; a large one, whose rows stay in the file, or not."""
    monkeypatch.setattr(stored, "LARGE", 0 if request.param == "in the file" else 2**26)
    whole = cases.cells()
    whole.raw = whole
    whole = whole[:, 1:].copy()
    whole.write_h5ad(tmp_path / "cells.h5ad")
    return whole, tmp_path / "cells.h5ad"


@pytest.mark.parametrize(
    ("place", "choice"), [("layers/counts", {"layer": "counts"}), ("raw", {"raw": True}), ("raw/X", {"raw": True})]
)
def test_a_matrix_of_a_file_is_that_of_the_anndata(cells, place, choice):
    adata, path = cells
    got, want = read_table(path / place, "rows"), from_anndata(adata, **choice)
    assert got.names == want.names
    assert [*got.row_names] == [*adata.obs_names]
    explainer = Explainer(cases.build(cases.Question, len(got.names)), want)
    np.testing.assert_array_equal(explainer.scores(got), explainer.scores(want))


def test_a_layer_in_a_file_is_explained_with_the_columns_of_obs(cells, model):
    adata, path = cells
    model = cases.build(cases.Question, adata.shape[1])
    explainer = Explainer(model, from_anndata(adata, layer="counts"))
    got, want = explainer(path / "layers/counts"), explainer(from_anndata(adata, layer="counts"))
    np.testing.assert_allclose(got.values, want.values, rtol=1e-12)
    assert explainer.summarize(path / "layers/counts", by="kind").labels == ["x", "y", "z"]


def test_other_places_are_refused_with_those_that_there_are(cells):
    _, path = cells
    with pytest.raises(UnknownName, match=r"no layer is called 'count'; there are: counts\."):
        read_table(path / "layers/count", "rows")
    with pytest.raises(DataError, match="no matrix 'obsm/X_pca' that shapae reads. .* write layers/counts for the"):
        read_table(path / "obsm/X_pca", "rows")
    cases.cells().write_h5ad(path)
    with pytest.raises(DataError, match="this AnnData has no .raw"):
        read_table(path / "raw", "rows")


@pytest.mark.parametrize("place", ["", "layers/counts"])
def test_a_file_that_is_not_there_is_no_file(place, tmp_path):
    with pytest.raises(DataError, match=r"cells\.h5ad.*: No such file or directory\.$"):
        read_table(tmp_path / "cells.h5ad" / place, "rows")


def test_repeated_names_in_a_file_are_told_once(tmp_path):
    adata = cases.cells(["a", "b", "a", "c", "d", "e"])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_table(tmp_path / "cells.h5ad", "rows")
    assert [str(each.message)[:28] for each in caught] == ["name a came repeatedly. Repe"]
