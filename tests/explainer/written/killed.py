"""Work of a process that writes blocks until it is killed: ``python -m tests.explainer.written.killed FOLDER``."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from shapae.utils.resumable import RECORDS
from tests import cases

ROOT = Path(__file__).parents[3]
ROWS, BLOCKS, D = 480, 48, 40
# Seconds without a new block after which the work counts as hung.
HUNG = 120


def explain(**settings):
    """The work: 48 blocks, each of which takes some hundredths of a second."""
    from shapae import Explainer
    from shapae.explainer.written import write

    write.MIN_ROWS, write.MIN_BLOCKS = 1, BLOCKS
    return Explainer(cases.build(cases.Question, D), cases.table(20, D), backend="coalitions", **settings)


def rows():
    return cases.table(ROWS, D, seed=3)


def in_place(folder: Path) -> dict[str, tuple[int, int]]:
    """By the names of finished blocks: what changes when they are written again."""
    files = {path.stem: path for path in (folder / RECORDS).glob("*.json")}
    stats = {name: (path.stat(), (folder / f"{name}.parquet").stat()) for name, path in files.items()}
    return {name: (one.st_ino, other.st_ino) for name, (one, other) in stats.items()}


def run(folder: Path, engine: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.explainer.written.killed", str(folder), engine]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until some blocks are finished, or all are."""
    deadline = time.monotonic() + HUNG
    while process.poll() is None and len(in_place(folder)) < count:
        assert time.monotonic() < deadline, "no new block: it hangs"
        time.sleep(0.005)


def disturb(folder: Path, engine: str, *, kills: int, workers: bool, seed: int) -> Iterator[dict[str, tuple[int, int]]]:
    """Kill the main process, or one of its workers, at random moments, until all blocks are there.

    Yields:
        The blocks that were in place at each kill.
    """
    drawn = random.Random(seed)
    moments = sorted(drawn.sample(range(BLOCKS - 1), kills))
    process = run(folder, engine)
    for moment in moments:
        wait_for(folder, moment, process)
        time.sleep(drawn.random() / 20)
        yield in_place(folder)
        if not workers:
            process.kill()
            process.communicate()
            process = run(folder, engine)
        elif found := [each for each in psutil.Process(process.pid).children(recursive=True) if is_worker(each)]:
            drawn.choice(found).send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=HUNG)
    assert process.returncode == 0, said


def is_worker(process: psutil.Process) -> bool:
    """Tell workers of loky, dask and ray from their helpers."""
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return (
        any(name in line for name in ("loky", "spawn_main", "ray::", "default_worker"))
        and "resource_tracker" not in line
    )


def main(folder: str, engine: str) -> None:
    explain(n_jobs=1 if engine == "none" else 2).write(rows(), folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
