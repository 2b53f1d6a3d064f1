"""Kills of a worker and of the main process at random moments: the same bits, and no block is computed twice."""

from tests.explainer.written.killed import Disturbed


def test_kills_lose_nothing(tmp_path):
    """The engines have ten kills each in tests/distributed, which take minutes."""
    work = Disturbed(tmp_path, "loky")
    work.run(["worker", "main"], seed=7)
    work.check()
