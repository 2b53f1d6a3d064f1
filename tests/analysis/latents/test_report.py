"""The report as a whole: inputs in every form, nothing changed, AnnData and its files."""

import copy
import json
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import shapae
from shapae import Autoencoder, LatentReport
from shapae.errors import DataError, ModelError
from tests import cases
from tests.analysis.latents import planted

# Names of users with a slash, when anndata writes them.
pytestmark = pytest.mark.filterwarnings("ignore:Forward slashes will be disallowed:FutureWarning")

anndata = pytest.importorskip("anndata")
ROWS = planted.rows(60)


def cells():
    obs = planted.causes(60).set_axis(ROWS.index).assign(kind=pd.Categorical(["a/b", "c d", "e"] * 20))
    obs["kind of $x$/y"] = obs["kind"].astype(str).where(np.arange(60) > 3)
    return anndata.AnnData(ROWS.to_numpy(), obs, pd.DataFrame({"place": range(planted.D)}, index=planted.FEATURES))


def parts(report):
    return {
        "latents": report.latents,
        "signed": report.signed.to_numpy(),
        "moves": report.moves,
        "kl": report.activity.kl,
        "r2": report.causes.table["r2"].to_numpy(),
        "groups": report.by_group.to_numpy(),
    }


def test_all_tables_give_the_same_report(tmp_path):
    adata, model = cells(), planted.vae()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    known = ["kind", "cause 1"]
    want = parts(shapae.latents(model, adata, covariates=known))
    for table, covariates in (
        (tmp_path / "cells.h5ad", known),
        (ROWS, adata.obs[known]),
        (ROWS.to_numpy(), adata.obs[known].reset_index(drop=True)),
        (torch.tensor(ROWS.to_numpy()), {name: adata.obs[name].to_numpy() for name in known}),
        (shapae.from_anndata(adata), adata.obs[known]),
    ):
        got = parts(shapae.latents(model, table, covariates=covariates))
        for name, array in want.items():
            np.testing.assert_allclose(got[name], array, atol=1e-12, err_msg=name)


def test_names_come_from_the_table_or_are_given():
    model = planted.vae()
    assert shapae.latents(model, ROWS).feature_names == planted.FEATURES
    assert shapae.latents(model, ROWS.to_numpy(), feature_names=planted.FEATURES).feature_names == planted.FEATURES
    assert shapae.latents(model, ROWS.to_numpy()).feature_names[1] == "feature 1"
    assert list(shapae.latents(model, ROWS).row_names[:2]) == ["row 0", "row 1"]
    assert shapae.latents(model, ROWS, background=ROWS.iloc[:9]).made_by["b"] == 9


def test_nothing_of_the_user_is_changed():
    model, adata = planted.vae().train(), cells()
    model.decoder.eval()
    before, world, table = cases.snapshot(model), cases.world(), adata.copy()
    report = shapae.latents(model, adata, covariates=["kind", "cause 1"], seed=3)
    report.sweep(1, row="row 3")
    report.enrichment({"a": ["g1", "g2"]}, permutations=20)
    report.to_anndata(adata)
    repr(report), report.table, report.top(), report.by_group
    with pytest.raises(DataError):
        shapae.latents(model, adata, covariates={"a": [1]})
    assert cases.snapshot(model) == before
    assert cases.world() == world
    pd.testing.assert_frame_equal(adata.obs, table.obs)
    np.testing.assert_array_equal(adata.X, table.X)
    assert (list(adata.varm), list(adata.obsm), list(adata.uns)) == ([], [], [])


def test_a_seed_gives_the_same_report_again_and_workers_do_not_matter():
    model, known = planted.vae(), planted.causes(60)
    settings = {"covariates": {"x": known["cause 1"].array, "kind": list("ab") * 30}}
    with joblib.parallel_config("threading"):
        first, second, third = (parts(shapae.latents(model, ROWS, **settings, n_jobs=jobs)) for jobs in (None, None, 2))
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)
        np.testing.assert_allclose(third[name], array, atol=1e-12)


@pytest.mark.parametrize("backend", ["exact", "sampling", "gradient"])
def test_other_backends_agree_on_a_linear_encoder(backend):
    model, rows = cases.build(cases.Linear), cases.table(15)
    want = shapae.latents(model, rows)
    got = shapae.latents(model, rows, backend=backend)
    np.testing.assert_allclose(got.signed, want.signed, atol=1e-6)


