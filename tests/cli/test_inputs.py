"""Tables that the commands read: names of rows by option."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from shapae import Explanation
from shapae.cli.commands import app
from shapae.cli.inputs import load_background, read_rows
from shapae.errors import UnknownName

IDS = ["007", "08", "x", "NA", "7"]
TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(5, 4)), columns=list("abcd"))


@pytest.fixture
def folder(tmp_path):
    TABLE.assign(id=IDS)[["a", "id", "b", "c", "d"]].to_csv(tmp_path / "X.csv", index=False)
    TABLE.assign(id=IDS).to_parquet(tmp_path / "X.parquet")
    return tmp_path


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_names_the_rows_of_the_data_and_of_the_background(folder, ending):
    path = folder / f"X.{ending}"
    rows = read_rows(path, "id")
    assert (rows.names, [*rows.row_names]) == (list("abcd"), IDS)
    np.testing.assert_array_equal(rows.values, TABLE)
    assert load_background(str(path), rows, 0, "id").rows.names == list("abcd")
    with pytest.raises(UnknownName, match="no column is called 'name'"):
        read_rows(path, "name")


def test_an_explanation_of_the_command_has_the_row_names_of_the_option(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    (folder / "named_rows.py").write_text("from torch import nn\n\ndef make():\n    return nn.Linear(4, 4)\n")
    import named_rows
    import torch

    torch.save(named_rows.make().state_dict(), folder / "weights.pt")
    command = (
        "explain --model named_rows:make --weights weights.pt --data X.csv --background 3 --out out --row-names id"
    )
    done = CliRunner().invoke(app, command.split(), catch_exceptions=False)
    assert done.exit_code == 0
    assert [*Explanation.load(folder / "out" / "explanation").row_names] == IDS
