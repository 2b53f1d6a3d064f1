"""Folders of finished blocks that can't be written or deleted."""

import errno
from pathlib import Path

import numpy as np
import pytest

from shapae.errors import OutputError
from shapae.utils import resumable
from shapae.utils.atomic import place_first
from shapae.utils.resumable import Resumable


def refuse(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_reported_and_the_finished_blocks_stay(tmp_path, monkeypatch):
    store = Resumable(tmp_path / "work", {}, {})
    store.save("one", {"values": np.arange(3)})
    with monkeypatch.context() as patch:
        patch.setattr(resumable, "save_file", refuse)
        with pytest.raises(OutputError, match=r"can't write a block .* No space left on device\. The finished"):
            store.save("two", {"values": np.arange(3)})
    again = Resumable(tmp_path / "work", {}, {})
    np.testing.assert_array_equal(again.load("one")["values"], np.arange(3))
    assert again.load("two") is None


def test_blocks_that_can_not_be_deleted_do_not_stop_the_work(tmp_path, monkeypatch):
    store = Resumable(tmp_path / "work", {}, {})
    store.save("one", {"values": np.arange(3)})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        store.finish()
    assert store.load("one") is not None
    store.finish()
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("links", [True, False])
def test_of_two_processes_that_begin_a_folder_both_have_the_plan_of_the_first(links, tmp_path, monkeypatch):
    """The other one has looked for a manifest, and writes its own, when the first one puts its manifest in place."""
    write, plans = resumable.write_record, []

    def interrupted(path, record, **settings):
        if not plans:
            plans.append({})
            plans[0] = Resumable(tmp_path / "work", {}, {"height": 7}).plan
        write(path, record, **settings)

    monkeypatch.setattr(resumable, "write_record", interrupted)
    if not links:
        monkeypatch.setattr(resumable.os, "link", refuse)
    second = Resumable(tmp_path / "work", {}, {"height": 5})
    assert plans == [second.plan] == [{"height": 7}]
    assert Resumable(tmp_path / "work", {}, {"height": 3}).plan == {"height": 7}


def test_a_file_that_another_process_put_there_a_moment_ago_stays(tmp_path, monkeypatch):
    (tmp_path / "there").write_text("first")
    (tmp_path / "fresh").write_text("second")
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as it was when this process looked
    place_first(tmp_path / "fresh", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "first"


@pytest.mark.parametrize("content", ["{}", "[]", "", '{"sha256": 3}'])
def test_a_damaged_record_is_that_of_a_block_to_compute_again(content, tmp_path):
    store = Resumable(tmp_path / "work", {}, {})
    store.save("one", {"values": np.arange(3)})
    (tmp_path / "work" / "_blocks" / "one.json").write_text(content)
    assert store.load("one") is None
    assert not store.is_finished("one")
    with pytest.raises(OutputError, match="the record of block one of .* is damaged"):
        resumable.read_facts(tmp_path / "work", "one")
    store.finish()  # the work is done, whatever is left of its blocks


@pytest.mark.parametrize("absolute", [False, True])
def test_a_record_that_names_files_of_other_folders_deletes_none(absolute, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("of the user")
    store = Resumable(tmp_path / "work", {}, {})
    name = str(mine) if absolute else "../mine.txt"
    record = {"sha256": {name: resumable.checksum_of(mine)}}
    resumable.write_record(tmp_path / "work" / "_blocks" / "one.json", record, format=resumable.FORMAT, files=())
    assert not store.is_finished("one")
    store.finish()
    assert mine.read_text() == "of the user"


def test_files_of_others_stay_when_the_work_is_done(tmp_path):
    store = Resumable(tmp_path / "work", {}, {})
    store.save("one", {"values": np.arange(3)})
    (tmp_path / "work" / "weights.safetensors").write_bytes(b"of the user")
    store.finish()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["weights.safetensors"]
