"""Averages over rows as the tables of others, and in files."""

import json
import warnings

import numpy as np
import pytest

from shapae import Explainer, Importance
from shapae.errors import DataError, MissingPackage
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.importance import MEASURES
from tests import cases
from tests.explainer.explanations import D, explanation

OUTPUTS = ["a/b", "a b", "遺伝子 $x$"]
FEATURES = cases.FEATURES
LABELS = np.array(["CD4+/CD25 T", "B", "CD4+/CD25 T", "NK $", "B", "B", "NK $", "B"])
MADE_BY = {"head": "latent", "groups": None}
several = pytest.mark.parametrize("k", [None, 3])


def average(k=None, d=D):
    return Importance.of(explanation(k, outputs=OUTPUTS, made_by=MADE_BY)[:, :d])


def grouped(k=None, d=D):
    return GroupedImportance.of(explanation(k, outputs=OUTPUTS, made_by=MADE_BY)[:, :d], LABELS)


@pytest.fixture(params=["in memory", "from a file"])
def read_back(request, tmp_path):
    """The AnnData as it is, or after it was written to a file and read again; no warning on the way."""
    anndata = pytest.importorskip("anndata")

    def through_a_file(adata):
        adata.write_h5ad(tmp_path / "it.h5ad")
        return anndata.read_h5ad(tmp_path / "it.h5ad")

    return through_a_file if request.param == "from a file" else lambda adata: adata


@several
def test_an_anndata_holds_the_averages_and_their_errors(k, read_back):
    importance = average(k)
    got = read_back(importance.to_anndata())
    assert got.var_names.tolist() == FEATURES
    assert got.shape == (0, D)
    for name in MEASURES:
        np.testing.assert_array_equal(got.varm[f"shap_{name}"], getattr(importance, name))
    assert list(got.uns["shapae"]["output_names"]) == list(importance.output_names)
    assert json.loads(got.uns["shapae"]["made_by"]) == MADE_BY


@several
def test_an_anndata_holds_the_averages_of_each_group_under_keys_that_are_listed(k, read_back):
    groups = grouped(k)
    got = read_back(groups.to_anndata())
    record = got.uns["shapae"]
    assert list(record["groups"]) == ["B", "CD4+/CD25 T", "NK $"]
    assert record["group_rows"].tolist() == [4, 2, 2]
    for name in MEASURES:
        for at, output in enumerate(groups.output_names):
            assert record["output_names"][at] == output
            key = record["varm"][name][at]
            assert not {*"/ "} & {*key}
            np.testing.assert_array_equal(got.varm[key], getattr(groups, name)[:, :, at].T)
    assert len({key for keys in record["varm"].values() for key in keys}) == 4 * (k or 1)


def test_keys_are_readable_where_names_are():
    assert [*grouped().to_anndata().varm] == [f"shap_{name}_reconstruction_error" for name in MEASURES]


@pytest.mark.parametrize("make", [average, grouped], ids=["all rows", "groups"])
def test_the_explained_anndata_gets_the_averages_in_a_copy(make, read_back):
    adata = cases.cells(FEATURES[::-1])
    adata.uns["shapae"] = {"theirs": "kept"}
    before = adata.copy()
    result = make(3, d=4)
    got = read_back(result.to_anndata(adata))
    assert got.var_names.tolist() == FEATURES[:4]
    assert got.obs_names.tolist() == cases.CELLS
    np.testing.assert_array_equal(got.X.toarray(), adata[:, FEATURES[:4]].X.toarray())
    assert got.var["chromosome"].tolist() == [5, 4, 3, 2]
    key = "shap_mean" if make is average else got.uns["shapae"]["varm"]["mean"][1]
    want = result.mean if make is average else result.mean[:, :, 1].T
    np.testing.assert_array_equal(got.varm[key], want)
    assert got.uns["shapae"]["theirs"] == "kept"
    assert [*adata.varm] == [*before.varm] == []
    assert adata.uns["shapae"] == {"theirs": "kept"}
    assert adata.var_names.tolist() == FEATURES[::-1]


def test_repeated_names_are_found_by_their_unique_ones(model):
    adata = cases.cells(["a", "b", "a", "c", "d", "e"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = Explainer(model, adata)
        got = explainer.summarize(adata, by="kind")
    out = got.to_anndata(adata)
    assert out.var_names.tolist() == ["a", "b", "a-1", "c", "d", "e"]
    np.testing.assert_array_equal(out.varm["shap_mean_reconstruction_error"], got.mean[..., 0].T)


def test_all_results_of_one_table_fit_into_one_anndata(model, read_back):
    adata = cases.cells()
    explainer = Explainer(model, adata, head="latent")
    explained = explainer(adata)
    got = explainer.summarize(adata, by="kind").to_anndata(
        Importance.of(explained).to_anndata(explained.to_anndata(adata))
    )
    got = read_back(got)
    np.testing.assert_allclose(got.layers["shap_latent 1"], explained.values[..., 1])
    np.testing.assert_allclose(got.varm["shap_mean"], explained.values.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(
        got.varm["shap_mean_latent_1"][:, 2], explained.values[6:, :, 1].mean(axis=0), atol=1e-12
    )
    assert list(got.uns["shapae"]["groups"]) == ["x", "y", "z"]
    assert list(got.uns["shapae"]["layers"]) == ["shap_latent 0", "shap_latent 1", "shap_latent 2"]


@pytest.mark.parametrize("make", [average, grouped], ids=["all rows", "groups"])
def test_other_tables_are_refused(make):
    with pytest.raises(DataError, match="the AnnData has no columns"):
        make().to_anndata(cases.cells([*"abcdef"]))
    with pytest.raises(DataError, match="to_anndata takes an AnnData or None, got ndarray"):
        make().to_anndata(np.zeros((8, 6)))


@pytest.mark.parametrize("make", [average, grouped], ids=["all rows", "groups"])
def test_without_anndata_the_error_says_how_to_install_it(make, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "anndata", None)
    with pytest.raises(MissingPackage, match="anndata"):
        make().to_anndata()
