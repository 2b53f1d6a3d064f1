"""Explanations as the tables of others."""

import json
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest

from shapae import Explainer, Explanation, from_anndata
from shapae.errors import DataError, MissingPackage
from shapae.explainer.importance import Importance
from tests import cases
from tests.explainer import explanations
from tests.explainer.explanations import D, N

FEATURES = cases.FEATURES
OUTPUTS = ["a/b", "a_b", "遺伝子 $x$", "a/b-1"]
ROWS = cases.CELLS
MADE_BY = {"head": "Latent(chosen=[1])", "seed": 0, "versions": {"torch": "2"}, "groups": None}
explanation = partial(
    explanations.explanation, outputs=OUTPUTS, feature_names=FEATURES, made_by=MADE_BY, row_names=ROWS
)
several = pytest.mark.parametrize("k", [None, 4])


# pandas


def test_the_frame_of_one_output_has_a_row_for_each_row_and_a_column_for_each_feature():
    whole = explanation()
    frame = whole.to_frame()
    np.testing.assert_array_equal(frame, whole.values)
    assert frame.index.tolist() == ROWS
    assert frame.columns.tolist() == FEATURES
    frame[:] = 0
    assert whole.values.all()


def test_the_frame_of_several_outputs_holds_the_frame_of_each():
    whole = explanation(4)
    frame = whole.to_frame()
    assert frame.shape == (N, 4 * D)
    assert frame.columns.names == ["output", "feature"]
    for name in OUTPUTS:
        pd.testing.assert_frame_equal(frame[name], whole.output(name).to_frame())


@pytest.mark.parametrize("names", [None, [3, 1, 4, 15, 9, 2, 6, 5], [*pd.date_range("2024-01-01", periods=N)]])
def test_a_frame_has_the_index_of_what_was_explained(names, model, background):
    table = pd.DataFrame(cases.table(N), index=names, columns=list("abcdef"))
    got = Explainer(model, background)(table)
    pd.testing.assert_index_equal(got.to_frame().index, table.index)
    pd.testing.assert_index_equal(got[2:5].to_frame().index, table.index[2:5] if names else pd.RangeIndex(3))


SLICES = {
    "a row": (3, (1, D)),
    "rows": (slice(1, 4), (3, D)),
    "features": ((slice(None), slice(1, 3)), (N, 2)),
    "a feature": ((slice(None), "遺伝子"), (N, 1)),
    "a number": ((2, "遺伝子"), (1, 1)),
}


@pytest.mark.parametrize("part", SLICES)
@several
def test_slices_become_frames_too(part, k):
    index, (n, d) = SLICES[part]
    whole = explanation(k)
    got, frame = whole[index].to_frame(), whole.to_frame()
    assert got.shape == (n, d * (k or 1))
    rows, columns = index if isinstance(index, tuple) else (index, slice(None))
    columns = [columns] if isinstance(columns, str) else FEATURES[columns]
    for output in OUTPUTS if k else [None]:
        one, all_of_it = (each[output] if k else each for each in (got, frame))
        pd.testing.assert_frame_equal(one, all_of_it.iloc[[rows] if isinstance(rows, int) else rows][columns])


@several
def test_the_top_features_are_those_of_the_importance(k):
    whole = explanation(k)
    pd.testing.assert_frame_equal(whole.top(3), Importance.of(whole).top(3))
    for name, top in whole.top(2).groupby("output"):
        sizes = np.abs(whole.output(name).values).mean(axis=0)
        assert {*top.index.get_level_values("feature")} == {FEATURES[at] for at in sizes.argsort()[-2:]}


def test_the_top_features_of_a_row_are_its_own():
    whole = explanation()
    assert whole[2].top(1).index[0] == ("reconstruction error", FEATURES[np.abs(whole.values[2]).argmax()])


# The names of rows


@several
@pytest.mark.parametrize("index", [2, slice(1, 5), [5, 0], (slice(None), "CD79A"), (..., slice(0, 2))])
def test_the_names_of_rows_stay_in_step(k, index, tmp_path):
    part = explanation(k)[index]
    rows = index[0] if isinstance(index, tuple) else index
    want = np.array(ROWS, dtype=object)[slice(None) if rows is Ellipsis else rows]
    np.testing.assert_array_equal(part.row_names, want)
    np.testing.assert_array_equal(Explanation.load(part.save(tmp_path / "out")).row_names, want)


@pytest.mark.parametrize(
    ("names", "want"),
    [
        ([10, 11, 12, 13, 14, 15, 16, 17], [10, 11, 12, 13, 14, 15, 16, 17]),
        (ROWS, ROWS),
        (pd.date_range("2024-01-01", periods=N), [f"2024-01-0{day} 00:00:00" for day in range(1, 9)]),
    ],
)
def test_names_of_rows_are_saved_as_numbers_or_strings(names, want, tmp_path):
    loaded = Explanation.load(explanation(row_names=names).save(tmp_path / "out"))
    assert loaded.row_names.tolist() == want
    assert loaded[3].row_names == want[3]


