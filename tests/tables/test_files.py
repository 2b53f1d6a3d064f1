"""Tables loaded from files, and files that can not be loaded."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from shapae import Explainer
from shapae.errors import DataError, MissingPackage
from shapae.tables import files
from tests import cases

FRAME = pd.DataFrame({"CD79A": [1.5, 2.0], "NKG7": [0.25, -1.0]})


@pytest.mark.parametrize("named", [True, False], ids=["with row names", "without row names"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_is_loaded_with_its_names(tmp_path, ending, named):
    path = tmp_path / f"genes{ending}"
    frame = FRAME.set_index(pd.Index(["AAAC-1", "AAAG-1"], name="cell")) if named else FRAME
    frame.to_csv(path, index=named) if ending == ".csv" else frame.to_parquet(path)
    pd.testing.assert_frame_equal(files.load_table(path), frame)


def test_an_unnamed_first_column_is_not_a_feature(tmp_path):
    FRAME.to_csv(tmp_path / "rows.csv")
    assert list(files.load_table(tmp_path / "rows.csv")) == ["CD79A", "NKG7"]


def test_an_array_is_loaded(tmp_path):
    np.save(tmp_path / "rows.npy", FRAME.to_numpy())
    np.testing.assert_array_equal(files.load_table(tmp_path / "rows.npy"), FRAME.to_numpy())


def test_an_array_of_pickles_is_an_error(tmp_path):
    np.save(tmp_path / "rows.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"can't read the table in .*rows\.npy: .*Python objects"):
        files.load_table(tmp_path / "rows.npy")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.xlsx", r"must end with \.csv, \.parquet, \.h5ad, \.npy, got '\.xlsx'"),
        ("rows", r"must end with .*, got 'no extension'"),
        ("gone.csv", r"can't read the table in .*gone\.csv: .*No such file"),
        ("empty.csv", r"can't read the table in .*empty\.csv: No columns"),
    ],
)
def test_the_error_for_an_unreadable_table_names_it(tmp_path, name, text):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=text):
        files.load_table(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_has_the_same_explanation_from_every_kind_of_file(dtype, tmp_path):
    anndata = pytest.importorskip("anndata")
    table = pd.DataFrame(cases.table(9).astype(dtype), [f"cell {row}" for row in range(9)], cases.FEATURES)
    table.to_csv(tmp_path / "x.csv")
    table.to_parquet(tmp_path / "x.parquet")
    anndata.AnnData(table).write_h5ad(tmp_path / "x.h5ad")
    np.save(tmp_path / "x.npy", table)
    model = cases.build(cases.Question, dtype=getattr(torch, np.dtype(dtype).name))
    want = Explainer(model, table)(table)
    for extension in ("csv", "parquet", "h5ad", "npy"):
        loaded = files.load_table(tmp_path / f"x.{extension}")
        got = Explainer(model, loaded)(loaded)
        np.testing.assert_array_equal(got.values, want.values, err_msg=extension)
        np.testing.assert_array_equal(got.data, table)
        assert got.feature_names == (cases.FEATURES if extension != "npy" else [f"feature {j}" for j in range(6)])
        assert extension == "npy" or list(got.row_names) == list(table.index)


def test_an_array_is_memory_mapped(tmp_path):
    np.save(tmp_path / "rows.npy", FRAME.to_numpy())
    assert isinstance(files.load_table(tmp_path / "rows.npy"), np.memmap)


def test_the_error_for_an_h5ad_without_anndata_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingPackage, match=r"reading a \.h5ad needs the package anndata: pip install 'shapae\[annd"):
        files.load_table(tmp_path / "cells.h5ad")


def test_a_text_file_with_the_extension_h5ad_is_an_error(tmp_path):
    pytest.importorskip("anndata")
    (tmp_path / "cells.h5ad").write_text("nothing")
    with pytest.raises(DataError, match=r"can't read the table in .*cells\.h5ad: "):
        files.load_table(tmp_path / "cells.h5ad")
