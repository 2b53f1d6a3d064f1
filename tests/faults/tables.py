"""Faults of tables in memory: labels of other libraries, odd dtypes and shapes."""

import collections

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from shapae import Explainer
from shapae.tables.background import stratified, weighted
from shapae.tables.labels import read_groups
from shapae.tables.table import read_table
from tests import cases
from tests.faults.table import Fault

NAMES = list("abcdef")
WHOLE = np.round(cases.table(5) * 3)
FRAME = pd.DataFrame(WHOLE, columns=NAMES)
TURNED = FRAME[NAMES[::-1]]
Row = collections.namedtuple("Row", NAMES)


def package(name):
    return pytest.importorskip(name)


class Frame:
    """A DataFrame of a library that nobody knows: with columns, and to_pandas()."""

    def __init__(self, frame):
        self._frame = frame

    @property
    def columns(self):
        return self._frame.columns

    def to_pandas(self):
        return self._frame

    def __array__(self, dtype=None, copy=None):
        return self._frame.to_numpy()


class Stream:
    """A table that only streams its columns, as Arrow says."""

    def __init__(self, frame):
        self._table = package("pyarrow").Table.from_pandas(frame)

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._table)


class Collection:
    """Rows as Hugging Face datasets hold them: with column_names, and to_pandas()."""

    def __init__(self, frame):
        self._frame, self.column_names = frame, [*frame]

    def __len__(self):
        return len(self._frame)

    def __getitem__(self, place):
        return self._frame.iloc[place].to_dict()

    def to_pandas(self):
        return self._frame


def labelled(attribute):
    """Make an array of a class of its own, with labels that can't be read."""
    kind = type("Labelled", (), {attribute: NAMES, "__array__": lambda self, dtype=None, copy=None: WHOLE})
    return kind()


def data_array(frame):
    return package("xarray").DataArray(frame.to_numpy(), {"feature": [*frame]}, ("row", "feature"))


READ = {
    "pandas": lambda frame: frame,
    "polars": lambda frame: package("polars").DataFrame(frame),
    "Table of pyarrow": lambda frame: package("pyarrow").Table.from_pandas(frame),
    "RecordBatch of pyarrow": lambda frame: package("pyarrow").RecordBatch.from_pandas(frame),
    "RecordBatchReader of pyarrow": lambda frame: package("pyarrow").Table.from_pandas(frame).to_reader(),
    "DataArray": data_array,
    "DataArray with its axes exchanged": lambda frame: data_array(frame).T,
    "DataArray of any axes": lambda frame: package("xarray").DataArray(frame, dims=("time", "gene")),
    "Dataset of xarray": lambda frame: frame.to_xarray(),
    "frame as of cudf": Frame,
    "stream of Arrow": Stream,
    "collection as of datasets": Collection,
    "structured array": lambda frame: frame.to_records(index=False),
}
UNREAD = {
    "dask": (
        lambda frame: package("dask.dataframe").from_pandas(frame, npartitions=2),
        r"in memory, got dask\.DataFrame\. Give X\.compute\(\)",
    ),
    "LazyFrame of polars": (lambda frame: package("polars").DataFrame(frame).lazy(), r"Give X\.collect\(\)"),
    "relation of duckdb": (lambda frame: package("duckdb").from_df(frame), r"Give X\.df\(\)"),
    "columns by name": (lambda frame: dict(frame.items()), r"got dict\. Give a DataFrame"),
    "rows by name": (lambda frame: frame.to_dict("records"), r"got list of dict\. Give a DataFrame"),
    "rows by name after one without": (
        lambda frame: [[*WHOLE[0]], *frame.to_dict("records")],
        "got list of dict",
    ),
    "named tuples": (lambda frame: [Row(*row) for row in WHOLE], r"got list of Row\. Give a DataFrame"),
    "records in a list": (lambda frame: [*frame.to_records(index=False)], "got list of record"),
    "list of Series": (lambda frame: [row for _, row in frame.iterrows()], "got list of Series"),
    "list of Series of polars": (
        lambda frame: [package("polars").Series(name, frame[name]) for name in frame],
        r"list of polars\.Series, which have names",
    ),
    "list of DataArrays": (lambda frame: [*data_array(frame)], r"list of xarray\.DataArray, which have names"),
    "list of DataFrames": (lambda frame: [frame, frame], r"list of pandas\.DataFrame.*pd\.concat\(X\)"),
    "structs of polars": (lambda frame: package("polars").DataFrame(frame).to_struct("s"), r"X\.struct\.unnest\(\)"),
    "variables of two axes": (
        lambda frame: package("xarray").Dataset({"x": (("a", "b"), WHOLE), "y": (("a",), WHOLE[:, 0])}),
        r"Dataset of variables x \('a', 'b'\), y \('a',\)\. Choose one: X\[name\]",
    ),
    "labels beside the index of xarray": (
        lambda frame: package("xarray").DataArray(WHOLE, {"gene": ("feature", NAMES)}, ("row", "feature")),
        r"the label gene along the axis feature, but no index .*X\.set_index\(feature='gene'\)",
    ),
    "MultiIndex of pandas": (pd.MultiIndex.from_frame, "the labels a, b, c, d, e, f, but pandas.MultiIndex has no"),
    **{
        f"array with {attribute}": (lambda frame, attribute=attribute: labelled(attribute), "has no to_pandas")
        for attribute in ("columns", "column_names", "colnames", "var_names", "fields", "names", "dims", "schema")
    },
}


