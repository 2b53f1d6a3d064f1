"""Tables as people bring them, and what is said of those that can't be explained."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array

from shapae.data import agreed_names, read_rows
from shapae.errors import DataError
from tests import models

NAMES = list("abcdef")
GOOD = np.round(models.table(4) * 3)


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
}
FRAMES = {
    "pandas": lambda: pd.DataFrame(GOOD, columns=NAMES),
    "pandas with its own index": lambda: pd.DataFrame(GOOD, columns=NAMES, index=list("wxyz")),
    "pandas with integers": lambda: pd.DataFrame(GOOD, columns=NAMES).astype({"a": int, "b": "Int64", "c": "float32"}),
    "polars": polars_frame,
}


def frozen(table):
    """Read-only, where it is an array."""
    if isinstance(table, np.ndarray):
        table.flags.writeable = False
    return table


@pytest.mark.parametrize("kind", [*ARRAYS, *FRAMES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_kind_of_table_gives_the_same_tensor(kind, dtype):
    rows = read_rows(frozen((ARRAYS | FRAMES)[kind]()), "rows")
    tensor = rows.tensor(torch.empty(0, dtype=dtype), "rows")
    assert tensor.dtype == dtype
    assert not tensor.requires_grad
    np.testing.assert_array_equal(tensor.numpy(), GOOD)
    assert rows.names == (NAMES if kind in FRAMES else None)


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
    np.testing.assert_array_equal(read_rows(frame, "rows").tensor(torch.empty(0), "rows").numpy(), want)


def test_the_tensor_is_a_copy():
    for table in (GOOD.copy(), torch.tensor(GOOD)):
        read_rows(table, "rows").tensor(torch.empty(0, dtype=torch.float64), "rows").zero_()
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
        r"got shape \(6,\); a single row is X\[None\] of an array, X\.iloc\[\[0\]\] of a DataFrame",
    ),
    "3-D": (GOOD[None], r"must be a table \(n, d\) .*got shape \(1, 4, 6\)"),
    "no rows": (GOOD[:0], r"n and d at least 1, got shape \(0, 6\)"),
    "no columns": (GOOD[:, :0], r"n and d at least 1, got shape \(4, 0\)"),
    "empty frame": (pd.DataFrame(), r"n and d at least 1, got shape \(0, 0\)"),
    "series": (named(GOOD).iloc[0], r"must have two axes, got shape \(6,\)"),
    "nothing": (None, r"must be a table \(n, d\) .*got NoneType"),
    "ragged": ([[1.0, 2.0], [3.0]], r"must be a table \(n, d\), got list: .*inhomogeneous"),
    "text": (GOOD.astype(str), r"must be a table of real numbers, got dtype <U32"),
    "complex": (GOOD + 1j, "must be a table of real numbers, got dtype complex128"),
    "text columns": (named(GOOD).assign(b="x", d="y"), "must be numbers; drop or convert columns b, d"),
    "dates": (named(GOOD).assign(b=pd.Timestamp("2020-01-01")), "must be numbers; drop or convert column b"),
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
def test_what_is_no_table_of_numbers_is_refused_and_named(kind, what):
    table, message = BAD[kind]
    with pytest.raises(DataError, match=f"^the {what} .*{message}"):
        read_rows(table, what)


def test_repeated_columns_are_named():
    with pytest.raises(DataError, match="names of the rows must be unique, but columns a, b came repeatedly"):
        read_rows(pd.DataFrame(GOOD, columns=list("aabbcd")), "rows")


def test_numbers_too_large_for_the_model_are_refused():
    rows = read_rows(GOOD * 1e300, "rows")
    assert rows.tensor(torch.empty(0, dtype=torch.float64), "rows").isfinite().all()
    with pytest.raises(
        DataError, match=r"some numbers of the rows are too large for the model's torch\.float32; scale them"
    ):
        rows.tensor(torch.empty(0), "rows")


DIFFERENT = {
    "permuted": (list("bacdef"), r"in another order than expected \(columns b, a moved\); select them as X\[explainer"),
    "missing": (list("abcde"), "are without column f[.]"),
    "extra": (list("abcdefg"), "are with unexpected column g[.]"),
    "renamed": (list("abcdXY"), "without columns e, f and with unexpected columns X, Y[.]"),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_other_columns_are_refused_and_named(kind):
    got, message = DIFFERENT[kind]
    rows = read_rows(pd.DataFrame(models.table(2, len(got)), columns=got), "rows")
    with pytest.raises(DataError, match=message):
        agreed_names(rows, NAMES, "rows")


def test_an_array_takes_the_names_that_are_known_if_it_has_as_many_columns():
    assert agreed_names(read_rows(GOOD, "rows"), tuple(NAMES), "rows") == NAMES
    assert agreed_names(read_rows(GOOD, "rows"), None, "rows") is None
    assert agreed_names(read_rows(named(GOOD), "rows"), None, "rows") == NAMES
    with pytest.raises(DataError, match="got 6 columns in the rows, expected 3"):
        agreed_names(read_rows(GOOD, "rows"), NAMES[:3], "rows")
    with pytest.raises(DataError, match="names of the features must be unique, but column a came repeatedly"):
        agreed_names(read_rows(GOOD, "rows"), list("aabcde"), "rows")
