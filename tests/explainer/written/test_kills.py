"""Kills of the main process and of its workers at random moments: the same bits, and no block is computed twice."""

import numpy as np
import pytest

import shapae
from tests.explainer.written.killed import BLOCKS, disturb, explain, in_place, rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        from shapae.explainer.written import write

        patch.setattr(write, "MIN_ROWS", 1)  # the work sets them
        patch.setattr(write, "MIN_BLOCKS", BLOCKS)
        return explain().write(rows(), folder).explanation()


@pytest.mark.parametrize(("engine", "workers"), [("none", False), ("loky", False), ("loky", True)])
def test_kills_lose_nothing(engine, workers, undisturbed, tmp_path):
    kills = [*disturb(tmp_path, engine, kills=3, workers=workers, seed=7)]
    found = in_place(tmp_path)
    assert len(found) == BLOCKS
    for before in kills:
        assert {name: found[name] for name in before} == before
    assert [*tmp_path.rglob(".*")] == []
    got = shapae.read(tmp_path).explanation()
    np.testing.assert_array_equal(got.values, undisturbed.values)
    np.testing.assert_array_equal(got.standard_errors, undisturbed.standard_errors)
