"""Names in folders of blocks: one type for all blocks, whatever they are; or refused before the work."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import shapae
from shapae.errors import DataError
from tests import cases
from tests.explainer.written.test_write import BACKGROUND, X, _small_blocks, explainer  # noqa: F401


@pytest.mark.parametrize(
    "names",
    [
        [*range(22), "z"],
        [*range(22), 0.5],
        [2**70, *range(22)],
        [2**63 + 1, *range(22)],
        [*[0.5] * 22, np.nan],
        [*[None] * 22, "z"],
        [*["a"] * 22, "b" * 1000],
        [True] * 23,
        [*range(5, 28)],
    ],
    ids=lambda names: f"{names[0]} {names[-1]}"[:20],
)
def test_names_of_rows_are_one_column_of_all_blocks(names, tmp_path):
    rows = X.set_axis(pd.Index(names, dtype=object))
    written = explainer().write(rows, tmp_path)
    table = pd.read_parquet(tmp_path)
    assert len(pl.read_parquet(tmp_path / "*.parquet")) == len(X)
    assert [*map(str, table["row"])] == [*map(str, names)]
    assert [*map(str, written.explanation().row_names)] == [*map(str, pd.Index(names))]


@pytest.mark.parametrize("format", ["parquet", "zarr"])
def test_names_that_no_file_can_hold_are_refused_before_the_work(format, tmp_path):
    name = "\ud800"
    with pytest.raises(DataError, match=r"the name '\\ud800' among those of the rows can't be written"):
        explainer().write(X.set_axis([*X.index[1:], name]), tmp_path / "rows", format=format)
    names = [*X.columns[1:], name]
    explain = shapae.Explainer(cases.build(cases.Question), BACKGROUND.set_axis(names, axis=1))
    with pytest.raises(DataError, match=r"the name '\\ud800' among those of the features can't be written"):
        explain.write(X.set_axis(names, axis=1), tmp_path / "features", format=format)
    assert [*tmp_path.iterdir()] == []