def test_an_explanation_without_names_of_rows_has_none_when_loaded(tmp_path):
    whole = explanation(row_names=None)
    assert Explanation.load(whole.save(tmp_path / "out")).row_names is None
    assert whole[2].row_names is None
    pd.testing.assert_index_equal(whole.to_frame().index, pd.RangeIndex(N))


# xarray


def test_a_dataset_holds_the_errors_over_backgrounds():
    pytest.importorskip("xarray")
    errors = np.random.default_rng(1).random((N, D, 3))
    got = explanation(3, background_errors=errors).to_xarray()
    np.testing.assert_array_equal(got["background_errors"], errors)


@several
@pytest.mark.parametrize("errors", [True, False])
def test_a_dataset_holds_all_there_is(k, errors):
    pytest.importorskip("xarray")
    whole = explanation(k, errors=errors)
    got = whole.to_xarray()
    assert dict(got.sizes) == {"row": N, "feature": D, "output": k or 1}
    outputs = OUTPUTS if k else ["reconstruction error"]
    assert [got[axis].to_numpy().tolist() for axis in ("row", "feature", "output")] == [ROWS, FEATURES, outputs]
    for name in ("values", "data", "scores", "base_values", "residual", *(["standard_errors"] if errors else [])):
        np.testing.assert_array_equal(got[name].to_numpy().reshape(getattr(whole, name).shape), getattr(whole, name))
    assert ("standard_errors" in got) == errors
    assert json.loads(got.attrs["made_by"]) == whole.made_by
    got["values"][:] = 0
    assert whole.values.all()


def test_an_output_of_a_dataset_is_that_of_the_explanation():
    xarray = pytest.importorskip("xarray")
    whole = explanation(4)
    for name in OUTPUTS:
        xarray.testing.assert_identical(whole.to_xarray().sel(output=[name]), whole.output(name).to_xarray())


def test_rows_without_names_are_numbered():
    pytest.importorskip("xarray")
    assert explanation(row_names=None).to_xarray()["row"].to_numpy().tolist() == [*range(N)]


# AnnData


def same(one, other):
    pd.testing.assert_frame_equal(one.obs, other.obs)
    pd.testing.assert_frame_equal(one.var, other.var)
    for name in ("layers", "obsm", "varm", "uns"):
        assert [*getattr(one, name)] == [*getattr(other, name)]
    np.testing.assert_array_equal(one.X.toarray(), other.X.toarray())
    np.testing.assert_array_equal(one.layers["counts"], other.layers["counts"])


KEYS = ["shap_a_b", "shap_a_b-2", "shap_遺伝子 $x$", "shap_a_b-1"]


