"""Ten kills of the main process, and ten of its workers: the same bits, and no block is computed twice."""

import pytest

from tests.explainer.written.killed import Disturbed

PACKAGES = {"dask": "distributed", "ray": "ray", "loky": "joblib"}


# Each start of an engine takes seconds, on a busy machine half a minute.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("victim", ["main", "worker"])
@pytest.mark.parametrize("engine", PACKAGES)
def test_ten_kills_lose_nothing(engine, victim, tmp_path):
    pytest.importorskip(PACKAGES[engine])
    work = Disturbed(tmp_path, engine)
    work.run([victim] * 10, seed=7)
    work.check()
