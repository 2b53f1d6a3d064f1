"""Folders of finished blocks that can't be written or deleted."""

import errno
from pathlib import Path

import numpy as np
import pytest

from shapae.errors import OutputError
from shapae.utils import resumable
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


def test_files_of_others_stay_when_the_work_is_done(tmp_path):
    store = Resumable(tmp_path / "work", {}, {})
    store.save("one", {"values": np.arange(3)})
    (tmp_path / "work" / "weights.safetensors").write_bytes(b"of the user")
    store.finish()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["weights.safetensors"]
