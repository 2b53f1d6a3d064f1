"""Tables loaded from files, and files that can not be loaded."""

import gzip
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from shapae import Explainer, explain_anomalies
from shapae.errors import DataError, MissingPackage
from shapae.tables import files
from shapae.tables.background import contrast, kmeans, sample, stratified
from shapae.tables.table import read_table
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
        ("rows.xlsx", r"must end with \.csv, .*, \.parquet, \.h5ad, \.npy, \.zarr, got '\.xlsx'"),
        ("rows", r"must end with .*, got 'no extension'"),
        ("gone.csv", r"can't read the table in .*gone\.csv: .*No such file"),
        ("empty.csv", r"can't read the table in .*empty\.csv: it is empty"),
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


# Text

READ = {
    "commas": "a,b\n1.5,2\n3,4\n",
    "semicolons": "a;b\n1.5;2\n3;4\n",
    "tabs": "a\tb\n1.5\t2\n3\t4\n",
    "bars": "a|b\n1.5|2\n3|4\n",
    "Windows": "a;b\r\n1.5;2\r\n3;4\r\n",
    "byte order mark": "\ufeffa;b\n1.5;2\n3;4\n",
    "separator of Excel": "sep=;\na;b\n1.5;2\n3;4\n",
    "quoted names": '"a"\t"b"\n1.5\t2\n3\t4\n',
    "names of two lines": '"a";"b\nin cm"\n1.5;2\n3;4\n',
    "spaces": "a, b\n1.5, 2\n3, 4\n",
    "comments": "# made by us\n\n# a, b\na,b\n1.5,2\n3,4\n",
    "unnamed numbers of rows": ",a,b\n7,1.5,2\n8,3,4\n",
    "names of rows": "cell;a;b\nx;1.5;2\ny;3;4\n",
    "names of rows after a comment": "# made by us\n#cell,a,b\nx,1.5,2\ny,3,4\n",
    "names of rows without a name, as from R": '"a","b"\n"x",1.5,2\n"y",3,4\n',
    "times": "t,a,b\n2020-01-01,1.5,2\n2020-01-02,3,4\n",
    "a separator at the end of each line": "a,b,\n1.5,2,\n3,4,\n",
}


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "X.CSV", "x.v2.csv.gz"])
@pytest.mark.parametrize("kind", READ)
def test_a_text_file_is_read_with_any_separator(kind, name, tmp_path):
    content = READ[kind].encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    table = read_table(tmp_path / name, "rows")
    np.testing.assert_array_equal(table.values, [[1.5, 2], [3, 4]])
    assert [name.partition("\n")[0] for name in table.names] == ["a", "b"]


def test_a_single_quoted_column_is_read(tmp_path):
    (tmp_path / "x.csv").write_text('"a"\n1.5\n3\n')
    table = read_table(tmp_path / "x.csv", "rows")
    assert (table.names, table.values.tolist()) == (["a"], [[1.5], [3]])


def test_separators_in_names_are_no_separators(tmp_path):
    (tmp_path / "x.csv").write_text("height, cm;weight, kg\n1.5;2\n3;4\n")
    assert read_table(tmp_path / "x.csv", "rows").names == ["height, cm", "weight, kg"]
    (tmp_path / "y.csv").write_text('"height;cm",weight\n1.5,2\n3,4\n')
    assert read_table(tmp_path / "y.csv", "rows").names == ["height;cm", "weight"]


def test_a_text_file_of_many_columns_is_read(tmp_path):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(3, 20_000))).add_prefix("gene ")
    table.to_csv(tmp_path / "x.csv", index=False)
    read = read_table(tmp_path / "x.csv", "rows")
    np.testing.assert_array_equal(read.values, table)
    assert read.names == [*table]


