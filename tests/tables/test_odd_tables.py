"""Tables of unusual kinds: each is read as the plain array with its numbers, or refused with advice."""

import collections
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch.utils.data import TensorDataset

from shapae import Autoencoder, Explainer
from shapae.errors import DataError
from shapae.tables.table import read_table
from tests import cases

NAMES = list("abcdef")
WHOLE = np.round(cases.table(4) * 3)
TRUTH = WHOLE > 0
FRAME = pd.DataFrame(WHOLE, columns=NAMES)


def arrow(dtype):
    pytest.importorskip("pyarrow")
    return FRAME.astype(f"{dtype}[pyarrow]")


def arrow_decimals():
    pyarrow = pytest.importorskip("pyarrow")
    decimals = FRAME.map(lambda number: Decimal(int(number)))
    return decimals.astype(pd.ArrowDtype(pyarrow.decimal128(9, 2)))


def polars_decimals():
    polars = pytest.importorskip("polars")
    return polars.DataFrame(WHOLE, schema=NAMES).cast(polars.Decimal(9, 2))


def arrow_table():
    return pytest.importorskip("pyarrow").Table.from_pandas(FRAME)


def data_array():
    coords = {"feature": NAMES, "row": range(4)}
    return pytest.importorskip("xarray").DataArray(WHOLE, coords, ("row", "feature"))


NAMED = {
    "sparse": lambda: FRAME.astype(pd.SparseDtype(float, 0.0)),
    "sparse integers": lambda: FRAME.astype(int).astype(pd.SparseDtype(int, 0)),
    "from a sparse matrix": lambda: pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(WHOLE), columns=NAMES),
    "sparse with ones left out": lambda: FRAME.astype(pd.SparseDtype(float, 1.0)),
    "sparse with NaN left out": lambda: FRAME.astype(pd.SparseDtype(float, np.nan)),
    "sparse of two kinds": lambda: FRAME.astype({"a": pd.SparseDtype(float, 0.0), "b": pd.SparseDtype(float, np.nan)}),
    "one sparse column": lambda: FRAME.assign(c=pd.arrays.SparseArray(FRAME["c"], fill_value=0)),
    "nullable floats": lambda: FRAME.astype("Float64"),
    "nullable integers and floats": lambda: FRAME.astype({"a": "Int8", "b": "Float32", "c": "UInt64"} | {"c": "Int64"}),
    "Arrow floats": lambda: arrow("double"),
    "Arrow integers": lambda: arrow("int64"),
    "Arrow decimals": arrow_decimals,
    "polars decimals": polars_decimals,
    "table of Arrow": arrow_table,
    "float16": lambda: FRAME.astype(np.float16),
    "long double": lambda: FRAME.astype(np.longdouble),
    "objects": lambda: FRAME.astype(object),
    "objects of several kinds": lambda: FRAME.astype(object).assign(a=[int(number) for number in FRAME["a"]]),
    "decimals": lambda: FRAME.map(lambda number: Decimal(int(number))),
    "structured array": lambda: np.array([*map(tuple, WHOLE)], dtype=[(name, float) for name in NAMES]),
    "records of several kinds": lambda: FRAME.astype({"a": int, "b": np.float32}).to_records(index=False),
    "transposed frame": lambda: FRAME.T.astype(object).T,
    "xarray": data_array,
}
UNNAMED = {
    "objects": lambda: WHOLE.astype(object),
    "fractions": lambda: np.array([[Fraction(int(number)) for number in row] for row in WHOLE]),
    "matrix": lambda: np.asmatrix(WHOLE),
    "masked, nothing missing": lambda: np.ma.masked_array(WHOLE, mask=False),
    "list of tensors": lambda: [*torch.tensor(WHOLE)],
    "list of tensors in the graph": lambda: [*torch.tensor(WHOLE, requires_grad=True)],
    "tuple of arrays": lambda: (*WHOLE,),
    "memory view": lambda: memoryview(WHOLE),
    "parameter": lambda: torch.nn.Parameter(torch.tensor(WHOLE)),
    "compressed rows": lambda: torch.tensor(WHOLE).to_sparse_csr(),
    "float8": lambda: torch.tensor(WHOLE).to(torch.float8_e4m3fn),
    "imaginary part": lambda: (torch.tensor(WHOLE) * -1j).conj().imag,
    "items with labels": lambda: TensorDataset(torch.tensor(WHOLE), torch.arange(4)),
    "xarray": lambda: pytest.importorskip("xarray").DataArray(WHOLE),
}
TRUTHS = {
    "object array": lambda: TRUTH.astype(object),
    "lists": TRUTH.tolist,
    "array": lambda: TRUTH,
    "tensor": lambda: torch.tensor(TRUTH),
    "sparse columns": lambda: pd.DataFrame(TRUTH).astype(pd.SparseDtype(bool, False)),
    "nullable": lambda: pd.DataFrame(TRUTH).astype("boolean"),
    "object columns": lambda: pd.DataFrame(TRUTH.astype(object)),
    "object column beside numbers": lambda: pd.DataFrame(TRUTH.astype(float)).assign(**{
        "0": TRUTH[:, 0].astype(object)
    })[["0", 1, 2, 3, 4, 5]],
}