def _same_values(make):
    def check(folder):
        model = cases.build(cases.Question)
        want, got = Explainer(model, FRAME)(FRAME), Explainer(model, make(FRAME))(make(FRAME))
        np.testing.assert_array_equal(got.values, want.values)
        assert got.feature_names == NAMES

    return check


def _other_order(make):
    return lambda folder: Explainer(cases.build(cases.Question), FRAME)(make(TURNED))


def _read(make):
    return lambda folder: read_table(make(), "rows")


def _reads(make, want=WHOLE):
    def check(folder):
        rows = read_table(make(), "rows").tensor(torch.empty(0, dtype=torch.float64), "rows")
        np.testing.assert_array_equal(rows, want)

    return check


def named(index):
    return pd.Series(list("xxyyy"), index)


def with_rows(names):
    return FRAME.set_axis(names, axis=0)


ROWS = ["r1", "r2", "r3", "r4", "r5"]
BY = {
    "a Series in another order": lambda: named(ROWS[::-1]),
    "a DataArray in another order": lambda: package("xarray").DataArray(list("xxyyy"), {"row": ROWS[::-1]}, ("row",)),
    "a Series as of cudf in another order": lambda: type(
        "Series", (), {"index": ROWS[::-1], "to_pandas": lambda self: named(ROWS[::-1])}
    )(),
}


def _index_of_arrow(folder):
    for make in (READ["Table of pyarrow"], READ["RecordBatch of pyarrow"], Stream):
        for index in (ROWS, range(7, 12)):
            rows = read_table(make(with_rows(index)), "rows")
            assert (rows.names, [*rows.row_names]) == (NAMES, [*index])


def _group_by(make):
    return lambda folder: read_groups(with_rows(ROWS), make())


