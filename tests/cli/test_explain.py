"""Folders of ``shapae explain``."""

import pytest
from typer.testing import CliRunner

from shapae.cli.commands import app
from shapae.errors import OutputError


@pytest.mark.parametrize(
    ("chunks", "out"),
    [("out", "out"), ("out/chunks", "out"), ("chunks", "chunks/out"), ("link", "out"), ("./a/..", "b")],
)
def test_chunks_and_results_are_apart_before_anything_is_read(chunks, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("out")
    options = "--model none:make --weights none --data none.csv"
    done = CliRunner().invoke(app, f"explain {options} --chunks {chunks} --out {out}".split())
    assert isinstance(done.exception, OutputError)
    assert "must be two folders, neither inside the other" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
