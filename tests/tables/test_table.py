"""Tables of any kind, and the errors for tables that can't be explained."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from shapae import Explainer
from shapae.errors import DataError, TooLarge
from shapae.tables.table import TableStream, read_table, resolve_feature_names
from tests import cases

NAMES = list("abcdef")
GOOD = np.round(cases.table(4) * 3)


SPARSE = {
    f"{kind} {form}": lambda kind=kind, form=form: getattr(sparse, f"{form}_{kind}")(GOOD)
    for kind in ("matrix", "array")
    for form in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
}


def mapped(folder):
    np.save(folder / "rows.npy", GOOD)
    return np.load(folder / "rows.npy", mmap_mode="r")


def in_a_file(folder):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "rows.h5", "w")
    return file.create_dataset("X", data=GOOD, chunks=(2, 3))


def polars_frame():
    return pytest.importorskip("polars").DataFrame(GOOD, schema=NAMES)


ARRAYS = {
    "float64": lambda: GOOD,
    "Fortran order": lambda: np.asfortranarray(GOOD),
    "every other column": lambda: np.repeat(GOOD, 2, axis=1)[:, ::2],
    "reversed rows": lambda: GOOD[::-1].copy()[::-1],
    "reversed columns": lambda: GOOD[:, ::-1].copy()[:, ::-1],
    "float16": lambda: GOOD.astype(np.float16),
    "long double": lambda: GOOD.astype(np.longdouble),
    "big endian": lambda: GOOD.astype(">f8"),
    "int8": lambda: GOOD.astype(np.int8),
    "lists": GOOD.tolist,
    "tensor": lambda: torch.tensor(GOOD),
    "tensor that requires a gradient": lambda: torch.tensor(GOOD, requires_grad=True),
    "tensor in the graph": lambda: torch.tensor(GOOD, requires_grad=True) * 1,
    "transposed tensor": lambda: torch.tensor(GOOD.T.copy()).T,
    "bfloat16": lambda: torch.tensor(GOOD).bfloat16(),
    "sparse tensor": lambda: torch.tensor(GOOD).to_sparse(),
    "data set": lambda: TensorDataset(torch.tensor(GOOD), torch.arange(4)),
    "loader": lambda: DataLoader(torch.tensor(GOOD), batch_size=3),
    **SPARSE,
}
FILES = {"memory-mapped": mapped, "HDF5": in_a_file}
FRAMES = {
    "pandas": lambda: pd.DataFrame(GOOD, columns=NAMES),
    "pandas with its own index": lambda: pd.DataFrame(GOOD, columns=NAMES, index=list("wxyz")),
    "pandas with integers": lambda: pd.DataFrame(GOOD, columns=NAMES).astype({"a": int, "b": "Int64", "c": "float32"}),
    "polars": polars_frame,
}


def read_only(table):
    """Make an array read-only."""
    if isinstance(table, np.ndarray):
        table.flags.writeable = False
    return table


@pytest.mark.parametrize("kind", [*ARRAYS, *FRAMES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_kind_of_table_gives_the_same_tensor(kind, dtype):
    rows = read_table(read_only((ARRAYS | FRAMES)[kind]()), "rows")
    tensor = rows.tensor(torch.empty(0, dtype=dtype), "rows")
    assert tensor.dtype == dtype
    assert not tensor.requires_grad
    np.testing.assert_array_equal(tensor.numpy(), GOOD)
    assert rows.names == (NAMES if kind in FRAMES else None)


@pytest.mark.parametrize("kind", FILES)
def test_a_table_in_a_file_stays_there_and_gives_the_same_tensor(kind, tmp_path):
    table = FILES[kind](tmp_path)
    rows = read_table(table, "rows")
    assert not isinstance(rows.values, np.ndarray) or np.shares_memory(rows.values, table)
    np.testing.assert_array_equal(rows.tensor(torch.empty(0, dtype=torch.float64), "rows"), GOOD)
    np.testing.assert_array_equal(rows.of(np.array([1, 3])).values, GOOD[[1, 3]])


DTYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 longdouble >f4 >i2".split()


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_dtype_of_numbers_is_read(dtype):
    table = np.abs(GOOD).astype(dtype)
    tensor = read_table(table, "rows").tensor(torch.empty(0, dtype=torch.float64), "rows")
    np.testing.assert_array_equal(tensor, table.astype(np.float64))


@pytest.mark.parametrize("kind", ["csr matrix", "csr array"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32"])
def test_a_sparse_table_of_any_dtype_is_read(kind, dtype):
    table = np.abs(GOOD).astype(dtype)
    rows = read_table(sparse.csr_matrix(table) if kind == "csr matrix" else sparse.csr_array(table), "rows")
    np.testing.assert_array_equal(rows.tensor(torch.empty(0, dtype=torch.float64), "rows"), table.astype(float))


def test_duplicate_entries_of_a_sparse_table_are_added_up():
    table = sparse.coo_array(([1.0, 2.0, 5.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    np.testing.assert_array_equal(read_table(table, "rows").dense(slice(None)), [[0, 3], [5, 0]])


class Narrow(nn.Module):
    """Many features, two latents."""

    def __init__(self, d):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(d, 2), nn.Linear(2, d)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


class Recording(sparse.csr_array):
    """A sparse array that records how many of its rows are sliced at once."""

    largest = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        Recording.largest = max(Recording.largest, part.shape[0])
        return part


def test_a_sparse_table_is_made_dense_a_block_at_a_time():
    table, model = sparse.random(300, 40, density=0.3, random_state=0), cases.build(cases.Linear, 40)
    background = cases.table(7, 40)
    want = Explainer(model, background).summarize(table.toarray()).mean
    Recording.largest = 0
    got = Explainer(model, background, memory=60_000).summarize(Recording(table)).mean
    assert 0 < Recording.largest * 40 * 8 < 60_000 < table.toarray().nbytes
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)


def test_a_sparse_background_that_does_not_fit_is_refused_with_its_size():
    table = sparse.random(5000, 400, density=0.001, random_state=0)
    model = cases.build(Narrow, 400)
    with pytest.raises(
        TooLarge, match=r"5000 rows takes 16 MB, but .*'8 MB'.*background\.sample\(X, 100\), or allow .*'64 MB'"
    ):
        Explainer(model, table, memory="8MB")


def test_blocks_are_copies_in_the_dtype_of_the_model():
    streamed = TableStream(read_table(GOOD, "rows"), torch.empty(0, dtype=torch.float64), "rows")
    streamed[:2].zero_()
    np.testing.assert_array_equal(streamed[1:3], GOOD[1:3])
    assert (len(streamed), streamed.shape) == (4, (4, 6))


INDEXES = {
    "none": (None, None),
    "numbers of rows": (pd.RangeIndex(4), None),
    "other numbers": (pd.Index([3, 1, 4, 15]), [3, 1, 4, 15]),
    "a part of a range": (pd.RangeIndex(10, 14), [10, 11, 12, 13]),
    "names": (pd.Index(list("wxyz")), list("wxyz")),
    "repeated names": (pd.Index(list("wwyz")), list("wwyz")),
    "times": (pd.date_range("2024-01-01", periods=4), [*pd.date_range("2024-01-01", periods=4)]),
    "two levels": (pd.MultiIndex.from_product([["a", "b"], [1, 2]]), ["a, 1", "a, 2", "b, 1", "b, 2"]),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_the_names_of_rows_are_kept_if_they_are_more_than_their_numbers(kind):
    index, want = INDEXES[kind]
    rows = read_table(pd.DataFrame(GOOD, index, NAMES), "rows")
    assert (None if rows.row_names is None else pd.Index(rows.row_names).tolist()) == want


@pytest.mark.parametrize("kind", ["bool", "float and bool", "nullable bool", "polars"])
def test_truth_values_are_numbers(kind):
    frame = pd.DataFrame(GOOD, columns=NAMES)
    if kind == "polars":
        frame = polars_frame().with_columns(pytest.importorskip("polars").Series("a", [True, False, True, False]))
        want = np.hstack([[[1], [0], [1], [0]], GOOD[:, 1:]])
    elif kind == "float and bool":
        frame, want = frame.assign(a=GOOD[:, 0] > 0), np.hstack([GOOD[:, :1] > 0, GOOD[:, 1:]])
    else:
        frame, want = (frame > 0).astype({"bool": bool, "nullable bool": "boolean"}[kind]), GOOD > 0
    np.testing.assert_array_equal(read_table(frame, "rows").tensor(torch.empty(0), "rows").numpy(), want)


def test_the_tensor_is_a_copy():
    for table in (GOOD.copy(), torch.tensor(GOOD)):
        read_table(table, "rows").tensor(torch.empty(0, dtype=torch.float64), "rows").zero_()
        np.testing.assert_array_equal(np.asarray(table), GOOD)


def with_bad(*places):
    table = GOOD.copy()
    for (row, column), value in zip(places, [np.nan, np.inf, -np.inf], strict=False):
        table[row, column] = value
    return table


def named(table):
    return pd.DataFrame(table, columns=NAMES)


BAD = {
    "1-D": (
        GOOD[0],
        r"got shape \(6,\)\. A single row is X\[None\] of an array, X\.iloc\[\[0\]\] of a DataFrame",
    ),
    "3-D": (GOOD[None], r"must be a table \(n, d\) .*got shape \(1, 4, 6\)"),
    "no rows": (GOOD[:0], r"n and d at least 1, got shape \(0, 6\)"),
    "no columns": (GOOD[:, :0], r"n and d at least 1, got shape \(4, 0\)"),
    "empty frame": (pd.DataFrame(), r"n and d at least 1, got shape \(0, 0\)"),
    "series": (named(GOOD).iloc[0], r"must have two axes, got shape \(6,\)"),
    "nothing": (None, r"must be a table \(n, d\) .*got NoneType"),
    "ragged": ([[1.0, 2.0], [3.0]], r"must be a table \(n, d\), got list: .*inhomogeneous"),
    "sparse NaN": (sparse.csr_array(with_bad((1, 2), (3, 0))), "but 2 of 24 numbers .* in rows 1, 3 and columns 0, 2"),
    "sparse, empty": (sparse.csr_array((0, 6)), r"n and d at least 1, got shape \(0, 6\)"),
    "sparse, 1-D": (sparse.coo_array(GOOD[0]), r"must have two axes, got shape \(6,\)"),
    "sparse, complex": (sparse.csr_array(GOOD + 1j), "must be a table of real numbers, got dtype complex128"),
    "text": (GOOD.astype(str), r"must be a table of real numbers, got dtype <U32"),
    "complex": (GOOD + 1j, "must be a table of real numbers, got dtype complex128"),
    "text columns": (named(GOOD).assign(b="x", d="y"), r"must be numbers\. Drop or convert columns b, d"),
    "dates": (named(GOOD).assign(b=pd.Timestamp("2020-01-01")), r"must be numbers\. Drop or convert column b"),
    "two NaN": (with_bad((1, 2), (3, 0)), "but 2 of 24 numbers are NaN or infinite, in rows 1, 3 and columns 0, 2"),
    "NaN in a frame": (named(with_bad((1, 2), (1, 0), (3, 2))), "3 of 24 numbers .* in rows 1, 3 and columns a, c"),
    "missing": (named(GOOD).astype("Int64").where(GOOD != GOOD[2, 1]), "NaN or infinite.* column"),
    "masked": (np.ma.masked_array(GOOD, mask=np.tile(np.arange(6) == 2, (4, 1))), "NaN or infinite.* column 2"),
    "many NaN": (
        np.full((20, 9), np.nan),
        "180 of 180 numbers .* rows 0, 1, 2, 3, 4, 5, 6, 7 and 12 more and columns 0,",
    ),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("what", ["rows", "background"])
def test_other_tables_are_refused_by_their_name(kind, what):
    table, message = BAD[kind]
    with pytest.raises(DataError, match=f"^the {what} .*{message}"):
        read_table(table, what)


def test_repeated_columns_are_named():
    with pytest.raises(
        DataError, match=r"names of the rows must be unique, but columns a, b came repeatedly\. Rename .*duplicated"
    ):
        read_table(pd.DataFrame(GOOD, columns=list("aabbcd")), "rows")


def test_numbers_too_large_for_the_model_are_refused():
    rows = read_table(GOOD * 1e300, "rows")
    assert rows.tensor(torch.empty(0, dtype=torch.float64), "rows").isfinite().all()
    with pytest.raises(
        DataError, match=r"some numbers of the rows are too large for the model's torch\.float32\. Scale the columns"
    ):
        rows.tensor(torch.empty(0), "rows")


DIFFERENT = {
    "permuted": (
        list("bacdef"),
        r"in another order than expected \(columns b, a moved\)\. Select them as X\[explainer.*AnnData",
    ),
    "missing": (list("abcde"), r"are without column f\. All of them are needed, in their order\."),
    "extra": (list("abcdefg"), r"are with unexpected column g\. Select them as X\[explainer\.feature_names\]"),
    "renamed": (list("abcdXY"), "without columns e, f and with unexpected columns X, Y[.]"),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_other_columns_are_refused_and_named(kind):
    got, message = DIFFERENT[kind]
    rows = read_table(pd.DataFrame(cases.table(2, len(got)), columns=got), "rows")
    with pytest.raises(DataError, match=message):
        resolve_feature_names(rows, NAMES, "rows")


def test_an_array_gets_the_known_names_if_it_has_as_many_columns():
    assert resolve_feature_names(read_table(GOOD, "rows"), tuple(NAMES), "rows") == NAMES
    assert resolve_feature_names(read_table(GOOD, "rows"), None, "rows") is None
    assert resolve_feature_names(read_table(named(GOOD), "rows"), None, "rows") == NAMES
    with pytest.raises(DataError, match="got 6 columns in the rows, expected 3"):
        resolve_feature_names(read_table(GOOD, "rows"), NAMES[:3], "rows")
    with pytest.raises(DataError, match="names of the features must be unique, but column a came repeatedly"):
        resolve_feature_names(read_table(GOOD, "rows"), list("aabcde"), "rows")