INDEX = "different row names"
SPARSE = ("coo", "csr", "csc", "dok", "lil", "bsr", "dia")
RIGHT = {
    **{kind: (lambda kind=kind: sparse.csr_array(WHOLE).asformat(kind)) for kind in SPARSE},
    "big-endian": lambda: WHOLE.astype(">f8"),
    "big-endian integers": lambda: WHOLE.astype(">i4"),
    "float16": lambda: WHOLE.astype(np.float16),
    "long double": lambda: WHOLE.astype(np.longdouble),
    "Fortran order": lambda: np.asfortranarray(WHOLE),
    "negative strides": lambda: WHOLE[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda: np.broadcast_to(WHOLE, WHOLE.shape),
    "bfloat16": lambda: torch.tensor(WHOLE).bfloat16(),
    "nested lists": WHOLE.tolist,
    "tuples of lists": lambda: tuple(map(tuple, WHOLE.tolist())),
    "columns of several levels": lambda: FRAME.set_axis(pd.MultiIndex.from_product([list("xy"), [1, 2, 3]]), axis=1),
    "names that are numbers": lambda: FRAME.set_axis(range(6), axis=1),
    "Dask array": lambda: package("dask.array").from_array(WHOLE),
}
WRONG = {
    "ragged lists": (lambda: [[1.0, 2.0], [3.0]], "got list: .*inhomogeneous"),
    "lists of several depths": (lambda: [[1.0, [2.0]], [3.0, 4.0]], "got list: .*inhomogeneous"),
    "rows and numbers": (lambda: [[1.0, 2.0], 3.0], "got list: "),
    "arrays of several lengths": (lambda: [np.ones(2), np.ones(3)], "got list: "),
    "no rows": (lambda: WHOLE[:0], r"n and d at least 1, got shape \(0, 6\)"),
    "no columns": (lambda: WHOLE[:, :0], r"got shape \(5, 0\)"),
    "a DataFrame without rows": (lambda: FRAME.iloc[:0], r"got shape \(0, 6\)"),
    "a DataFrame without columns": (lambda: FRAME[[]], r"got shape \(5, 0\)"),
    "an empty list": (list, r"got shape \(0,\)|must have two axes"),
    "an empty sparse array": (lambda: sparse.csr_array((0, 3)), r"got shape \(0, 3\)"),
    "three axes": (lambda: WHOLE.reshape(5, 3, 2), r"Flatten the table, X\.reshape\(len\(X\), -1\)"),
    "one axis": (lambda: WHOLE[0], r"A single row is X\[None\]"),
    "a number": (lambda: 3.0, "got float"),
    "a generator": (lambda: (row for row in WHOLE), "got generator"),
    "a zip": (lambda: zip(*WHOLE, strict=True), "got zip"),
    "None": (lambda: None, "got NoneType"),
    "a class": (lambda: Frame, "got type"),
    "complex numbers": (lambda: WHOLE + 1j, r"got dtype complex128\. Give X\.real"),
    "times": (lambda: WHOLE.astype("datetime64[s]"), "Convert times to numbers"),
    "durations": (lambda: WHOLE.astype("timedelta64[s]"), "Convert times to numbers"),
    "text": (lambda: WHOLE.astype(str), r"X\.astype\(float\)"),
    "bytes": (lambda: WHOLE.astype("S5"), r"X\.astype\(float\)"),
    "objects with a text": (lambda: np.array([[1.0, "x"]], dtype=object), r"X\.astype\(float\)"),
    "categories": (lambda: FRAME.astype({"b": "category"}), r"column b \(category\)"),
    "intervals": (lambda: FRAME.assign(b=pd.interval_range(0, 5)), r"column b \(interval"),
    "repeated names": (lambda: FRAME.set_axis([*"abcdea"], axis=1), "column a came repeatedly"),
    "repeated names as texts": (lambda: FRAME.set_axis(["1", 1, *"cdef"], axis=1), "column 1 came repeatedly"),
    "repeated levels": (
        lambda: FRAME.set_axis(pd.MultiIndex.from_tuples([("x", 1)] * 2 + [("y", k) for k in range(4)]), axis=1),
        r"column \('x', 1\) came repeatedly",
    ),
    "masked numbers": (lambda: np.ma.masked_greater(WHOLE, 3), "are NaN or infinite"),
    "missing numbers of Arrow": (
        lambda: FRAME.convert_dtypes(dtype_backend="pyarrow").mask(FRAME > 3),
        "are NaN or infinite",
    ),
    "NaN in a sparse array": (lambda: sparse.csr_array(np.where(WHOLE > 3, np.nan, WHOLE)), "are NaN or infinite"),
    "infinity": (lambda: np.where(WHOLE > 3, np.inf, WHOLE), "are NaN or infinite, in row"),
    "a long double beyond float64": (lambda: WHOLE.astype(np.longdouble) * np.longdouble("1e4000"), "NaN or infinite"),
    "integers of more digits than float64 has": (
        lambda: FRAME.abs().astype("uint64").assign(c=np.uint64(2**63 + 1)),
        r"integers beyond 2\*\*53 in column c",
    ),
    "an identifier as a feature": (lambda: np.array([[2**60 + 1, 1]]), r"integers beyond 2\*\*53 in column 0"),
}
FAULTS = [
    *(
        Fault(
            "tables",
            f"{kind}, as rows and background",
            _same_values(make),
            None,
            "the values of the DataFrame, bit by bit",
        )
        for kind, make in READ.items()
    ),
    *(
        Fault(
            "tables",
            f"{kind}, columns in another order",
            _other_order(make),
            "in another order than expected",
            "refused",
        )
        for kind, make in READ.items()
    ),
    *(
        Fault(
            "tables",
            kind,
            lambda folder, make=make: read_table(make(FRAME), "rows"),
            says,
            "refused, never read by position",
        )
        for kind, (make, says) in UNREAD.items()
    ),
    *(
        Fault(
            "tables",
            f"labels: {kind}",
            lambda folder, make=make: read_groups(with_rows(ROWS), make()),
            INDEX,
            "refused",
        )
        for kind, make in BY.items()
    ),
    Fault("tables", "an index of pandas in a table of Arrow", _index_of_arrow, None, "names of rows, and no feature"),
    Fault(
        "tables",
        "labels: a Series of dask",
        lambda folder: read_groups(
            with_rows(ROWS), package("dask.dataframe").from_pandas(named(ROWS[::-1]), npartitions=1)
        ),
        r"in memory, got dask\.Series",
        "refused",
    ),
    Fault(
        "tables",
        "labels of a sample in another order",
        lambda folder: stratified(with_rows(ROWS), 2, by=named(ROWS[::-1])),
        INDEX,
        "refused",
    ),
    Fault(
        "tables",
        "weights in another order",
        lambda folder: weighted(with_rows(ROWS), pd.Series([1.0, 2, 3, 4, 5], ROWS[::-1])),
        INDEX,
        "refused",
    ),
    *(Fault("tables", kind, _reads(make), None, "the numbers of the plain array") for kind, make in RIGHT.items()),
    *(Fault("tables", kind, _read(make), says, "refused, with its place") for kind, (make, says) in WRONG.items()),
]
