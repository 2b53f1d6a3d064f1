"""Peak memory of squared error, all latents and all outputs, n x 1000, b = 100, float32, with memory="1GB".

``python -m benchmarks.memory [--rows 100 1000 10000]``. Each is measured in a process of its own, above what the
process took at most until torch, shap and shapae were imported and the model was built. The rows count.
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

UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of what ru_maxrss counts


def squared_error(model: GeneAutoencoder, rows: Tensor) -> int:
    """Bytes of the values and their standard errors."""
    explanation = shapae.Explainer(model, rows[:100], memory="1GB", progress=False)(rows)
    return int(explanation.values.nbytes + explanation.standard_errors.nbytes)


def latents(model: GeneAutoencoder, rows: Tensor) -> None:
    """Nothing that grows with the rows is kept."""
    shapae.Explainer(model, rows[:100], head="latent", memory="1GB", progress=False).summarize(rows)


def outputs(model: GeneAutoencoder, rows: Tensor) -> None:
    """As ``latents``; 950 rows take some four minutes."""
    shapae.Explainer(model, rows[:100], head="reconstruction", memory="1GB", progress=False).summarize(rows)


Work = Callable[[GeneAutoencoder, Tensor], int | None]
WORKS: dict[str, Work] = {"squared-error": squared_error, "latents": latents, "outputs": outputs}
ROWS = {"squared-error": [100, 1000, 3000, 10000], "latents": [100, 1000, 3000], "outputs": [100, 950]}


def peak() -> int:
    """Most bytes that this process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def measure(work: str, n: int) -> dict[str, Any]:
    """In this process, which must be a fresh one."""
    torch.manual_seed(0)
    model = GeneAutoencoder(1000).eval()
    before = peak()
    result = WORKS[work](model, torch.randn(n, 1000))
    return {"work": work, "rows": n, "interpreter": before, "result": result, "peak": peak() - before}


def in_a_process(work: str, n: int) -> dict[str, Any]:
    """The same in a fresh one."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", work, str(n)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def spelled(size: int | None) -> str:
    """In MB."""
    return "streamed" if size is None else f"{size / 1e6:.0f} MB"


def main() -> None:
    """Print the table and write ``results/memory.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", help="how many, for each work")
    parser.add_argument("--works", choices=WORKS, nargs="+", default=list(WORKS))
    parser.add_argument("--one", nargs=2, metavar=("WORK", "ROWS"), help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    print("| work | rows | size of the rows | size of the result | peak above the interpreter |\n|---|---|---|---|---|")
    found = []
    for work in options.works:
        for n in options.rows or ROWS[work]:
            found.append(in_a_process(work, n))
            sizes = [spelled(size) for size in (n * 4000, found[-1]["result"], found[-1]["peak"])]
            print(f"| {work} | {n} | {' | '.join(sizes)} |", flush=True)
    save("memory", {"measured": found} | {name: version(name) for name in ("torch", "shap", "shapae")})


if __name__ == "__main__":
    main()