def dense(table):
    return read_table(table, "rows").tensor(torch.empty(0, dtype=torch.float64), "rows").numpy()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support", "ignore:the matrix subclass")
@pytest.mark.parametrize("kind", [*NAMED, *(f"{kind} without names" for kind in UNNAMED)])
def test_unusual_tables_are_read_as_the_plain_array(kind):
    name = kind.removesuffix(" without names")
    table = (NAMED if name == kind else UNNAMED)[name]()
    np.testing.assert_array_equal(dense(table), WHOLE)
    assert read_table(table, "rows").names == (NAMES if name == kind else None)


@pytest.mark.parametrize("kind", TRUTHS)
def test_truth_values_are_0_and_1(kind):
    np.testing.assert_array_equal(dense(TRUTHS[kind]()), TRUTH.astype(float))


@pytest.mark.parametrize("kind", ["sparse", "sparse with NaN left out", "objects", "structured array"])
def test_unusual_tables_have_the_values_of_the_plain_array(kind, model):
    want = Explainer(model, WHOLE[:3])(WHOLE)
    got = Explainer(model, read_table(NAMED[kind](), "rows").of(np.arange(3)))(NAMED[kind]())
    np.testing.assert_array_equal(got.values, want.values)
    np.testing.assert_array_equal(got.data, WHOLE)


def test_a_sparse_frame_stays_sparse():
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.eye_array(50, 2000))
    assert sparse.issparse(read_table(frame, "rows").values)


def nullable(dtype):
    """A table with a missing number in the third row of column b."""
    frame = (FRAME > 0 if dtype == "boolean" else FRAME).astype(dtype)
    frame.loc[2, "b"] = pd.NA
    return frame


def with_missing(table):
    table[2, 1] = None
    return table


