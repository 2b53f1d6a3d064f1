"""Folders that are written whole or not at all."""

from pathlib import Path

import pytest

from shapae.errors import OutputError
from shapae.utils.directories import atomic_directory


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.is_file() and path.read_text() for path in folder.rglob("*")}


def write(folder, text="new", **settings):
    with atomic_directory(folder, **settings) as fresh:
        (fresh / "a.txt").write_text(text)


def write_half(folder, error):
    with atomic_directory(folder, replaces=["a.txt"]) as fresh:
        (fresh / "a.txt").write_text("half")
        raise error


@pytest.mark.parametrize("place", ["new", "deep/down/new", "empty"])
def test_a_folder_is_there_when_all_is_written(tmp_path, place):
    (tmp_path / "empty").mkdir()
    folder = tmp_path / place
    with atomic_directory(folder) as fresh:
        (fresh / "a.txt").write_text("new")
        assert not folder.exists() or contents(folder) == {}
    assert contents(folder) == {"a.txt": "new"}
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_an_earlier_result_is_replaced_whole(tmp_path):
    write(tmp_path / "out", "old", replaces=["a.txt", "b.txt"])
    (tmp_path / "out" / "b.txt").write_text("old")
    write(tmp_path / "out", replaces=["a.txt", "b.txt"])
    assert contents(tmp_path) == {"out": False, "out/a.txt": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("earlier", [False, True])
def test_nothing_is_left_of_what_failed(tmp_path, error, earlier):
    if earlier:
        write(tmp_path / "out", "old")
    before = contents(tmp_path)
    with pytest.raises(error):
        write_half(tmp_path / "out", error)
    assert contents(tmp_path) == before


def test_the_folder_that_this_runs_in_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="is the folder that this runs in, which can't be replaced; give one inside"):
        write(Path("."))


def test_what_somebody_else_wrote_is_not_replaced(tmp_path):
    for name in ("a.txt", "thesis.tex", "z.txt"):
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"is there already and holds thesis\.tex, z\.txt; give a new or empty"):
        write(tmp_path, replaces=["a.txt"])
    with pytest.raises(OutputError, match=r"thesis\.tex is a file; give a folder that is new or empty"):
        write(tmp_path / "thesis.tex")
    assert contents(tmp_path) == before


def test_other_folders_beside_it_are_left_alone(tmp_path):
    (tmp_path / "other").mkdir()
    write(tmp_path / "out")
    assert contents(tmp_path) == {"other": False, "out": False, "out/a.txt": "new"}
