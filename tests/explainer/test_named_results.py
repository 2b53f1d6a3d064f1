"""Several results in one AnnData: each has keys of its own, and none is lost."""

import re

import numpy as np
import pytest

from shapae import Explainer, heads
from shapae.errors import DataError
from tests import cases

FIXED = heads.ReconstructionError(target="fixed")


@pytest.fixture
def adata():
    pytest.importorskip("anndata")
    return cases.cells()


@pytest.fixture
def explainer(model, adata):
    return Explainer(model, adata)


def test_results_of_several_heads_are_all_in_the_file_by_their_names(explainer, adata, tmp_path):
    results = {head: explainer.with_head(head)(adata) for head in ("reconstruction_error", "latent", FIXED)}
    error, latent, fixed = results.values()
    out = fixed.to_anndata(latent.to_anndata(error.to_anndata(adata), name="latent"), name="fixed")
    out.write_h5ad(tmp_path / "cells.h5ad")
    got = __import__("anndata").read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(got.layers["shap_reconstruction error"], error.values)
    np.testing.assert_array_equal(got.layers["shap_fixed"], fixed.values)
    np.testing.assert_array_equal(got.layers["shap_latent 2"], latent.values[..., 2])
    for prefix, each in {"shap": error, "shap_latent": latent, "shap_fixed": fixed}.items():
        np.testing.assert_allclose(
            np.squeeze(got.varm[f"{prefix}_mean_abs"]), abs(each.values).mean(axis=0), rtol=1e-12
        )
        np.testing.assert_array_equal(got.obsm[f"{prefix}_base_values"].ravel(), each.base_values.ravel())
    assert list(got.uns["shapae_latent"]["layers"]) == ["shap_latent 0", "shap_latent 1", "shap_latent 2"]
    assert "target='fixed'" in got.uns["shapae_fixed"]["made_by"]
    np.testing.assert_array_equal(got.obsm["X_fixed"].ravel(), fixed.scores)


def test_a_layer_whose_output_has_another_name_begins_with_the_name_of_the_result(explainer, adata):
    got = explainer.with_head("latent")(adata).to_anndata(adata, name="vae/1")
    assert list(got.uns["shapae_vae_1"]["layers"])[:2] == ["shap_vae_1 latent 0", "shap_vae_1 latent 1"]


MAKERS = {
    "an explanation": lambda explainer, adata: explainer(adata),
    "averages": lambda explainer, adata: explainer.summarize(adata),
    "groups": lambda explainer, adata: explainer.summarize(adata, by="kind"),
}


@pytest.mark.parametrize("second", MAKERS)
@pytest.mark.parametrize("first", MAKERS)
def test_a_result_of_another_head_is_not_replaced_and_the_error_has_the_name_to_give(first, second, explainer, adata):
    held = MAKERS[first](explainer, adata).to_anndata(adata)
    other = MAKERS[second](explainer.with_head("latent_norm"), adata)
    with pytest.raises(DataError, match="holds a result of the head 'reconstruction_error' already") as refused:
        other.to_anndata(held)
    name = re.search(r"name='(\w+)'\)", str(refused.value))[1]
    got = other.to_anndata(held, name=name)
    for container in ("layers", "varm", "obsm"):
        for key, array in getattr(held, container).items():
            if key is not None and hasattr(array, "dtype"):
                np.testing.assert_array_equal(getattr(got, container)[key], array)
    assert got.uns["shapae"]["made_by"] == held.uns["shapae"]["made_by"]


def test_a_name_that_is_suggested_is_free(explainer, adata):
    held = explainer(adata).to_anndata(adata)
    with pytest.raises(DataError, match=r"name='reconstruction_error_2'\)"):
        explainer.with_head(FIXED)(adata).to_anndata(held)


def test_a_result_of_the_same_head_is_replaced(model, explainer, adata):
    held = explainer(adata).to_anndata(adata)
    again = Explainer(model, adata[:3])(adata)
    got = again.to_anndata(held)
    np.testing.assert_array_equal(got.layers["shap_reconstruction error"], again.values)
    assert [*got.uns] == [*held.uns]
