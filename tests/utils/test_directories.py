"""Output folders and files that are written completely or not at all."""

import os
import stat
from pathlib import Path

import pytest

from shapae.errors import OutputError
from shapae.utils.directories import atomic_directory, atomic_file


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


def write_file(path, text="first: new", **settings):
    with atomic_file(path, **settings) as fresh:
        fresh.write_text(text)


def write_half_a_file(path, error):
    with atomic_file(path, replaces="first") as fresh:
        fresh.write_text("half")
        raise error


@pytest.mark.parametrize("place", ["new.txt", "deep/down/new.txt"])
def test_a_file_appears_when_it_is_written(tmp_path, place):
    with atomic_file(tmp_path / place) as fresh:
        fresh.write_text("new")
        assert fresh.name == "new.txt"
        assert not (tmp_path / place).exists()
    assert (tmp_path / place).read_text() == "new"
    assert [path.name for path in (tmp_path / place).parent.iterdir()] == ["new.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_earlier_file(tmp_path, error):
    write_file(tmp_path / "a.txt", "first: old")
    with pytest.raises(error):
        write_half_a_file(tmp_path / "a.txt", error)
    assert contents(tmp_path) == {"a.txt": "first: old"}


def test_a_file_is_replaced_only_if_it_begins_as_it_should(tmp_path):
    write_file(tmp_path / "a.txt", "first: old")
    with pytest.raises(OutputError, match=r"a\.txt already exists\. Give a new file"):
        write_file(tmp_path / "a.txt")
    write_file(tmp_path / "a.txt", replaces="first")
    (tmp_path / "b.txt").write_text("years of work, first")
    with pytest.raises(OutputError, match=r"b\.txt already exists and holds something else\. Give a new file"):
        write_file(tmp_path / "b.txt", replaces="first")
    with pytest.raises(OutputError, match=r"is a folder\. Give the name of a file"):
        write_file(tmp_path, replaces="")
    assert contents(tmp_path) == {"a.txt": "first: new", "b.txt": "years of work, first"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path):
    """Reading a pipe, or a device, would wait for ever."""
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(OutputError, match=r"pipe\.txt already exists and holds something else"):
        write_file(tmp_path / "pipe.txt", replaces="first")
    assert stat.S_ISFIFO((tmp_path / "pipe.txt").stat().st_mode)


def test_a_link_of_the_user_stays_and_its_target_is_written(tmp_path):
    for name, target in {"link": tmp_path / "elsewhere", "dangling": tmp_path / "later"}.items():
        (tmp_path / name).symlink_to(target)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "old.txt").write_text("old")
    for name, target in {"link": "elsewhere", "dangling": "later"}.items():
        with atomic_directory(tmp_path / name, replaces=["old.txt"]) as fresh:
            (fresh / "new.txt").write_text("new")
        assert (tmp_path / name).is_symlink()
        assert [path.name for path in (tmp_path / target).iterdir()] == ["new.txt"]
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere" / "new.txt")
    with atomic_file(tmp_path / "file", replaces="new") as path:
        path.write_text("newer")
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "elsewhere" / "new.txt").read_text() == "newer"


@pytest.mark.parametrize("make", [atomic_directory, atomic_file])
def test_a_place_that_can_not_be_written_is_named(make, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="can't write to the folder .*file"), make(tmp_path / "file" / "in"):
        pass
    with pytest.raises(OutputError, match="can't write to the folder /proc"), make(Path("/proc/nowhere/in")):
        pass
