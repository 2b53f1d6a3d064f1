"""Kills of a worker and of the main process at random moments: the same bits, and no block is computed twice."""

import json
import os
import signal
import time

import pytest

from shapae import Explainer
from shapae.explainer.written import write
from tests import cases
from tests.explainer.written.killed import Disturbed, in_place


def test_kills_lose_nothing(tmp_path):
    """The engines have ten kills each in tests/distributed, which take minutes."""
    work = Disturbed(tmp_path, "loky")
    work.run(["worker", "main"], seed=7)
    work.check()


class Mortal(cases.Question):
    """Ends its worker at a row of 99, once, when two blocks after it are in place."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.note, self.main = folder / "blocks", folder / "note", os.getpid()

    def forward(self, rows):
        if os.getpid() != self.main and not self.note.exists() and (rows == 99).any():
            while len(found := in_place(self.folder)) < 2:
                time.sleep(0.01)
            self.note.write_text(json.dumps(found))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(rows)


@pytest.fixture
def _six_blocks(monkeypatch):
    monkeypatch.setattr(write, "MIN_ROWS", 1)
    monkeypatch.setattr(write, "MIN_BLOCKS", 6)


@pytest.mark.usefixtures("_six_blocks")
def test_blocks_in_place_after_a_lost_one_are_not_computed_again(tmp_path):
    rows = cases.table(12)
    rows[0, 0] = 99
    Explainer(cases.build(Mortal, tmp_path), cases.table(7), n_jobs=2).write(rows, tmp_path / "blocks")
    before, found = json.loads((tmp_path / "note").read_text()), in_place(tmp_path / "blocks")
    assert len(found) == 6
    assert {name: list(found[name]) for name in before} == before
