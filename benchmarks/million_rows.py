"""Peak memory of averages over a million rows of 50 features in a file, b = 20, float32, under a bound of 100 MB.

``python -m benchmarks.million_rows [--rows 20000 200000 1000000]``. All sizes are measured in one process, on Linux:
the peak of the resident memory above that before the call, when the file has been read once. Its pages are mapped into
memory, and the system takes them back at any time.
"""

import argparse
import ctypes
import gc
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

import shapae
from benchmarks import save

D, B = 50, 20


def write_rows(path: Path, n: int) -> None:
    """Write n normal rows, float32, a part at a time."""
    table = np.lib.format.open_memmap(path, "w+", np.float32, (n, D))
    generator = np.random.default_rng(0)
    for part in np.array_split(table, max(1, n // 10_000)):
        part[:] = generator.standard_normal(part.shape, dtype=np.float32)


def resident(name: str) -> int:
    """Read the resident memory of this process: now, "VmRSS", or its peak, "VmHWM"."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def measure(model: nn.Module, path: Path) -> dict[str, float]:
    """Measure seconds and the peak, in bytes, of ``summarize``."""
    table = np.load(path, mmap_mode="r")
    explainer = shapae.Explainer(model, table[:B], memory="100MB", progress=False)
    explainer.summarize(table[:B])
    table.max()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before, start = resident("VmRSS"), time.perf_counter()
    explainer.summarize(table)
    return {"rows": len(table), "seconds": time.perf_counter() - start, "peak": resident("VmHWM") - before}


def main() -> None:
    """Print the table and write ``results/million_rows.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000, 1_000_000], help="numbers of rows")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(D, 20), nn.ReLU(), nn.Linear(20, D)).eval()
    print("| rows | seconds | peak above the interpreter |\n|---|---|---|")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for n in parser.parse_args().rows:
            path = Path(folder) / f"{n}.npy"
            write_rows(path, n)
            results.append(measure(model, path))
            print(f"| {n} | {results[-1]['seconds']:.1f} | {results[-1]['peak'] / 1e6:.0f} MB |", flush=True)
    save("million_rows", {"measured": results} | {name: version(name) for name in ("torch", "shapae")})


if __name__ == "__main__":
    main()
