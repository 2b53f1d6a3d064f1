"""Work that writes blocks until it is killed: ``python -m tests.explainer.written.killed FOLDER ENGINE``."""

import os
import random
import re
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import psutil

import shapae
from shapae.explainer.written import write
from shapae.utils.resumable import RECORDS
from tests import cases
from tests.distributed.engines import ENGINES

ROOT = Path(__file__).parents[3]
ROWS, BLOCKS, D = 192, 48, 40
# Blocks at the end that are not waited for: they may all be there before the next look.
LAST = 8
# Seconds without a new block or a worker after which the work counts as hung, and those that a process takes to end.
# Workers of Ray whose driver was killed look for their cluster for a minute before they end.
HUNG, END = 120, 120
# Workers of loky, dask and ray, and none of their helpers.
WORKER = re.compile(r"loky.backend.popen_loky|multiprocessing.spawn.*spawn_main|^ray::(IDLE|run_pickled)")


def explain(**settings):
    """The work: 48 blocks, each of which takes some hundredths of a second."""
    return shapae.Explainer(cases.build(cases.Question, D), cases.table(20, D), backend="coalitions", **settings)


def rows():
    return cases.table(ROWS, D, seed=3)


@cache
def undisturbed():
    return explain(n_jobs=1)(rows())


def main(folder: str, engine: str) -> None:
    write.MIN_ROWS, write.MIN_BLOCKS = 1, BLOCKS
    with ENGINES[engine]():
        explain(n_jobs={"none": 1, "loky": 2}.get(engine)).write(rows(), folder)


def in_place(folder: Path) -> dict[str, tuple[int, int]]:
    """By the names of finished blocks: numbers of their files that change when they are written again."""
    files = {path.stem: path for path in (folder / RECORDS).glob("*.json")}
    stats = {name: (path.stat(), (folder / f"{name}.parquet").stat()) for name, path in files.items()}
    return {name: (one.st_ino, other.st_ino) for name, (one, other) in stats.items()}


class Disturbed:
    """Work that is killed at random moments, and started again where the main process was killed.

    Attributes:
        folder: Folder of the blocks.
        kills: For each kill, the blocks that were in place before it.
        processes: All processes that were seen.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder, self.engine, self.log = folder / "blocks", engine, folder / "log"
        self.kills, self.processes = list[dict[str, tuple[int, int]]](), set[psutil.Process]()

    def run(self, victims: Sequence[str], seed: int) -> None:
        """Kill one after the other, "main" or a "worker", and wait until all blocks are there."""
        drawn = random.Random(seed)
        main = self._start()
        moments = sorted(drawn.sample(range(1, BLOCKS - LAST), len(victims)))
        for victim, moment in zip(victims, moments, strict=True):
            since_last = len(self.kills[-1]) + 1 if self.kills else 0  # so that a worker has started again
            workers = self._wait_for(max(moment, since_last), main, workers=victim == "worker")
            time.sleep(drawn.random() / 20)
            self.kills.append(in_place(self.folder))
            if victim == "worker":
                self._choose(workers, drawn).kill()
            else:
                main.kill()
                main.wait(END)
                main = self._start()
        assert main.wait(HUNG) == 0, self.log.read_text()

    def _choose(self, workers: list[psutil.Process], drawn: random.Random) -> psutil.Process:
        """Choose a worker; of Dask the oldest one: its nannies give up a worker that is killed while it starts."""
        return min(workers, key=psutil.Process.create_time) if self.engine == "dask" else drawn.choice(workers)

    def _start(self) -> psutil.Popen:
        command = [sys.executable, "-W", "ignore", "-m", "tests.explainer.written.killed", self.folder, self.engine]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("w") as log:
            return psutil.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def _wait_for(self, count: int, main: psutil.Popen, *, workers: bool) -> list[psutil.Process]:
        """Wait until some blocks are finished, and there are workers if they are asked for; these are returned."""
        deadline = time.monotonic() + HUNG
        while True:
            assert main.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "no new block: it hangs"
            if len(in_place(self.folder)) >= count:
                found = [main, *main.children(recursive=True)]
                self.processes.update(found)
                found = [each for each in found[1:] if is_worker(each)]
                if found or not workers:
                    return found
            time.sleep(0.02)

    def check(self) -> None:
        """Check that the blocks are those of undisturbed work, none was computed twice, and nothing is left."""
        found = in_place(self.folder)
        assert len(found) == BLOCKS
        for before in self.kills:
            assert {name: found[name] for name in before} == before
        assert [*self.folder.rglob(".*")] == []
        got, want = shapae.read(self.folder).explanation(), undisturbed()
        np.testing.assert_array_equal(got.values, want.values)
        np.testing.assert_array_equal(got.standard_errors, want.standard_errors)
        _, alive = psutil.wait_procs(self.processes, END)
        assert alive == [], [each.cmdline() for each in alive]
        shared = [path for each in self.processes for path in Path("/dev/shm").glob(f"*[-_]{each.pid}[-_]*")]
        assert shared == []


def is_worker(process: psutil.Process) -> bool:
    try:
        return bool(WORKER.search(" ".join(process.cmdline())))
    except psutil.Error:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
