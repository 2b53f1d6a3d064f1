"""How OpenMP's idle threads wait, on a free machine and beside a busy process: 100 x 1000, b = 100, float32.

``python -m benchmarks.shared_machine [--repeats 2] [--busy 1]``. Threads that wait for each other spin for a while
before they sleep. Each setting is measured in a process of its own, since OpenMP reads its environment when torch is
imported, and beside ``--busy`` processes that do nothing but compute. The table holds medians, and their ratio to the
default setting on the free machine. Other work on the machine falsifies the first column.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import shapae
from benchmarks import save
from benchmarks._timing import clock
from shapae.cli.commands import WAITING
from shapae.cli.demo import GeneAutoencoder

SETTINGS: dict[str, dict[str, str]] = {
    "by default": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
CALLS = 5  # in each process


def median_call() -> float:
    """Measure the median seconds of a call in this process, after a warm-up."""
    torch.manual_seed(0)
    rows = torch.tensor(shapae.datasets.gene_modules(100, 1000).X.to_numpy())
    explainer = shapae.Explainer(GeneAutoencoder(1000).eval(), rows, n_jobs=1, progress=False)
    explainer(rows[:2])
    return statistics.median(clock(lambda: explainer(rows))[0] for _ in range(CALLS))


def measure(setting: dict[str, str]) -> float:
    """Measure a call in a process with this setting, and no other that concerns threads."""
    others = {name: value for name, value in os.environ.items() if name not in (*WAITING, "OMP_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.shared_machine", "--one"]
    return float(subprocess.run(command, env=others | setting, capture_output=True, check=True, text=True).stdout)


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Keep some processes busy meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        time.sleep(0.1)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Print the table and write ``results/shared_machine.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--one", action="store_true", help="measure in this process, and print the seconds")
    options = parser.parse_args()
    if options.one:
        print(median_call())
        return
    load, columns = os.getloadavg()[0], {"free machine": 0, "beside a busy process": options.busy}
    seconds: dict[str, dict[str, list[float]]] = {name: {column: [] for column in columns} for name in SETTINGS}
    for _ in range(options.repeats):
        for column, busy in columns.items():
            with neighbours(busy):
                for name, setting in SETTINGS.items():
                    seconds[name][column].append(measure(setting))
    first = statistics.median(seconds["by default"]["free machine"])
    print(f"| {os.cpu_count()} cores | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, each in seconds.items():
        cells = (f"{statistics.median(found):.2f} s, {statistics.median(found) / first:.1f}" for found in each.values())
        print(f"| {name} | {' | '.join(cells)} |")
    results: dict[str, Any] = {"cores": os.cpu_count(), "busy": options.busy, "load before": load, "seconds": seconds}
    save("shared_machine", results | {"torch": torch.__version__})


if __name__ == "__main__":
    main()
