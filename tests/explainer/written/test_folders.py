"""Folders of blocks that others have touched, moved, or begun; and what is asked of them wrongly."""

from pathlib import Path

import numpy as np
import pytest
import torch

import shapae
from shapae.errors import DataError, ModelError, OutputError, TooLarge, WrongIndex
from shapae.explainer.written import blocks, write
from shapae.utils import resumable
from tests import cases
from tests.explainer.written.test_write import (  # noqa: F401
    BACKGROUND,
    Half,
    X,
    _small_blocks,
    check_equal,
    explainer,
    in_place,
)


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


def test_a_folder_that_was_begun_by_a_killed_process_is_taken(tmp_path):
    (tmp_path / resumable.RECORDS).mkdir()
    (tmp_path / f".{resumable.gethostname()}-4194305-x").mkdir()
    check_equal(explainer().write(X, tmp_path).explanation(), explainer()(X))
    assert [*tmp_path.glob(".*")] == []


def test_records_without_a_manifest_are_refused_and_stay(tmp_path):
    explainer().write(X, tmp_path)
    (tmp_path / resumable.MANIFEST).unlink()
    before = in_place(tmp_path)
    with pytest.raises(OutputError, match="holds other files"):
        explainer().write(X, tmp_path)
    assert in_place(tmp_path) == before


def test_another_process_that_begins_at_the_same_time_is_joined(tmp_path, monkeypatch):
    real = Path.mkdir

    def slow(path, *arguments, **settings):
        monkeypatch.setattr(Path, "mkdir", real)
        explainer().write(X, path)
        real(path, *arguments, **settings)

    monkeypatch.setattr(Path, "mkdir", slow)
    check_equal(explainer().write(X, tmp_path / "out").explanation(), explainer()(X))


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "a\ud800"])
def test_a_name_that_no_folder_can_have_is_refused(name, tmp_path):
    with pytest.raises(OutputError, match="can't write to the folder"):
        explainer().write(X, tmp_path / name)


@pytest.mark.parametrize(("change", "same"), [(1e-10, True), (1e-5, False)])
def test_scores_may_differ_by_rounding_alone(change, same, tmp_path):
    """Another machine rounds scores in another way, also those next to a number of fewer digits, or next to 0."""
    explainer(head=Half(0.5)).write(X, tmp_path)
    again = explainer(head=Half(0.5 * (1 + change)))
    if same:
        assert again.write(X, tmp_path).missing == []
    else:
        with pytest.raises(OutputError, match="scores of some rows differs"):
            again.write(X, tmp_path)


def test_work_continues_with_as_many_workers_as_hold_a_block(tmp_path, monkeypatch):
    asked, real = [], write.parallel_map
    monkeypatch.setattr(write, "parallel_map", lambda *a, n_jobs, **s: asked.append(n_jobs) or real(*a, n_jobs=1, **s))
    height = explainer().write(X, tmp_path)[0].shape[0]
    monkeypatch.setattr(write, "LARGEST_SHARE", 3.5 * height * cases.D * 8 / 1e6)
    (tmp_path / "block-000000.parquet").unlink()
    check_equal(explainer(n_jobs=64, memory=1e6).write(X, tmp_path).explanation(), explainer()(X), rtol=1e-13)
    assert asked == [None, 3]


def test_a_memory_that_holds_no_block_of_earlier_work_is_refused_with_the_one_that_does(tmp_path):
    explainer().write(X, tmp_path)
    with pytest.raises(TooLarge, match=r"blocks of this folder have 4 rows, .*Continue with memory='3\.072 kB'"):
        explainer(memory="3kB").write(X, tmp_path)


def test_blocks_of_few_groups_of_many_features_fit_the_memory(tmp_path):
    wide = cases.table(200, 400)
    explain = shapae.Explainer(
        cases.build(cases.Question, 400), wide[:3], groups={"all": [f"feature {at}" for at in range(400)]}, memory="3MB"
    )
    assert wide[: len(explain.write(wide, tmp_path)[0].scores)].nbytes <= 3e6 * write.SHARE


class Log(cases.Question):
    """A model without scores for large rows."""

    def forward(self, rows):
        return super().forward(torch.log(11 - rows))


def test_a_row_without_scores_is_found_in_the_whole_table(tmp_path):
    rows = X.copy()
    rows.iloc[14] = 20.0
    with pytest.raises(ModelError, match=r"first for row 2\..* Here row 0 is row 12 of the whole table\."):
        shapae.Explainer(cases.build(Log), BACKGROUND).write(rows, tmp_path)
