"""Latency: one row after the first, the first row, the construction of an Explainer, and imports.

``python -m benchmarks.latency [--repeats 200] [--threads 2]``. The model is untrained, with hidden layers as in
``benchmarks.speed``; the background has 50 rows. The smallest time of many is that of a quiet machine. Imports, and the
first explanation of a process, are measured in processes of their own, beside the import of torch.
"""

import argparse
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

import shapae
from benchmarks import save
from benchmarks._timing import clock

# Numbers of features, of hidden units and of latents.
SIZES = [(20, 15, 10), (100, 64, 16), (300, 225, 150), (1000, 750, 500)]
BACKGROUND_ROWS = 50
BACKENDS = ["deep", "gradient", "coalitions"]
# Code that is timed in a process of its own, after torch was imported.
IMPORTS = {
    "import shapae": "import shapae",
    "from shapae import Explainer": "from shapae import Explainer",
    "Explainer(model, background)": "from shapae import Explainer; Explainer(model, table)",
    "the first explanation": "from shapae import Explainer; Explainer(model, table)(table[:1])",
}
PREPARED = "import time, torch, warnings; warnings.simplefilter('ignore'); table = torch.randn(50, 4); "
PREPARED += "model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU(), torch.nn.Linear(2, 4))"


def build(d: int, hidden: int, latents: int) -> nn.Module:
    """Build an untrained autoencoder."""
    torch.manual_seed(0)
    encoder = [nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, latents)]
    return nn.Sequential(*encoder, nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, d)).eval()


def milliseconds(run: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Time a function: the smallest and the median time."""
    seconds = [clock(run)[0] for _ in range(repeats)]
    return {"best": round(1e3 * min(seconds), 2), "median": round(1e3 * statistics.median(seconds), 2)}


def measure(sizes: tuple[int, int, int], backend: str, repeats: int) -> dict[str, Any]:
    """Measure one model: construction, the first row of an Explainer, and the rows after it."""
    model, background = build(*sizes), torch.randn(BACKGROUND_ROWS, sizes[0])
    rows = torch.randn(repeats, 1, sizes[0])

    def construct() -> shapae.Explainer:
        return shapae.Explainer(model, background, backend=backend, progress=False)

    construct()(rows[0])  # all that a process does once
    few = max(5, repeats // 10)
    explainers = [construct() for _ in range(few)]
    first = milliseconds(lambda: explainers.pop()(rows[0]), few)
    explainer, left = construct(), iter(rows)
    explainer(rows[0])
    return {
        "d": sizes[0],
        "backend": backend,
        "construction": milliseconds(construct, few),
        "first row": first,
        "next row": milliseconds(lambda: explainer(next(left)), repeats),
    }


def measure_imports(repeats: int) -> dict[str, dict[str, float]]:
    """Measure the code of ``IMPORTS`` in new processes, in milliseconds of their CPU time."""

    def once(code: str) -> float:
        timed = f"{PREPARED}; start = time.process_time(); {code}; print(time.process_time() - start)"
        return 1e3 * float(subprocess.run([sys.executable, "-c", timed], check=True, capture_output=True).stdout)

    times = {name: [once(code) for _ in range(repeats)] for name, code in IMPORTS.items()}
    return {name: {"best": round(min(each)), "median": round(statistics.median(each))} for name, each in times.items()}


def main() -> None:
    """Print the tables and write ``results/latency.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    print("milliseconds, best (median)")
    columns = ("construction", "first row", "next row")
    print(f"{'d':>5} {'backend':12}" + "".join(f"{column:>18}" for column in columns))
    results = []
    for sizes in SIZES:
        for backend in arguments.backends:
            result = measure(sizes, backend, arguments.repeats)
            cells = [f"{result[column]['best']} ({result[column]['median']})" for column in columns]
            print(f"{sizes[0]:>5} {backend:12}" + "".join(f"{cell:>18}" for cell in cells))
            results.append(result)
    imports = measure_imports(5)
    for name, times in imports.items():
        print(f"{name:32}{times['best']:>8} ({times['median']})")
    settings = {"threads": arguments.threads, "b": BACKGROUND_ROWS, "repeats": arguments.repeats}
    versions = {name: version(name) for name in ("torch", "shap", "shapae")}
    save("latency", settings | {"rows": results, "imports": imports} | versions)


if __name__ == "__main__":
    main()
