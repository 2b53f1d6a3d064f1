"""Faults of tables in files: text that can't be read without a guess, and files that are damaged or change."""

import gzip
import os
import shutil
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

from shapae.errors import NamesWarning
from shapae.tables import stored
from shapae.tables.background import kmeans, sample
from shapae.tables.files import load_table, open_table
from shapae.tables.table import read_table
from tests import cases
from tests.faults.table import Fault

NAMES = list("abcdef")
WHOLE = np.round(cases.table(40) * 100)
FRAME = pd.DataFrame(WHOLE, columns=NAMES)


def package(name):
    return pytest.importorskip(name)


def _text(content, name="x.csv", **options):
    """Read a text file with this content."""

    def read(folder):
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        return read_table(open_table(folder / name, **options), "rows")

    return read


def _reads(content, want, names=("a", "b"), rows=None, **settings):
    def check(folder):
        table = _text(content, **settings)(folder)
        np.testing.assert_array_equal(table.values, want)
        assert table.names == [*names]
        assert rows is None or [*table.row_names] == rows

    return check


def _warns(content):
    def check(folder):
        with pytest.warns(NamesWarning, match=r"first column '.*' of .* number the rows, .*--row-names"):
            _text(content)(folder)

    return check


CELL = r"cells that are no numbers: cell {} in line 3, column b\."
HEADINGS = "the first line of .* holds numbers, so that it may be a row"
BAD_CELLS = {
    "a question mark": "?",
    "a dash": "-",
    "a typographic minus": "\u22125",
    "a word": "high",
    "a thousand with a space": "1 000",
    "a hexadecimal number": "0x10",
    "a number with an underscore": "1_000",
    "a percentage": "12%",
    "a number with its unit": "3 cm",
    "a number too large for float64": "1e400",
    "a truth value": "TRUE",
    "a date": "2024-05-01",
    "an exponent of Fortran": "1d5",
    "digits of another script": "\u0663",
    "two numbers": "1/2",
    "a number after a greater than": ">5",
}
TEXT = {
    **{f"{kind} among numbers": (f"a,b\n1,2\n3,{cell}\n5,6\n", CELL.format(".*")) for kind, cell in BAD_CELLS.items()},
    "bad cells in two columns": (
        "x,a,b\n1,?,2\n3,4,5\n6,7,n\n",
        r"cells '\?' in line 2, column a, 'n' in line 4, column b",
    ),
    "a bad cell after blank and quoted lines": (
        '# by us\nx,"a\nb"\n\n1,2\n\n3,?\n5,6\n',
        "cell '\\?' in line 7, column a",
    ),
    "one bad cell in the first column": ("a,b\n1,2\n?,4\n5,6\n", r"first column 'a' .* such as '\?' in line 3"),
    "N.A. in the first column": ("a,b\n1,2\nN.A.,4\n5,6\n", r"such as 'N\.A\.' in line 3"),
    "NA in the first column": ("a,b\n1,2\nNA,4\n5,6\n", r"are NaN or infinite, in row 1 and column a"),
    "an empty cell": ("a,b\n1,\n3,4\n", "NaN or infinite, in row 0 and column b"),
    "N/A": ("a,b\n1,2\n3,N/A\n", "NaN or infinite, in row 1 and column b"),
    "an infinity": ("a,b\n1,2\n3,inf\n", "NaN or infinite, in row 1 and column b"),
    "decimal commas": ("a;b\n1,5;2\n3;4\n", "decimal commas in column a, such as '1,5'"),
    "thousands in quotes": ('a,b\n1,"1,000"\n3,4\n', "decimal commas in column b"),
    "an identifier of 19 digits": ("x,a\n1,1234567890123456789\n2,3\n", r"integers beyond 2\*\*53 in column a"),
    "an identifier of 25 digits": ("x,a\n1,1234567890123456789012345\n2,3\n", r"integers beyond 2\*\*53 in column a"),
    "no names": ("1.5,2.5\n3,4\n", HEADINGS),
    "no names, with a missing number": ("1.5,NA,3\n4,5,6\n", HEADINGS),
    "no names, with separators at the ends": ("1.5,0.5,\n3,4,\n", HEADINGS),
    "no names, but names of rows": ("x,0.5,-1\ny,1,2\n", HEADINGS),
    "no names, one column": ("1.5\n2\n3\n", HEADINGS),
    "a repeated name": ("a,b,a\n1,2,3\n", "column a came repeatedly"),
    "a repeated name in quotes": ('"a",b,a\n1,2,3\n', "column a came repeatedly"),
    "a longer line": ("a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
    "a shorter line": ("a,b\n1,2\n3\n", "in row 1 and column b"),
    "longer lines than names": ("a,b\n1,2,3\n4,5,6\n", "more fields than its first line has names"),
    "a quote that never ends": ('a,b\n1,"2\n3,4\n', "can't read the table in .*EOF inside string"),
    "a quote that ends lines later": ('a,b\n1,"2\n3,4\n5,"\n7,8\n', "cells that are no numbers|decimal commas"),
    "a comment between rows": ("a,b\n1,2\n# half time\n3,4\n", "first column 'a' of .*such as '# half time' in line 3"),
    "a sum below the rows": ("a,b\n1,2\n3,4\nTotal,6\n", r"such as 'Total' in line 4"),
    "a byte of 0 in a number": (b"a,b\n1\x002,3\n4,5\n", r"bytes of 0.*Save it as UTF-8"),
    "a byte of 0 in a name": (b"a\x00c,b\n1,2\n", "bytes of 0"),
    "Latin-1": ("a,\u00e4\n1,2\n".encode("latin-1"), "Save it as UTF-8"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "bytes of 0"),
    "nothing": ("", "it is empty"),
    "only blank lines": ("\n\n \n", "it is empty"),
    "only names": ("a,b\n", r"x\.csv has names of columns, but no rows\. Give a file with rows\."),
    "only names of rows": ("cell\nx\ny\n", "no columns of numbers separated by ','"),
    "only comments": ("# nothing\n# here\n", "can't read|must be a table|no columns"),
    "another separator": ("a b\n1 2\n3 4\n", r"no columns of numbers .*sep=' '\)"),
    "two separators": ("a;b,c\n1;2,5\n", "separator of .* may be ',' and ';'"),
    "HTML": ("<html>\n<body>404, not found</body>\n</html>\n", "no columns|can't read|more fields|no numbers|must be"),
}
READS = {
    "Windows lines": _reads("a,b\r\n1,2\r\n3,4\r\n", [[1, 2], [3, 4]]),
    "lines of old Macs": _reads("a,b\r1,2\r3,4\r", [[1, 2], [3, 4]]),
    "a mark of the byte order": _reads("\ufeffa,b\n1,2\n", [[1, 2]]),
    "UTF-16 of Excel": _reads("a\tb\n1\t2\n".encode("utf-16"), [[1, 2]]),
    "compressed UTF-16": _reads("a\tb\n1\t2\n".encode("utf-16"), [[1, 2]], name="x.tsv.gz"),
    "separators in quotes": _reads('"a,1","b"\n1,2\n', [[1, 2]], names=("a,1", "b")),
    "one column": _reads("a\n1\n2\n", [[1], [2]], names="a"),
    "no end of the last line": _reads("a,b\n1,2\n3,4", [[1, 2], [3, 4]]),
    "names that count": _reads("0,1\n5,6\n", [[5, 6]], names=("0", "1")),
    "names of numbers in quotes": _reads('"0.5","-1"\n5,6\n', [[5, 6]], names=("0.5", "-1")),
    "names as pandas mangles them": _reads("a,a.1\n1,2\n", [[1, 2]], names=("a", "a.1")),
    "rows that are called NA": _reads("cell,a,b\nNA,1,2\nx,3,4\n", [[1, 2], [3, 4]], rows=["NA", "x"]),
    "rows named by option": _reads("id,a,b\n007,1,2\n08,3,4\n", [[1, 2], [3, 4]], rows=["007", "08"], row_names="id"),
    "rows named by a later column": _reads(
        "a,id,b\n1,x,2\n3,NA,4\n", [[1, 2], [3, 4]], rows=["x", "NA"], row_names="id"
    ),
    "rows named by numbers and text": _reads(
        "id,a,b\n1,1,2\nx,3,4\n", [[1, 2], [3, 4]], rows=["1", "x"], row_names="id"
    ),
    "an unnamed column of numbers of rows": _reads(",a,b\n0,1,2\n1,3,4\n2,5,6\n", [[1, 2], [3, 4], [5, 6]]),
}


def _wide(folder):
    names = [f"gene {place}" for place in range(100_000)]
    (folder / "x.csv").write_text(f"{','.join(names)}\n{','.join(['1'] * len(names))}\n")
    assert read_table(folder / "x.csv", "rows").names == names


def _writes(kind, folder):
    """Write a table that counts as large."""
    path = folder / kind
    if kind.endswith("parquet"):
        FRAME.to_parquet(path, row_group_size=7)
    elif kind == "x.zarr":
        package("zarr").create_array(str(path), data=WHOLE, chunks=(7, 3))
    else:
        adata = package("anndata").AnnData(WHOLE, pd.DataFrame(index=[f"cell {row}" for row in range(40)]))
        adata.var_names = NAMES
        adata.write_h5ad(path)
    return path


KINDS = ("x.parquet", "x.zarr", "x.h5ad")


def _large(kind, damage):
    """Open a large table, damage its file, and read on."""

    def read(folder):
        with patch.object(stored, "LARGE", 0):
            path = _writes(kind, folder)
            rows = read_table(path, "rows")
            np.testing.assert_array_equal(rows.dense(slice(0, 3)), WHOLE[:3])
            damage(path)
            rows.dense(slice(0, 40))

    return read


def _cut(path):
    """Cut a file, or the largest file of a folder, in half."""
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    largest = max(files, key=lambda each: each.stat().st_size)
    with largest.open("rb+") as file:
        file.truncate(largest.stat().st_size // 2)


def _replace(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    _writes(path.name, path.parent)
    described = path / "zarr.json" if path.is_dir() else path
    os.utime(described, ns=(1, 1))


def _remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _opens(kind, damage):
    def read(folder):
        path = _writes(kind, folder)
        damage(path)
        read_table(path, "rows")

    return read


def _holds(frame, kind="x.parquet", large=False):
    def read(folder):
        with patch.object(stored, "LARGE", 0 if large else stored.LARGE):
            frame().to_parquet(folder / kind)
            read_table(folder / kind, "rows")

    return read


PARQUET = {
    "text": (lambda: FRAME.assign(b="x"), r"must be numbers\. Drop or convert column b"),
    "times": (lambda: FRAME.assign(b=pd.Timestamp("2024-05-01")), "column b"),
    "categories": (lambda: FRAME.assign(b=pd.Categorical(["x"] * 40)), "column b"),
    "lists": (lambda: FRAME.assign(b=[[1.0]] * 40), "column b"),
    "a missing number": (lambda: FRAME.assign(b=FRAME["b"].mask(FRAME.index == 33)), "in row 33 and column b"),
    "a missing integer": (
        lambda: FRAME.astype("Int64").assign(b=FRAME["b"].astype("Int64").mask(FRAME.index == 33)),
        "NaN or infinite, in row 33",
    ),
    "an identifier": (lambda: FRAME.assign(b=np.int64(2**60 + 1)), r"integers beyond 2\*\*53 in column b"),
}


def _folder(names, frames):
    def read(folder):
        (folder / "x.parquet").mkdir()
        for name, frame in zip(names, frames, strict=True):
            frame.to_parquet(folder / "x.parquet" / name)
        return read_table(folder / "x.parquet", "rows")

    return read


def _in_order(folder):
    names = [f"part.{place}.parquet" for place in range(12)]
    parts = [FRAME.iloc[3 * place : 3 * place + 3] for place in range(12)]
    for large in (False, True):
        inner = folder / str(large)
        inner.mkdir()
        with patch.object(stored, "LARGE", 0 if large else stored.LARGE):
            np.testing.assert_array_equal(_folder(names, parts)(inner).dense(slice(None)), WHOLE[:36])


def _empty_folder(folder):
    (folder / "x.parquet").mkdir()
    (folder / "x.parquet" / "_SUCCESS").touch()
    read_table(folder / "x.parquet", "rows")


def _divided(folder):
    (folder / "x.parquet" / "year=2024").mkdir(parents=True)
    read_table(folder / "x.parquet", "rows")


def _group(folder):
    group = package("zarr").open_group(str(folder / "x.zarr"), mode="w")
    group.create_array("scores", data=WHOLE)
    read_table(folder / "x.zarr", "rows")


def _axes(folder):
    package("zarr").create_array(str(folder / "x.zarr"), data=WHOLE.reshape(40, 3, 2))
    read_table(folder / "x.zarr", "rows")


def _pickled(folder):
    np.save(folder / "x.npy", np.array([{}], dtype=object))
    read_table(folder / "x.npy", "rows")


def _row_names_of_an_array(folder):
    np.save(folder / "x.npy", WHOLE)
    load_table(folder / "x.npy", row_names="id")


def _broken_gzip(folder):
    data = gzip.compress(FRAME.to_csv(index=False).encode())
    (folder / "x.csv.gz").write_bytes(data[: len(data) // 2])
    read_table(folder / "x.csv.gz", "rows")


def _no_gzip(folder):
    FRAME.to_csv(folder / "x.csv.gz", index=False, compression=None)
    read_table(folder / "x.csv.gz", "rows")


def _compressed_without_saying(folder):
    (folder / "x.csv").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    read_table(folder / "x.csv", "rows")


def _unreadable(name):
    def read(folder):
        (folder / name).write_text("nothing")
        read_table(folder / name, "rows")

    return read


def _fifo(folder):
    os.mkfifo(folder / "x.csv")
    read_table(folder / "x.csv", "rows")


def _centres(folder):
    with patch.object(stored, "LARGE", 0), patch("shapae.tables.background.LARGEST_CLUSTERED", 100):
        kmeans(_writes("x.parquet", folder), 2)


def _sampled(folder):
    for kind in KINDS:
        with patch.object(stored, "LARGE", 0):
            got = sample(_writes(kind, folder), 9).rows.dense(slice(None))
        np.testing.assert_array_equal(got, sample(FRAME, 9).rows.values)


def _remove_chunk(path):
    (path / "c" / "3" / "0").unlink()


CHANGED = "has changed since it was opened|can't read rows 0 to 40"
FAULTS = [
    *(
        Fault("table files", kind, _text(content), says, "refused, with line and column")
        for kind, (content, says) in TEXT.items()
    ),
    *(Fault("table files", kind, check, None, "read, with its names") for kind, check in READS.items()),
    Fault("table files", "100,000 columns", _wide, None, "read, with its names"),
    *(
        Fault("table files", f"a first column {name} that numbers the rows", _warns(text), None, "a warning says how")
        for name, text in {
            "n": "n,a,b\n0,1,2\n1,3,4\n2,5,6\n",
            "id": "id,a,b\n10,1,2\n20,3,4\n35,5,6\n",
            "Unnamed: 0": "Unnamed: 0,a,b\n4,1,2\n5,3,4\n9,5,6\n",
        }.items()
    ),
    Fault(
        "table files", "unknown row names", _text("a,b\n1,2\n", row_names="id"), "no column is called 'id'", "refused"
    ),
    Fault("table files", "row names of an array", _row_names_of_an_array, "has no column of row names", "refused"),
    *(
        Fault("table files", f"{kind[2:]} is {what} while it is read", _large(kind, damage), CHANGED, "refused")
        for kind in KINDS
        for what, damage in {"cut": _cut, "replaced": _replace, "removed": _remove}.items()
        if (kind, what) != ("x.zarr", "cut")
    ),
    Fault("table files", "a chunk is removed while it is read", _large("x.zarr", _remove_chunk), CHANGED, "no zeros"),
    *(
        Fault("table files", f"{kind[2:]} was cut", _opens(kind, _cut), "can't read (the table|rows)", "refused")
        for kind in KINDS
    ),
    *(
        Fault(
            "table files",
            f"{kind} in {'a large' if large else 'a'} Parquet",
            _holds(frame, large=large),
            says,
            "refused",
        )
        for kind, (frame, says) in PARQUET.items()
        for large in (False, True)
    ),
    Fault("table files", "parts of a folder by their numbers", _in_order, None, "part.2 comes before part.10"),
    Fault(
        "table files",
        "parts of other columns",
        _folder(["1.parquet", "2.parquet"], [FRAME, FRAME[NAMES[::-1]]]),
        r"must have the same columns, .* those of file 2\.parquet differ from 1\.parquet",
        "refused",
    ),
    Fault("table files", "a folder without parts", _empty_folder, r"no \.parquet files in the folder", "refused"),
    Fault("table files", "a folder of folders", _divided, "divided into folder year=2024", "refused"),
    Fault("table files", "a group of Zarr", _group, r"a group of array scores\. Choose one array", "refused"),
    Fault("table files", "an array of Zarr with three axes", _axes, r"got shape \(40, 3, 2\)", "refused"),
    Fault("table files", "an array of pickles", _pickled, "Python objects", "refused; no code is run"),
    Fault("table files", "a .gz that was cut", _broken_gzip, "can't read the table in .*ended before", "refused"),
    Fault("table files", "a .gz that is none", _no_gzip, "can't read the table in .*[Nn]ot a gzipped file", "refused"),
    Fault("table files", "a .csv that is a .gz", _compressed_without_saying, "bytes of 0|Save it as UTF-8", "refused"),
    *(
        Fault("table files", f"text that is called {name}", _unreadable(name), "can't read the table in", "refused")
        for name in ("x.parquet", "x.h5ad", "x.npy", "x.zarr")
    ),
    Fault("table files", "a fifo", _fifo, "is no file", "refused, without waiting for ever"),
    Fault("table files", "centres of a table larger than memory", _centres, r"background\.sample", "refused"),
    Fault("table files", "a sample of a table larger than memory", _sampled, None, "the rows of the table in memory"),
]
