"""Output folders that are written completely or not at all."""

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
def test_a_folder_appears_when_all_files_are_written(tmp_path, place):
    (tmp_path / "empty").mkdir()
    folder = tmp_path / place
    with atomic_directory(folder) as fresh:
        (fresh / "a.txt").write_text("new")
        assert not folder.exists() or contents(folder) == {}
    assert contents(folder) == {"a.txt": "new"}
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_an_earlier_result_is_replaced_completely(tmp_path):
    write(tmp_path / "out", "old", replaces=["a.txt", "b.txt"])
    (tmp_path / "out" / "b.txt").write_text("old")
    write(tmp_path / "out", replaces=["a.txt", "b.txt"])
    assert contents(tmp_path) == {"out": False, "out/a.txt": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_error_leaves_no_files(tmp_path, error, earlier):
    if earlier:
        write(tmp_path / "out", "old")
    before = contents(tmp_path)
    with pytest.raises(error):
        write_half(tmp_path / "out", error)
    assert contents(tmp_path) == before


def test_the_working_directory_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="is the working directory, which can't be replaced. Give a folder inside it"):
        write(Path("."))


def test_files_of_somebody_else_are_not_replaced(tmp_path):
    for name in ("a.txt", "thesis.tex", "z.txt"):
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"already exists and holds thesis\.tex, z\.txt\. Give a new or empty"):
        write(tmp_path, replaces=["a.txt"])
    with pytest.raises(OutputError, match=r"thesis\.tex is a file\. Give a new or empty folder"):
        write(tmp_path / "thesis.tex")
    assert contents(tmp_path) == before


def test_neighbouring_folders_are_left_alone(tmp_path):
    (tmp_path / "other").mkdir()
    write(tmp_path / "out")
    assert contents(tmp_path) == {"other": False, "out": False, "out/a.txt": "new"}
