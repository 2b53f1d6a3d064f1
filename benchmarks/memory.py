"""Peak memory of squared error, all latents and all outputs, n x 1000, b = 100, float32, with memory="1GB".

``python -m benchmarks.memory [--rows 100 1000 10000]``. Each task is measured in its own process: the peak above that
of the process after torch, shap and shapae were imported and the model was built. The memory of the rows is included.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

import shapae
from benchmarks import save
from shapae.cli.demo import GeneAutoencoder

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss


def squared_error(model: GeneAutoencoder, rows: Tensor) -> int:
    """Explain the squared error; return the bytes of the values and their standard errors."""
    explanation = shapae.Explainer(model, rows[:100], memory="1GB", progress=False)(rows)
    return int(explanation.values.nbytes + explanation.standard_errors.nbytes)


def latents(model: GeneAutoencoder, rows: Tensor) -> None:
    """Summarize all latents; the result does not grow with the rows."""
    shapae.Explainer(model, rows[:100], head="latent", memory="1GB", progress=False).summarize(rows)


def outputs(model: GeneAutoencoder, rows: Tensor) -> None:
    """Summarize all outputs, as ``latents``; 950 rows take about four minutes."""
    shapae.Explainer(model, rows[:100], head="reconstruction", memory="1GB", progress=False).summarize(rows)


# Names to functions that return the bytes of the result, or None if the result does not grow with the rows.
TASKS: dict[str, Callable[[GeneAutoencoder, Tensor], int | None]] = {
    "squared-error": squared_error,
    "latents": latents,
    "outputs": outputs,
}
ROWS = {"squared-error": [100, 1000, 3000, 10000], "latents": [100, 1000, 3000], "outputs": [100, 950]}


def peak_memory() -> int:
    """Return the peak memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT


def measure(task: str, n: int) -> dict[str, Any]:
    """Measure a task in this process, which must be a new one."""
    torch.manual_seed(0)
    model = GeneAutoencoder(1000).eval()
    before = peak_memory()
    result = TASKS[task](model, torch.randn(n, 1000))
    return {"work": task, "rows": n, "interpreter": before, "result": result, "peak": peak_memory() - before}


def measure_in_subprocess(task: str, n: int) -> dict[str, Any]:
    """Measure a task in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", task, str(n)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    results: dict[str, Any] = json.loads(out)
    return results


def format_size(size: int | None) -> str:
    """Format bytes in MB."""
    return "streamed" if size is None else f"{size / 1e6:.0f} MB"


def main() -> None:
    """Print the table and write ``results/memory.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", help="numbers of rows for each task")
    parser.add_argument("--works", choices=TASKS, nargs="+", default=list(TASKS), help="tasks to measure")
    parser.add_argument("--one", nargs=2, metavar=("TASK", "ROWS"), help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    print("| task | rows | size of the rows | size of the result | peak above the interpreter |\n|---|---|---|---|---|")
    results = []
    for task in options.works:
        for n in options.rows or ROWS[task]:
            each = measure_in_subprocess(task, n)
            results.append(each)
            sizes = [format_size(size) for size in (n * 4000, each["result"], each["peak"])]
            print(f"| {task} | {n} | {' | '.join(sizes)} |", flush=True)
    save("memory", {"measured": results} | {name: version(name) for name in ("torch", "shap", "shapae")})


if __name__ == "__main__":
    main()