REFUSED = {
    "decimal commas": (
        "a;b\n1,5;2,5\n3;4,5\n",
        r"decimal commas in columns a, b, such as '1,5'\. .*pd\.read_csv\('.*', sep=';', decimal=','\)",
    ),
    "decimal commas in the first column": ("a;b\n1,5;2\n3,5;4\n", r"decimal commas in column a, .*'1,5'"),
    "decimal commas and thousands": ("a;b\n1;1.234,5\n3;1.000,0\n", r"decimal commas in column b, such as '1\.234,5'"),
    "decimal commas between commas": ("a,b\n1,5,2,5\n3,5,4,5\n", "lines of .* more fields than .* decimal points"),
    "decimal commas in one column": ("a\n1,5\n2,5\n", "lines of .* more fields than its first line has names"),
    "numbers of rows without a name": ('"a","b"\n"1",1,2\n"2",3,4\n', "give the first column a name"),
    "numbers of rows from 0 without a name": ("a,b\n0,1,2\n1,3,4\n", "give the first column a name"),
    "separators at the ends of rows only": ("a,b\n1,2,\n3,4,\n", "Remove separators at the ends of lines"),
    "a text among numbers": (
        "a,b\n1,2\n?,4\n",
        "'a' of .* holds numbers and text, .*: --row-names 'a', or in Python pd.*index_col=0",
    ),
    "a text among other numbers": (
        "a,b\n1,2\n3,?\n",
        r"are no numbers: cell '\?' in line 3, column b\. Mend",
    ),
    "two separators": ("a;b,c\n1;2,5\n3;4,6\n", r"separator of .* may be ',' and ';'\. Read it yourself"),
    "another separator": ("a b\n1 2\n3 4\n", r"no columns of numbers .*sep=' '\)"),
    "repeated names": ("a;b;a\n1;2;3\n", r"names of the columns in .* must be unique, but column a came"),
    "missing": ("a,b\n1,\n3,4\n", "rows in .* must be finite, .* in row 0 and column b"),
    "a longer line": ("a,b\n1,2\n3,4,5\n", "can't read the table in .*Expected 2 fields in line 3, saw 3"),
    "a shorter line": ("a,b\n1,2\n3\n", "must be finite, .* in row 1 and column b"),
    "no rows": ("a,b\n", r"x\.csv has names of columns, but no rows\. Give a file with rows\."),
    "Latin-1": ("a,\u00e4\n1,2\n".encode("latin-1"), r"can't read the table in .*\. Save it as UTF-8\."),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_text_file_that_would_be_a_guess_is_refused(kind, tmp_path):
    content, message = REFUSED[kind]
    (tmp_path / "x.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "x.csv", "rows")


@pytest.mark.parametrize("first", ["x", "1", "0"])
def test_a_column_of_names_is_refused_where_the_rows_have_a_field_more(first, tmp_path):
    """pandas would take the first field for the name of the row, and shift all columns by one."""
    (tmp_path / "x.csv").write_text(f"id,a,b\n{first},1,5,2\n1,2,5,3\n")
    with pytest.raises(DataError, match="more fields than its first line has names"):
        files.load_table(tmp_path / "x.csv", row_names="id")


@pytest.mark.parametrize("line", ["0.5,-1.5,2", "0.25,1.5,2", "3,2,1", "x,0.5,-1", "1,5,8", "5.1,NA,0", "1,2,4"])
def test_a_first_line_of_numbers_is_refused_unless_it_is_in_quotes(line, tmp_path):
    (tmp_path / "x.csv").write_text(f"{line}\n1,2,3\n")
    with pytest.raises(DataError, match=r"first line of .*x\.csv holds numbers, .*pd\.read_csv\('.*', header=None\)"):
        read_table(tmp_path / "x.csv", "rows")
    (tmp_path / "x.csv").write_text(",".join(f'"{name}"' for name in line.split(",")) + "\n1,2,3\n")
    assert read_table(tmp_path / "x.csv", "rows").names == line.split(",")


@pytest.mark.parametrize("line", ["0,1,2", "400,402,404", "cell,400.5,402.5", ",0,1", "a,1,b"])
def test_names_that_count_or_increase_are_names(line, tmp_path):
    (tmp_path / "x.csv").write_text(f"{line}\n1,2,3\n")
    table = read_table(tmp_path / "x.csv", "rows")
    assert table.names == [name for name in line.split(",") if name]


# Paths as tables


@pytest.fixture
def folder(tmp_path):
    names = [f"cell {row}" for row in range(20)]
    table = pd.DataFrame(cases.table(20), names, cases.FEATURES)
    table.to_csv(tmp_path / "x.csv", sep=";")
    table.to_parquet(tmp_path / "x.parquet")
    np.save(tmp_path / "x.npy", table)
    return tmp_path


@pytest.mark.parametrize("extension", ["csv", "parquet", "npy"])
def test_a_path_is_a_table(folder, extension, model):
    table = pd.read_parquet(folder / "x.parquet")
    want = Explainer(model, table)(table)
    explainer = Explainer(model, folder / f"x.{extension}")
    got = explainer(str(folder / f"x.{extension}"))
    np.testing.assert_array_equal(got.values, want.values)
    np.testing.assert_array_equal(explainer.scores(str(folder / f"x.{extension}")), want.scores)
    assert extension == "npy" or got.feature_names == cases.FEATURES


def test_a_background_is_made_of_a_path(folder):
    table, path = pd.read_parquet(folder / "x.parquet"), folder / "x.csv"
    labels = np.arange(20) % 2
    makers = [
        lambda X: sample(X, 5),
        lambda X: kmeans(X, 3),
        lambda X: stratified(X, 6, by=labels),
        lambda X: contrast(X, 1, by=labels)[1],
    ]
    for make in makers:
        np.testing.assert_array_equal(make(path).rows.values, make(table).rows.values)


def test_labels_are_a_column_of_an_anndata_in_a_file(tmp_path):
    anndata = pytest.importorskip("anndata")
    table = pd.DataFrame(cases.table(8), [f"cell {row}" for row in range(8)], cases.FEATURES)
    anndata.AnnData(table, obs=pd.DataFrame({"kind": list("aabbbbbb")}, table.index)).write_h5ad(tmp_path / "x.h5ad")
    rows, background = contrast(tmp_path / "x.h5ad", "a", by="kind")
    np.testing.assert_array_equal(rows.values, table[:2])
    np.testing.assert_array_equal(background.rows.values, table[2:])
    assert len(stratified(str(tmp_path / "x.h5ad"), 4, by="kind")) == 4


NO_PATHS = {
    "kmeans": r"must be a table, got 'kmeans'\. Call .*shapae\.background\.kmeans\(X, \.\.\.\)",
    "means": r"'means' is no table, and no path of a table: it must end with \.csv",
    "gone.parquet": r"can't read the table in gone\.parquet: .*No such file",
    "folder.csv": r"can't read the table in folder\.csv: Is a directory",
    "https://example.org/x.csv": "can't read the table in https:/.*No such file",
}


@pytest.mark.parametrize("path", NO_PATHS)
def test_a_text_that_is_no_path_is_refused(path, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=NO_PATHS[path]):
        Explainer(model, path)


@pytest.mark.parametrize("extension", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("columns", "fault"),
    [("ab", "without column c"), ("cab", "in another order"), ("abcd", "with unexpected column d")],
)
def test_the_file_with_other_columns_is_named(extension, columns, fault, tmp_path):
    table = pd.DataFrame(np.eye(4) + 0.5, columns=list("abcd"))
    path = tmp_path / f"night.{extension}"
    frame = table[list(columns)]
    frame.to_csv(path, index=False) if extension == "csv" else frame.to_parquet(path)
    explainer = Explainer(nn.Linear(3, 3), table[list("abc")])
    for explain in (explainer, explainer.scores, explainer.summarize, lambda X: explain_anomalies(explainer, X)):
        with pytest.raises(DataError, match=rf"^the columns of the rows in .*night\.{extension} are {fault}"):
            explain(path)
        with pytest.raises(DataError, match=rf"^the columns of the rows are {fault}"):
            explain(frame)
