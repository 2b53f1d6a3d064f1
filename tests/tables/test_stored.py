"""Tables that stay in their files: the same numbers and names as in memory, in bounded memory."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from shapae import Explainer
from shapae.tables import background, parquet, stored
from shapae.tables.table import TableStream, read_table
from tests import cases

N = 103
NAMES = list("abcdef")
NUMBERS = np.round(cases.table(N) * 100)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Every table counts as large, and is read in many small pieces."""
    monkeypatch.setattr(stored, "LARGE", 0)
    monkeypatch.setattr(stored, "SLAB", 8 * 6 * 7)
    monkeypatch.setattr(parquet, "BATCH_BYTES", 8 * 6 * 5)


def frame(dtype="float64", index=None):
    table = pd.DataFrame(NUMBERS, index, NAMES)
    return table > 0 if dtype in ("bool", "boolean") else table.abs().astype(dtype)


def in_parquet(table, path, rows=17):
    table.to_parquet(path, row_group_size=rows)


def in_zarr(table, path, **settings):
    zarr = pytest.importorskip("zarr")
    zarr.save_array(str(path), table.to_numpy()) if not settings else zarr.create_array(
        str(path), data=table.to_numpy(), **settings
    )


def in_h5ad(table, path, form=np.asarray):
    anndata = pytest.importorskip("anndata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = anndata.AnnData(form(table.to_numpy()), pd.DataFrame(index=table.index.astype(str)))
        adata.var_names = NAMES
        adata.write_zarr(path) if path.suffix == ".zarr" else adata.write_h5ad(path)


WRITERS = {
    "x.parquet": in_parquet,
    "x.zarr": in_zarr,
    "wide.zarr": lambda table, path: in_zarr(table, path, chunks=(50, 2)),
    "flat.zarr": lambda table, path: in_zarr(table, path, chunks=(1, 6)),
    "cells.zarr": in_h5ad,
    "sparse cells.zarr": lambda table, path: in_h5ad(table, path, sparse.csr_matrix),
    "x.h5ad": in_h5ad,
    "sparse.h5ad": lambda table, path: in_h5ad(table, path, sparse.csr_matrix),
}


@pytest.fixture(params=WRITERS)
def path(request, tmp_path):
    WRITERS[request.param](frame(index=[f"cell {row}" for row in range(N)]), tmp_path / request.param)
    return tmp_path / request.param


def test_a_large_table_stays_in_its_file_and_has_the_same_rows(path):
    rows, want = read_table(path, "rows"), np.abs(NUMBERS)
    assert isinstance(rows.values, stored.StoredRows)
    assert rows.names == (None if path.name in ("x.zarr", "wide.zarr", "flat.zarr") else NAMES)
    assert rows.names is None or list(rows.row_names) == [f"cell {row}" for row in range(N)]
    for start, stop in [(0, N), (5, 6), (90, 103), (0, 1), (16, 18), (17, 34), (50, 50), (102, 103), (3, 100)]:
        np.testing.assert_array_equal(rows.dense(slice(start, stop)), want[start:stop])
    np.testing.assert_array_equal(rows.trial_rows(), want[np.linspace(0, N - 1, 8).astype(int)])


def test_rows_are_chosen_from_a_large_table(path, monkeypatch):
    rows = read_table(path, "rows")
    chosen = np.array([0, 3, 4, 49, 50, 51, 77, 102])
    some = rows.of(chosen)
    assert isinstance(some.values, stored.SelectedRows)
    monkeypatch.setattr(stored, "LARGE", 2**26)
    held = rows.of(chosen)
    assert type(held.values) is np.ndarray
    for each in (some, held, some.of(np.arange(8))):
        np.testing.assert_array_equal(each.dense(slice(None)), np.abs(NUMBERS)[chosen])
    assert rows.names is None or list(held.row_names) == [f"cell {row}" for row in chosen]


def test_a_large_table_has_the_values_of_the_same_table_in_memory(path, model):
    table = frame()
    want = Explainer(model, background.sample(table, 9))(table)
    got = Explainer(model, background.sample(path, 9))(path)
    np.testing.assert_array_equal(got.values, want.values)
    np.testing.assert_array_equal(got.data, table)


def test_a_stream_of_a_large_table_has_all_blocks(path, monkeypatch):
    monkeypatch.setattr("shapae.tables.table.BLOCK_BYTES", 8 * 6 * 11)
    stream = TableStream(read_table(path, "rows"), torch.empty(0, dtype=torch.float32), "rows")
    parts = [stream[block] for block in stream.rows.blocks()]
    assert len(parts) == 10
    np.testing.assert_array_equal(torch.cat(parts), np.abs(NUMBERS).astype(np.float32))
