"""Tables that stay in their files: the same numbers and names as in memory, in bounded memory."""

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from shapae import Explainer
from shapae.errors import DataError
from shapae.tables import background, files, parquet, stored
from shapae.tables.labels import read_groups
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


DTYPES = ["float32", "float16", "int8", "int32", "int64", "uint16", "bool", "Int64", "Float32", "boolean"]
DTYPES += ["double[pyarrow]", "int64[pyarrow]"]
MIXTURES = {
    **{dtype: lambda dtype=dtype: frame(dtype) for dtype in DTYPES},
    "integers and floats": lambda: frame().astype({"a": "int64", "b": "float32"}),
    "small integers and truth values": lambda: (
        frame().astype({name: "int8" for name in NAMES}).assign(c=NUMBERS[:, 0] > 0)
    ),
    "decimals": lambda: frame().map(lambda number: Decimal(int(number))),
    "one decimal column": lambda: frame().assign(d=[Decimal(int(number)) for number in NUMBERS[:, 0]]),
    "signed and unsigned": lambda: frame("int32").assign(b=np.arange(N, dtype=np.uint64)),
}


@pytest.mark.parametrize("kind", MIXTURES)
def test_a_large_parquet_has_the_numbers_and_the_dtype_that_pandas_reads(kind, tmp_path):
    in_parquet(MIXTURES[kind](), tmp_path / "x.parquet")
    rows, want = read_table(tmp_path / "x.parquet", "rows"), read_table(pd.read_parquet(tmp_path / "x.parquet"), "rows")
    assert rows.values.dtype == want.values.dtype
    np.testing.assert_array_equal(rows.dense(slice(3, 90)), want.dense(slice(3, 90)))


INDICES = {
    "text": pd.Index([f"cell {row}" for row in range(N)]),
    "named like a column": pd.Index(np.arange(N)[::-1], name="a.b"),
    "times": pd.date_range("2024-05-01", periods=N, name="time"),
    "two levels": pd.MultiIndex.from_arrays([np.arange(N) % 3, np.arange(N)], names=["plate", "well"]),
    "positions": pd.RangeIndex(N),
    "a range": pd.RangeIndex(7, 7 + 2 * N, 2),
}


@pytest.mark.parametrize("kind", INDICES)
def test_a_large_parquet_has_the_row_names_of_pandas(kind, tmp_path):
    in_parquet(frame(index=INDICES[kind]), tmp_path / "x.parquet")
    rows, want = read_table(tmp_path / "x.parquet", "rows"), read_table(pd.read_parquet(tmp_path / "x.parquet"), "rows")
    assert rows.names == NAMES
    np.testing.assert_array_equal(rows.row_names, want.row_names)
    np.testing.assert_array_equal(rows.dense(slice(None)), np.abs(NUMBERS))


@pytest.mark.parametrize("large", [True, False])
def test_a_column_names_the_rows_of_a_parquet(large, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGE", 0 if large else 2**26)
    names = [f"cell {row}" for row in range(N)]
    in_parquet(frame().assign(cell=names), tmp_path / "x.parquet")
    rows = read_table(files.open_table(tmp_path / "x.parquet", row_names="cell"), "rows")
    assert (rows.names, [*rows.row_names]) == (NAMES, names)
    np.testing.assert_array_equal(rows.dense(slice(60, 70)), np.abs(NUMBERS)[60:70])


def test_labels_of_a_large_parquet_must_have_its_row_names(tmp_path):
    in_parquet(frame(index=[f"cell {row}" for row in range(N)]), tmp_path / "x.parquet")
    labels = pd.Series(np.arange(N) % 2, [f"cell {row}" for row in range(N)])
    _, groups = read_groups(tmp_path / "x.parquet", labels)
    np.testing.assert_array_equal(groups.numbers, labels)
    with pytest.raises(DataError, match="different row names"):
        read_groups(tmp_path / "x.parquet", labels[::-1])


def test_one_row_group_of_any_size_is_decoded_once_in_order(tmp_path, monkeypatch):
    in_parquet(frame(), tmp_path / "x.parquet", rows=N)
    rows = read_table(tmp_path / "x.parquet", "rows")
    decoded, decode = [], rows.values._to_array
    monkeypatch.setattr(rows.values, "_to_array", lambda batch: decoded.append(batch.num_rows) or decode(batch))
    for start in range(0, N, 3):
        rows.dense(slice(start, min(start + 3, N)))
    assert sum(decoded) == N
    assert max(decoded) == 5
    decoded.clear()
    rows.of(np.array([0, 50, 100]))
    assert sum(decoded) <= N + 5


def test_threads_read_their_own_rows(path):
    rows, want = read_table(path, "rows"), np.abs(NUMBERS)
    with ThreadPoolExecutor(4) as pool:
        starts = [start * 37 % 100 for start in range(60)]
        blocks = pool.map(lambda start: rows.dense(slice(start, start + 3)), starts)
        for start, block in zip(starts, blocks, strict=True):
            np.testing.assert_array_equal(block, want[start : start + 3])


PEAK = """
import sys
import torch
from shapae.tables import stored
from shapae.tables.table import TableStream, read_table

def total(path):
    rows = TableStream(read_table(path, "rows"), torch.empty(0, dtype=torch.float64), "rows")
    assert isinstance(rows.rows.values, stored.StoredRows)
    return sum(float(rows[block].sum()) for block in rows.rows.blocks())

def kilobytes(what):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what))

stored.LARGE = 0
total(sys.argv[1])
before = kilobytes("VmRSS")
print(total(sys.argv[2]), kilobytes("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
@pytest.mark.parametrize("ending", ["parquet", "zarr", "h5ad"])
def test_a_file_of_200_megabytes_is_summed_in_bounded_memory(ending, tmp_path):
    n, d = 100_000, 250
    row = np.random.default_rng(0).normal(size=d)
    for name, rows in {"small": 2000, "large": n}.items():
        _write_rows(tmp_path / f"{name}.{ending}", row, rows)
    run = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        PEAK,
        *(str(tmp_path / f"{name}.{ending}") for name in ("small", "large")),
    ]
    total, peak = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    np.testing.assert_allclose(float(total), n * row.sum(), rtol=1e-9)
    assert int(peak) < 60_000


def _write_rows(path, row, n):
    """Write a table whose rows are all equal, piece by piece."""
    piece = np.tile(row, (2000, 1))
    if path.suffix == ".parquet":
        from pyarrow import float64, parquet, schema, table

        fields = schema([(f"gene {place}", float64()) for place in range(len(row))])
        with parquet.ParquetWriter(path, fields, use_dictionary=False, compression="none") as writer:
            for _ in range(n // len(piece)):
                writer.write_table(table([*piece.T.copy()], schema=fields))
    elif path.suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(str(path), shape=(n, len(row)), chunks=piece.shape, dtype="f8", compressors=None)
        for start in range(0, n, len(piece)):
            array[start : start + len(piece)] = piece
    else:
        pytest.importorskip("anndata").AnnData(np.broadcast_to(row, (n, len(row)))).write_h5ad(path)
