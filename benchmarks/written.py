"""Explanations written in chunks from a file that is larger than the memory they may take.

``python -m benchmarks.written [--rows 100000] [--features 2000] [--memory 500MB]``. The work runs in a process of its
own; the peak is that above the process after torch, shap and shapae were imported, and does not count the pages of the
file, which belong to the system. Half-way, the process is killed, and started again.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import shapae
from benchmarks import save
from benchmarks._timing import clock
from shapae.datasets.synthetic import EncoderDecoder

# Names of the table and of the folder of its explanations.
TABLE, FOLDER = "rows.npy", "written"
# Rows that are made at once.
BLOCK = 1000


def make_model(d: int) -> nn.Module:
    """Make an autoencoder of d -> 150 -> 100 -> 150 -> d units."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(d, 150), nn.ReLU(), nn.Linear(150, 100))
    return EncoderDecoder(encoder, nn.Sequential(nn.Linear(100, 150), nn.ReLU(), nn.Linear(150, d))).eval()


def make_table(path: Path, n: int, d: int) -> None:
    """Write normal numbers, (n, d) in float32, block by block."""
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
    for start in range(0, n, BLOCK):
        block = rows[start : start + BLOCK]
        block[:] = np.random.default_rng(start).standard_normal(block.shape, dtype=np.float32)
    rows.flush()


class Peak(threading.Thread):
    """Largest anonymous memory of this process while it runs, in bytes; pages of files, which are not counted, go."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before, self.largest, self._done = self._anonymous(), 0, threading.Event()

    @staticmethod
    def _anonymous() -> int:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

    def run(self) -> None:
        """Look every hundredth of a second."""
        while not self._done.wait(0.01):
            self.largest = max(self.largest, self._anonymous() - self.before)

    def stop(self) -> int:
        """Return the peak above the memory at the beginning."""
        self._done.set()
        self.join()
        return self.largest


def write(folder: Path, memory: str, format: str) -> dict[str, Any]:
    """Write the explanations of all rows, in this process, and count the blocks that it explained."""
    rows = np.load(folder / TABLE, mmap_mode="r")
    explainer = shapae.Explainer(make_model(rows.shape[1]), np.array(rows[:100]), memory=memory, progress=False)
    shapae.explain_block(np.array(rows[:10]), explainer)
    there = in_place(folder)
    peak, start = Peak(), time.perf_counter()
    peak.start()
    explainer.write(folder / TABLE, folder / FOLDER, format=format)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": peak.stop(), "blocks explained": len(in_place(folder) - there)}


def in_place(folder: Path) -> set[tuple[Path, int]]:
    """List the records of finished blocks, with the times when they were written."""
    return {(path, path.stat().st_mtime_ns) for path in (folder / FOLDER / "_blocks").glob("*.json")}


def run(folder: Path, memory: str, format: str, *, kill: bool) -> dict[str, Any]:
    """Write in a process of its own, which is killed when half of the blocks are there if ``kill``."""
    command = [sys.executable, "-m", "benchmarks.written", "--one", str(folder), "--memory", memory, "--format", format]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while kill and process.poll() is None:
            time.sleep(0.05)
            if (folder / FOLDER / "_manifest.json").exists():
                blocks = shapae.read(folder / FOLDER)
                if len(blocks.missing) <= len(blocks) // 2:
                    process.kill()
                    return {"seconds": time.perf_counter() - start, "blocks explained": len(in_place(folder))}
        found: dict[str, Any] = json.loads(process.communicate()[0])
    return found


def measure(n: int, d: int, memory: str, format: str) -> dict[str, Any]:
    """Write a table without and with a kill half-way, and read the averages."""
    found: dict[str, Any] = {"rows": n, "features": d, "memory": memory, "format": format}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_table(folder / TABLE, n, d)
        found["undisturbed"] = run(folder, memory, format, kill=False)
        whole = shapae.read(folder / FOLDER)
        found |= {"blocks": len(whole), "bytes written": sum(each.stat().st_size for each in whole.folder.rglob("*"))}
        found["importance (s)"], want = clock(whole.importance)
        shutil.rmtree(folder / FOLDER)
        found["killed"] = run(folder, memory, format, kill=True)
        found["continued"] = run(folder, memory, format, kill=False)
        got = shapae.read(folder / FOLDER).importance()
        found["same bits"] = bool((got.mean == want.mean).all() and (got.mean_abs == want.mean_abs).all())
    return found


def main() -> None:
    """Print the figures and write ``results/written.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--memory", default="500MB")
    parser.add_argument("--format", default="parquet", choices=["parquet", "zarr"])
    parser.add_argument("--one", type=Path, help="folder with the table: write in this process, and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(write(options.one, options.memory, options.format)))
        return
    found = measure(options.rows, options.features, options.memory, options.format)
    print(json.dumps(found, indent=1))
    save("written", found | {name: version(name) for name in ("torch", "shap", "shapae")})


if __name__ == "__main__":
    main()