class One(nn.Module):
    """A single latent unit."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(cases.D, 1), nn.Linear(1, cases.D)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


def test_a_model_of_one_unit_has_a_report_of_one_line():
    report = shapae.latents(cases.build(One), cases.table(20), covariates={"g": ["a", "b"] * 10})
    assert report.latents.shape == (20, 1)
    assert list(report.table.index) == ["latent 0"]
    assert report.signed.shape == (cases.D, 1)
    assert len(report.by_group) == 2


def test_one_row_is_no_population(model):
    with pytest.raises(DataError, match="takes 2 rows or more, got 1"):
        shapae.latents(model, cases.table(1))
    assert shapae.latents(model, cases.table(2)).latents.shape == (2, 3)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, None, True])
def test_a_wrong_seed_is_refused_before_the_work(seed, model):
    with pytest.raises(DataError, match="seed must be an integer from 0"):
        shapae.latents(model, cases.table(5), seed=seed)
    with pytest.raises(DataError, match="seed must be an integer from 0"):
        shapae.latents(model, cases.table(5)).enrichment({"a": ["feature 1"]}, seed=seed)


def test_a_distribution_of_other_units_is_refused():
    model = planted.vae()
    wrong = Autoencoder(model, latent_distribution=lambda m, x: tuple(each[:, :2] for each in m.encoder(x)))
    with pytest.raises(ModelError, match="has 2 units, but the latents have 7"):
        shapae.latents(wrong, ROWS)


def test_a_report_says_what_was_found():
    text = repr(shapae.latents(planted.vae(), ROWS))
    assert text.startswith(
        "LatentReport on 7 units of 11 features, over 60 rows\n  head 'latent', backend 'deep', 60 background rows\n"
    )
    assert "  active: 3 of 7 (variance of the mean" in text
    assert "latent 1: up by g2, g0; down by g1" in text
    assert len(text.splitlines()) in (7, 8)


def test_a_report_can_be_copied_and_pickled():
    report = shapae.latents(planted.vae(), ROWS)
    for twin in (copy.deepcopy(report), pickle.loads(pickle.dumps(report))):
        assert isinstance(twin, LatentReport)
        np.testing.assert_array_equal(twin.sweep(1).changes, report.sweep(1).changes)


def test_a_report_goes_to_anndata_and_comes_back_from_its_file(tmp_path):
    adata = cells()
    report = shapae.latents(planted.vae(), adata, covariates=["kind", "cause 1", "kind of $x$/y"])
    shuffled = adata[::-1, ::-1].copy()
    for given in (adata, shuffled):
        report.to_anndata(given).write_h5ad(tmp_path / "out.h5ad")
        got = anndata.read_h5ad(tmp_path / "out.h5ad")
        assert list(got.var_names) == planted.FEATURES
        assert list(got.obs_names) == list(ROWS.index)
        np.testing.assert_array_equal(got.X, ROWS)
        np.testing.assert_array_equal(got.obsm["X_latent"], report.latents)
        np.testing.assert_array_equal(got.varm["latent_drives"], report.signed)
        np.testing.assert_array_equal(got.varm["latent_moves"], report.moves)
        found = got.uns["latents"]
        keys = [
            *got.obsm,
            *got.varm,
            *got.uns,
            *found,
            *(column for part in ("units", "causes", "groups") for column in found[part]),
        ]
        assert not any(" " in key or "/" in key for key in keys)
        assert list(found["names"]) == list(report.unit_names)
        assert list(found["units"]["unit"]) == list(report.table.index)
        np.testing.assert_array_equal(found["units"]["active"], report.table["active"])
        np.testing.assert_allclose(found["units"]["share"], report.table["share"])
        np.testing.assert_allclose(found["causes"]["r2"], report.causes.table["r2"])
        assert {*found["units"]["cause"][~found["units"]["active"]]} == {""}
        assert {*found["groups"]["group"]} == {"a/b", "c d", "e"}
        assert json.loads(found["made_by"])["rows"] == 60


def test_an_anndata_that_lacks_rows_is_refused():
    report = shapae.latents(planted.vae(), cells())
    with pytest.raises(DataError, match="has no row row 0"):
        report.to_anndata(cells()[1:])
    with pytest.raises(DataError, match="takes an AnnData"):
        report.to_anndata(ROWS)
    alone = shapae.latents(planted.vae(), cells()).to_anndata(cells())
    assert "causes" not in alone.uns["latents"]


@pytest.mark.parametrize("most", [0, -1, 2.5, "3", True])
def test_numbers_of_features_are_whole_numbers(most):
    report = shapae.latents(planted.vae(), ROWS)
    for select in (report.top, lambda count: report.drivers(0, count), report.sweep(0).top):
        with pytest.raises(DataError, match=f"must be an integer, at least 1, got {most!r}"):
            select(most)