@several
def test_an_anndata_holds_all_there_is(k):
    whole, adata = explanation(k), cases.cells()
    got = whole.to_anndata(adata)
    keys = KEYS if k else ["shap_reconstruction error"]
    values = whole.values.reshape(N, D, -1)
    assert sorted(key for key in got.layers if key is not None) == sorted(["counts", *keys])
    for at, key in enumerate(keys):
        np.testing.assert_array_equal(got.layers[key], values[..., at])
    np.testing.assert_allclose(got.varm["shap_mean_abs"], np.abs(values).mean(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(got.obsm["X_latent"], whole.scores.reshape(N, -1))
    np.testing.assert_array_equal(got.obsm["shap_base_values"], whole.base_values.reshape(N, -1))
    assert json.loads(got.uns["shapae"]["made_by"]) == whole.made_by
    assert list(got.uns["shapae"]["layers"]) == keys
    assert list(got.uns["shapae"]["output_names"]) == (OUTPUTS if k else ["reconstruction error"])
    assert [*got.obs] == ["kind"]
    assert got.uns["theirs"] == {"a": 1}
    np.testing.assert_array_equal(got.X.toarray(), adata.X.toarray())


@several
def test_the_anndata_that_was_handed_in_stays_as_it_was(k):
    adata, twin = cases.cells(), cases.cells()
    got = explanation(k).to_anndata(adata)
    got.layers["counts"][:] = 0
    got.X.data[:] = 0
    got.obs["kind"] = "none"
    same(adata, twin)


def test_an_anndata_is_made_where_there_is_none():
    pytest.importorskip("anndata")
    whole = explanation()
    got = whole.to_anndata(name="error")
    np.testing.assert_array_equal(got.X, whole.data)
    assert (list(got.obs_names), list(got.var_names)) == (ROWS, FEATURES)
    np.testing.assert_array_equal(got.obsm["X_error"][:, 0], whole.scores)
    assert list(explanation(row_names=None).to_anndata().obs_names) == [str(row) for row in range(N)]
    got.X[:] = 0
    assert whole.data.all()


NAMES_OF_HEADS = {"latent:3": "X_latent", "FeatureError(chosen=None)": "X_feature_error", "KL()": "X_kl", "": "X_score"}


@pytest.mark.parametrize("head", NAMES_OF_HEADS)
def test_scores_are_called_as_the_head(head):
    pytest.importorskip("anndata")
    whole = explanation()
    whole.made_by["head"] = head
    assert NAMES_OF_HEADS[head] in whole.to_anndata().obsm


@several
@pytest.mark.parametrize("backed", [False, True])
def test_a_file_comes_back_whole_whatever_the_names(k, backed, tmp_path):
    anndata = pytest.importorskip("anndata")
    adata = cases.cells(["CD8A", "CD8A", "a/b", "遺伝子", "$x$", "CD8A"])
    unique = ["CD8A", "CD8A-1", "a/b", "遺伝子", "$x$", "CD8A-2"]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        read = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r" if backed else None)
    head = "reconstruction" if k else "reconstruction_error"
    with pytest.warns(UserWarning, match=r"name CD8A came repeatedly\. Repeated names were made unique as by adata"):
        rows = from_anndata(read)
    got = Explainer(cases.build(cases.Question), rows, head=head)(rows)
    assert got.feature_names == unique
    out = got.to_anndata(adata)
    out.write_h5ad(tmp_path / "out.h5ad")
    back = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(back.var_names) == unique
    assert list(back.var["chromosome"]) == [*range(D)]
    assert list(back.uns["shapae"]["output_names"]) == (unique if k else ["reconstruction error"])
    for at, key in enumerate(back.uns["shapae"]["layers"]):
        np.testing.assert_array_equal(back.layers[key], got.values.reshape(N, D, -1)[..., at])
        assert "/" not in key
    np.testing.assert_array_equal(back.X.toarray(), adata.X.toarray())
    np.testing.assert_array_equal(back.obsm[f"X_{head}"], got.scores.reshape(N, -1))


def test_the_rows_and_columns_that_were_explained_are_found_by_their_names(model, background):
    adata = cases.cells()
    got = Explainer(model, adata)(adata[[5, 2, 7]])
    out = got[:, [3, 0]].to_anndata(adata)
    assert list(out.obs_names) == ["cell 5", "cell 2", "cell 7"]
    assert list(out.var_names) == ["遺伝子", "CD79A"]
    np.testing.assert_array_equal(out.layers["shap_reconstruction error"], got.values[:, [3, 0]])
    np.testing.assert_array_equal(out.X.toarray(), adata.X.toarray()[[5, 2, 7]][:, [3, 0]])
    assert got[1].to_anndata(adata).obs_names == ["cell 2"]


def test_rows_without_names_are_matched_by_their_place():
    adata, whole = cases.cells(), explanation(row_names=None)
    np.testing.assert_array_equal(whole.to_anndata(adata).layers["shap_reconstruction error"], whole.values)
    with pytest.raises(
        DataError, match="3 rows without names were explained, and the AnnData has 8 rows. Explain an AnnData"
    ):
        whole[:3].to_anndata(adata)


def test_repeated_names_of_rows_are_matched_by_their_place_or_refused():
    adata = cases.cells()
    adata.obs_names = ["twin", "twin", *ROWS[2:]]
    whole = explanation(row_names=["twin", "twin", *ROWS[2:]])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation names are not unique")
        np.testing.assert_array_equal(whole.to_anndata(adata).layers["shap_reconstruction error"], whole.values)
    with pytest.raises(DataError, match=r"the AnnData has row twin repeatedly\. Call adata\.obs_names_make_unique\(\)"):
        whole[[1, 0]].to_anndata(adata)
    assert list(whole[3:5].to_anndata(adata).obs_names) == ROWS[3:5]


def in_a_file():
    anndata = pytest.importorskip("anndata")
    with TemporaryDirectory() as folder:
        cases.cells().write_h5ad(Path(folder) / "cells.h5ad")
        return anndata.read_h5ad(Path(folder) / "cells.h5ad", backed="r")


OTHERS = {
    "other rows": (
        lambda: cases.cells()[:5],
        r"the AnnData has no rows cell 5, cell 6, cell 7\. Give the explained AnnData",
    ),
    "other columns": (
        lambda: cases.cells()[:, 2:],
        r"the AnnData has no columns CD79A, α-Globin\. Give the explained AnnData; .* adata\.raw\.to_adata\(\)",
    ),
    "one in a file": (in_a_file, "this AnnData is backed by a file, which is not written to. Read it without backed="),
    "a frame": (lambda: pd.DataFrame(), "to_anndata takes an AnnData or None, got DataFrame"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_anndata_is_refused(kind):
    make, message = OTHERS[kind]
    with pytest.raises(DataError, match=message):
        explanation().to_anndata(make())


@pytest.mark.parametrize("package", ["xarray", "anndata"])
def test_a_package_that_is_not_there_is_named_with_its_extra(package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(
        MissingPackage, match=rf"to_{package}\(\) needs the package {package}: pip install 'shapae\[{package}\]'"
    ):
        getattr(explanation(), f"to_{package}")()
    assert issubclass(MissingPackage, ImportError)
