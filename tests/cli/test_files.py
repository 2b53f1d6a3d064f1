import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shapae import Explainer
from shapae.cli import files
from shapae.errors import DataError, MissingPackage, ModelError
from tests import cases


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module `genes_model` with a factory, importable from the working folder."""
    (tmp_path / "genes_model.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))\n"
        "def number():\n"
        "    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("genes_model", None)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))


@pytest.mark.parametrize("ending", ["safetensors", "pt", "ckpt"])
def test_a_model_gets_its_weights(package, ending):
    saved, path = net(), package / f"weights.{ending}"
    if ending == "safetensors":
        save_file(saved.state_dict(), path)
    else:
        torch.save(saved.state_dict() if ending == "pt" else {"state_dict": saved.state_dict(), "epoch": 3}, path)
    model = files.load_model("genes_model:build", path)
    rows = torch.randn(4, 3)
    torch.testing.assert_close(model(rows), saved(rows), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        (
            "nowhere:build",
            r"can't find 'nowhere:build': No module named 'nowhere'\. Give it as package\.module:factory",
        ),
        ("genes_model:nothing", r"can't find 'genes_model:nothing': module 'genes_model' has no attribute 'nothing'"),
        ("genes_model", r"can't find 'genes_model'"),
        ("", r"can't find ''"),
        ("genes_model:number", r"genes_model:number must return a torch\.nn\.Module, got int"),
    ],
)
def test_a_factory_that_is_not_there_is_named(package, factory, text):
    with pytest.raises(ModelError, match=text):
        files.load_model(factory, package / "weights.pt")


def test_a_whole_pickled_model_is_refused_and_what_it_wanted_is_named(package):
    torch.save(net(), package / "whole.pt")
    with pytest.raises(ModelError, match=r"torch\.nn\.modules\.\S+.*torch\.save\(model\.state_dict\(\)") as caught:
        files.load_model("genes_model:build", package / "whole.pt")
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused(package):
    torch.save(nn.Linear(3, 3).state_dict(), package / "other.pt")
    with pytest.raises(ModelError, match=r"lack \['0\.weight'.*and have \['weight', 'bias'\] too many"):
        files.load_model("genes_model:build", package / "other.pt")
    torch.save(nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3)).state_dict(), package / "wide.pt")
    with pytest.raises(ModelError, match=r"do not fit the model of genes_model:build: .*size mismatch for 0\.weight"):
        files.load_model("genes_model:build", package / "wide.pt")


@pytest.mark.parametrize("name", ["missing.pt", "missing.safetensors", "garbage.safetensors", "garbage.pt", "list.pt"])
def test_weights_that_can_not_be_read_are_refused(package, name):
    (package / f"garbage.{name.split('.')[1]}").write_bytes(b"no weights at all")
    torch.save([torch.zeros(3)], package / "list.pt")
    with pytest.raises(ModelError, match=name):
        files.load_model("genes_model:build", package / name)


FRAME = pd.DataFrame({"CD79A": [1.5, 2.0], "NKG7": [0.25, -1.0]})


@pytest.mark.parametrize("named", [True, False], ids=["rows have names", "rows have none"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_comes_back_with_its_names(tmp_path, ending, named):
    path = tmp_path / f"genes{ending}"
    frame = FRAME.set_index(pd.Index(["AAAC-1", "AAAG-1"], name="cell")) if named else FRAME
    frame.to_csv(path, index=named) if ending == ".csv" else frame.to_parquet(path)
    pd.testing.assert_frame_equal(files.load_table(path), frame)


def test_numbers_of_rows_are_no_feature(tmp_path):
    FRAME.to_csv(tmp_path / "rows.csv")
    assert list(files.load_table(tmp_path / "rows.csv")) == ["CD79A", "NKG7"]


def test_an_array_comes_back(tmp_path):
    np.save(tmp_path / "rows.npy", FRAME.to_numpy())
    np.testing.assert_array_equal(files.load_table(tmp_path / "rows.npy"), FRAME.to_numpy())


def test_an_array_of_pickles_is_refused(tmp_path):
    np.save(tmp_path / "rows.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"can't read the table in .*rows\.npy: .*Python objects"):
        files.load_table(tmp_path / "rows.npy")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.xlsx", r"must end with \.csv, \.parquet, \.h5ad, \.npy, got '\.xlsx'"),
        ("rows", r"must end with .*, got 'no ending'"),
        ("gone.csv", r"can't read the table in .*gone\.csv: .*No such file"),
        ("empty.csv", r"can't read the table in .*empty\.csv: No columns"),
    ],
)
def test_a_table_that_can_not_be_read_is_named(tmp_path, name, text):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=text):
        files.load_table(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_has_the_same_values_from_every_kind_of_file(dtype, tmp_path):
    anndata = pytest.importorskip("anndata")
    table = pd.DataFrame(cases.table(9).astype(dtype), [f"cell {row}" for row in range(9)], cases.FEATURES)
    table.to_csv(tmp_path / "x.csv")
    table.to_parquet(tmp_path / "x.parquet")
    anndata.AnnData(table).write_h5ad(tmp_path / "x.h5ad")
    np.save(tmp_path / "x.npy", table)
    model = cases.build(cases.Question, dtype=getattr(torch, np.dtype(dtype).name))
    want = Explainer(model, table)(table)
    for ending in ("csv", "parquet", "h5ad", "npy"):
        read = files.load_table(tmp_path / f"x.{ending}")
        got = Explainer(model, read)(read)
        np.testing.assert_array_equal(got.values, want.values, err_msg=ending)
        np.testing.assert_array_equal(got.data, table)
        assert got.feature_names == (cases.FEATURES if ending != "npy" else [f"feature {at}" for at in range(6)])
        assert ending == "npy" or list(got.row_names) == list(table.index)


def test_an_array_stays_in_its_file(tmp_path):
    np.save(tmp_path / "rows.npy", FRAME.to_numpy())
    assert isinstance(files.load_table(tmp_path / "rows.npy"), np.memmap)


def test_an_h5ad_without_anndata_is_refused_and_the_extra_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingPackage, match=r"reading a \.h5ad needs the package anndata: pip install 'shapae\[annd"):
        files.load_table(tmp_path / "cells.h5ad")


def test_an_h5ad_that_is_none_is_refused(tmp_path):
    pytest.importorskip("anndata")
    (tmp_path / "cells.h5ad").write_text("nothing")
    with pytest.raises(DataError, match=r"can't read the table in .*cells\.h5ad: "):
        files.load_table(tmp_path / "cells.h5ad")
