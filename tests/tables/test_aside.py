"""Columns that are no features are kept aside by name, as they stand in the table."""

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest

from shapae.errors import DataError, UnknownName
from shapae.tables.aside import keep_aside
from shapae.tables.files import load_table
from shapae.tables.table import read_table

NUMBERS = pd.DataFrame({"x": [1.5, -2.0, 3.0], "y": [4, 5, 6]})
TIMES = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 02:00"])
IDS = ["007", "12", "A7"]
MIXED = pd.DataFrame({"id": IDS, "x": NUMBERS["x"], "time": TIMES, "y": NUMBERS["y"]})


def check(rest, kept, names):
    np.testing.assert_array_equal(read_table(rest, "rows").values, NUMBERS)
    assert read_table(rest, "rows").names == ["x", "y"]
    assert [*kept.columns] == names
    assert kept.index.equals(pd.RangeIndex(3))


@pytest.mark.parametrize("names", [["id", "time"], ["time", "id"]])
def test_columns_of_a_frame_are_kept_in_the_order_of_their_names(names):
    before = MIXED.copy()
    rest, kept = keep_aside(MIXED, names)
    check(rest, kept, names)
    assert kept["id"].tolist() == IDS
    assert kept["time"].tolist() == [*TIMES]
    pd.testing.assert_frame_equal(MIXED, before)


def test_a_name_may_be_given_alone():
    rest, kept = keep_aside(MIXED.drop(columns="time"), "id")
    check(rest, kept, ["id"])


def test_levels_of_the_index_are_kept_and_the_others_still_name_the_rows():
    rest, kept = keep_aside(MIXED.set_index(["id", "time"]), ["time"])
    check(rest, kept, ["time"])
    assert read_table(rest, "rows").row_names.tolist() == IDS
    rest, kept = keep_aside(MIXED.set_index(["id", "time"]), ["time", "id"])
    check(rest, kept, ["time", "id"])
    assert read_table(rest, "rows").row_names is None


def test_rows_of_a_frame_keep_their_names():
    rest, kept = keep_aside(MIXED.set_axis(["a", "b", "c"]), ["id", "time"])
    check(rest, kept, ["id", "time"])
    assert read_table(rest, "rows").row_names.tolist() == ["a", "b", "c"]


def test_columns_of_polars_are_kept():
    rest, kept = keep_aside(pl.from_pandas(MIXED), ["time", "id"])
    check(rest, kept, ["time", "id"])
    assert kept["id"].tolist() == IDS
    assert pd.to_datetime(kept["time"]).tolist() == [*TIMES]


def test_columns_of_obs_are_kept():
    cells = anndata.AnnData(NUMBERS.to_numpy(), MIXED[["id"]].set_axis(["a", "b", "c"]), pd.DataFrame(index=["x", "y"]))
    rest, kept = keep_aside(cells, ["id"])
    assert rest is cells
    check(rest, kept, ["id"])
    assert kept["id"].tolist() == IDS


@pytest.mark.parametrize("first", ["id", "x"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_columns_of_a_text_file_are_kept_as_they_stand(first, separator, tmp_path):
    """Without them the file could not be read: ids are numbers and text, and some have decimal commas."""
    table = MIXED.assign(id=["007", "12", "A7"], note=["1,5", "", "3.10"])
    columns = ["id", "x", "time", "y", "note"] if first == "id" else ["x", "y", "id", "note", "time"]
    table[columns].to_csv(tmp_path / "new.csv", index=False, sep=separator)
    with pytest.raises(DataError, match="numbers and text|decimal commas"):
        load_table(tmp_path / "new.csv")
    rest, kept = keep_aside(tmp_path / "new.csv", ["id", "time", "note"])
    check(rest, kept, ["id", "time", "note"])
    assert kept["id"].tolist() == IDS
    assert kept["note"].fillna("").tolist() == ["1,5", "", "3.10"]
    assert kept["time"].tolist() == [str(time) for time in TIMES]


@pytest.mark.parametrize("cells", [["007", "012", "100"], ["1.10", "2.0", "3"], ["TRUE", "0", ""], ["1e3", "NaN", "x"]])
def test_cells_that_look_like_numbers_are_kept_as_they_stand(cells, tmp_path):
    NUMBERS.assign(id=cells).to_csv(tmp_path / "new.csv", index=False)
    rest, kept = keep_aside(tmp_path / "new.csv", ["id"])
    check(rest, kept, ["id"])
    assert [cell for cell in kept["id"] if not pd.isna(cell)] == [cell for cell in cells if cell not in ("", "NaN")]


def test_a_first_column_of_text_names_the_rows_unless_it_is_kept_aside(tmp_path):
    MIXED.assign(id=["a", "b", "c"]).to_csv(tmp_path / "new.csv", index=False)
    rest, kept = keep_aside(tmp_path / "new.csv", ["time"])
    check(rest, kept, ["time"])
    assert read_table(rest, "rows").row_names.tolist() == ["a", "b", "c"]
    rest, kept = keep_aside(tmp_path / "new.csv", ["time", "id"])
    check(rest, kept, ["time", "id"])
    assert read_table(rest, "rows").row_names is None


def test_columns_of_parquet_keep_their_types(tmp_path):
    MIXED.to_parquet(tmp_path / "new.parquet")
    rest, kept = keep_aside(tmp_path / "new.parquet", ["time", "id"])
    check(rest, kept, ["time", "id"])
    assert kept["time"].tolist() == [*TIMES]


def test_without_names_the_table_is_unchanged(tmp_path):
    array = NUMBERS.to_numpy()
    assert keep_aside(array, [])[0] is array
    assert keep_aside(tmp_path / "new.csv", [])[0] == tmp_path / "new.csv"


def test_missing_columns_are_refused_unless_they_may_be_missing(tmp_path):
    MIXED.to_csv(tmp_path / "new.csv", index=False)
    for table in (MIXED, pl.from_pandas(MIXED), tmp_path / "new.csv"):
        with pytest.raises(UnknownName, match=r"no column is called 'tme'; there are: time, ") as caught:
            keep_aside(table, ["id", "tme"])
        assert {"id", "x", "y", "time"} < {*str(caught.value).replace(",", "").replace(".", "").split()}
        rest, kept = keep_aside(table, ["time", "tme", "id"], where_present=True)
        check(rest, kept, ["time", "id"])


@pytest.mark.parametrize("table", [NUMBERS.to_numpy(), pl.from_pandas(MIXED).lazy(), [[1.0, 2.0]]])
def test_tables_without_names_in_memory_are_refused(table):
    with pytest.raises(DataError, match="columns can be kept aside by name only in a DataFrame in memory"):
        keep_aside(table, ["id"])


def test_a_column_that_is_named_twice_is_refused():
    with pytest.raises(DataError, match="each column is kept aside once, got id, id"):
        keep_aside(MIXED, ["id", "id"])


def test_a_file_of_nothing_else_is_refused(tmp_path):
    MIXED[["id", "time"]].to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match="has no other columns than those that are kept aside"):
        keep_aside(tmp_path / "new.csv", ["id", "time"])