MISSING = {
    "floats": lambda: nullable("Float64"),
    "integers": lambda: nullable("Int64"),
    "truth": lambda: nullable("boolean"),
    "Arrow": lambda: pytest.importorskip("pyarrow") and nullable("double[pyarrow]"),
    "objects": lambda: nullable("Float64").astype(object),
    "sparse": lambda: nullable("Float64").astype(float).astype(pd.SparseDtype(float, 0.0)),
    "sparse column": lambda: FRAME.assign(b=pd.arrays.SparseArray([1, 2, np.nan, 4])),
    "array of objects": lambda: with_missing(WHOLE.astype(object)),
    "array of truth": lambda: with_missing(TRUTH.astype(object)),
    "masked": lambda: np.ma.masked_array(WHOLE, mask=np.arange(24).reshape(4, 6) == 13),
    "masked integers": lambda: np.ma.masked_array(WHOLE.astype(int), mask=np.arange(24).reshape(4, 6) == 13),
    "masked objects": lambda: np.ma.masked_array(WHOLE.astype(object), mask=np.arange(24).reshape(4, 6) == 13),
    "masked records": lambda: np.ma.array(
        [*map(tuple, WHOLE)],
        dtype=[(name, float) for name in NAMES],
        mask=[(False, row == 2, *[False] * 4) for row in range(4)],
    ),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_numbers_are_named_and_never_filled_in(kind):
    with pytest.raises(DataError, match=r"1 of 24 numbers are NaN or infinite, in row 2 and column (b|1)\."):
        read_table(MISSING[kind](), "rows")


def polars_lazy():
    return pytest.importorskip("polars").DataFrame(WHOLE).lazy()


def arrow_repeated():
    return pytest.importorskip("pyarrow").table([[1.0], [2.0]], names=["a", "a"])


Row = collections.namedtuple("Row", NAMES)
DROP = r"must be numbers\. Drop or convert column b \({}\): X\.drop\(columns=\['b'\]\), X\['b'\]\.astype\(float\)"
REFUSED = {
    "categories": (lambda: FRAME.assign(b=pd.Categorical(FRAME["b"])), DROP.format("category")),
    "times": (lambda: FRAME.assign(b=pd.Timestamp("2020-01-01")), DROP.format(r"datetime64\[\w+\]")),
    "durations": (lambda: FRAME.assign(b=pd.Timedelta("1h")), DROP.format(r"timedelta64\[\w+\]")),
    "complex column": (lambda: FRAME.assign(b=1j), DROP.format("complex128")),
    "text that looks like numbers": (lambda: FRAME.assign(b=FRAME["b"].astype(str)), DROP.format(r"\w+")),
    "sparse text": (lambda: FRAME.assign(b=pd.arrays.SparseArray(list("xyzx"))), DROP.format(r".*")),
    "lists in a column": (lambda: FRAME.assign(b=[[1], [2], [3], [4]]), DROP.format("object")),
    "huge integers": (lambda: np.array([[10**400, 1]], dtype=object), r"dtype object\. Convert it"),
    "periods": (lambda: FRAME.assign(b=pd.period_range("2020", periods=4)), DROP.format(r"period.*")),
    "text": (lambda: WHOLE.astype(str), r"got dtype <U32\. Convert it: X\.astype\(float\)"),
    "objects with text": (lambda: np.array([["a", 1.0]], dtype=object), r"dtype object\. Convert it: X\.astype\(float"),
    "array of times": (lambda: WHOLE.astype("datetime64[s]"), r"dtype datetime64\[s\]\. Convert times .*'int64'"),
    "complex": (lambda: WHOLE + 1j, r"got dtype complex128\. Give X\.real, X\.imag"),
    "complex tensor": (lambda: torch.tensor(WHOLE + 1j), r"got dtype complex128\. Give X\.real, X\.imag"),
    "masked text": (lambda: np.ma.array([["a", "b"]], mask=[[True, False]]), r"got dtype <U1\. Convert it"),
    "nested records": (lambda: np.zeros(3, dtype=[("a", float, 2)]), "must have two axes"),
    "series": (lambda: FRAME.iloc[0], r"a Series\. A single row is row\.to_frame\(\)\.T, or X\.iloc\[\[0\]\]"),
    "row of an array": (lambda: WHOLE[0], r"got shape \(6,\)\. A single row is X\[None\] of an array"),
    "row of a tensor": (lambda: torch.tensor(WHOLE[0]), r"got shape \(6,\)\. A single row is X\[None\]"),
    "row of a list": (lambda: [1.0, 2.0], r"\[X\] of a list"),
    "row of a sparse array": (lambda: sparse.coo_array(WHOLE[0]), r"X\.reshape\(1, -1\) of a sparse array"),
    "row as a dict": (lambda: dict(zip(NAMES, WHOLE[0], strict=True)), r"got dict\. .*pd\.DataFrame\(\[row\]\)"),
    "columns as a dict": (lambda: FRAME.to_dict("list"), r"got dict\. Give a DataFrame: pd\.DataFrame\(rows\)"),
    "rows as dicts": (lambda: FRAME.to_dict("records"), r"got list of dict\. Give a DataFrame: pd\.DataFrame\(rows\)"),
    "rows as Series": (lambda: [row for _, row in FRAME.iterrows()], r"list of Series\. .*pd\.DataFrame\(rows\)"),
    "named row": (lambda: Row(*WHOLE[0]), r"got Row\. Give a DataFrame: pd\.DataFrame\(\[row\]\)"),
    "generator": (lambda: (row for row in WHOLE), r"got generator\. Convert it to an array or a DataFrame"),
    "set": (lambda: {1.0, 2.0}, r"got set\. Convert it"),
    "bytes": (lambda: b"rows", "got bytes"),
    "lazy": (polars_lazy, r"must be in memory, got polars\.LazyFrame\. Give X\.collect\(\)"),
    "repeated names of Arrow": (arrow_repeated, r"must be unique, but column a came repeatedly\.$"),
    "masked tensor": (
        lambda: torch.masked.masked_tensor(torch.ones(2, 3), torch.eye(2, 3) > 0),
        r"got MaskedTensor: give tensor\.to_tensor\(float\('nan'\)\)",
    ),
    "meta": (lambda: torch.empty(2, 3, device="meta"), "got Tensor: .*no data"),
    "tensors of several lengths": (lambda: [torch.ones(2), torch.ones(3)], "got list: .*same shape"),
    "items of several lengths": (lambda: [torch.ones(1, 2), torch.ones(2, 2)], "got list: .*same shape"),
    "numbers as items": (lambda: TensorDataset(torch.ones(5)), r"must have two axes, got shape \(5,\)"),
    "no number": (lambda: np.float64(3), "got float64"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("kind", REFUSED)
def test_tables_that_are_no_numbers_are_refused_with_advice(kind):
    make, message = REFUSED[kind]
    with pytest.raises(DataError, match=f"^the (names of the )?rows .*{message}"):
        read_table(make(), "rows")


class Sequences(torch.nn.Module):
    """Reconstruct rows with three axes: (n, t, f) -> (n, t, f)."""

    def __init__(self, f):
        super().__init__()
        self.mix = torch.nn.Linear(f, f, dtype=torch.float64)

    def forward(self, rows):
        return self.mix(rows).cumsum(1)


@pytest.mark.parametrize("shape", [(5, 3, 2), (1, 4, 6), (4, 2, 3, 2)])
def test_a_table_with_more_axes_is_refused_and_the_advice_works(shape):
    rows = cases.table(shape[0], int(np.prod(shape[1:]))).reshape(shape)
    with pytest.raises(DataError, match=r"got shape \(\d, .*\)\. Flatten the table") as caught:
        read_table(rows, "rows")
    flatten, _, wrap = (
        str(caught.value).partition("Flatten the table, ")[2].partition(", and let the model unflatten it: ")
    )
    model = Sequences(shape[-1])
    X = eval(flatten, {"X": rows})
    autoencoder = eval(wrap.removesuffix("."), {"Autoencoder": Autoencoder, "model": model})
    with torch.no_grad():
        want = ((model(torch.tensor(rows)) - torch.tensor(rows)) ** 2).flatten(1).mean(1)
    explanation = Explainer(autoencoder, X)(X)
    np.testing.assert_allclose(explanation.scores, want, rtol=1e-12)
    np.testing.assert_allclose(explanation.residual, 0, atol=1e-10)


def test_a_list_of_batches_is_refused_with_the_line_that_joins_them():
    with pytest.raises(DataError, match=r"If these are batches of rows, give np\.concatenate\(X\)"):
        read_table([torch.ones(2, 3), torch.ones(2, 3)], "rows")
