"""Folders of blocks that others have touched, moved, or begun; and what is asked of them wrongly."""

import numpy as np
import pytest

import shapae
from shapae.errors import DataError, WrongIndex
from shapae.explainer.written import blocks
from tests.explainer.written.test_write import X, _small_blocks, check_equal, explainer  # noqa: F401


def test_messages_read_the_list_of_blocks_once(tmp_path, monkeypatch):
    written = explainer().write(X, tmp_path)
    listed, real = [], blocks.finished_blocks
    monkeypatch.setattr(blocks, "finished_blocks", lambda folder: listed.append(folder) or real(folder))
    assert written.messages == {}
    assert len(listed) == 1


def test_a_relative_folder_is_found_from_another_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explainer().write(X, "out")
    written = shapae.read("out")
    monkeypatch.chdir("/")
    check_equal(written.explanation(), explainer()(X))


@pytest.mark.parametrize("number", [6, -7])
def test_there_is_no_such_block(number, tmp_path):
    with pytest.raises(WrongIndex, match=rf"there is no block {number}: the blocks have the numbers 0 to 5\."):
        explainer().write(X, tmp_path)[number]


@pytest.mark.parametrize("number", [slice(0, 2), "block-000000", 1.5])
def test_the_number_of_a_block_is_an_integer(number, tmp_path):
    with pytest.raises(DataError, match="number must be an integer, got"):
        explainer().write(X, tmp_path)[number]


def test_arrays_that_others_added_to_a_zarr_group_do_no_harm(tmp_path):
    zarr = pytest.importorskip("zarr")
    written = explainer().write(X, tmp_path, format="zarr")
    group = zarr.open_group(tmp_path / "explanation.zarr")
    group.create_array("notes", data=np.zeros(3))
    group.create_array("threshold", data=np.float64(1))
    check_equal(written.explanation(), explainer()(X))
