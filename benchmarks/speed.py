"""Five tasks with three tools in one run, over numbers of features and of background rows: float32, one process.

``python -m benchmarks.speed [--repeats 3] [--features 100 500 1000 2000] [--backgrounds 100 950] [--rows 950]
[--seconds 2]``. Each repeat runs every tool once, in turn, after a matrix product that measures the speed of the
machine at that time. The tables hold medians. Long tasks are computed in part, for some rows and some outputs, so that
a run takes about ``--seconds``, and five times as long for shapae; the seconds for all rows and outputs are
extrapolated in proportion. shapae always computes all outputs.
"""

import argparse
import os
import statistics
import warnings
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import Any

import torch
from torch import Tensor

import shapae
from benchmarks import RESULTS, save
from benchmarks._speed_plot import draw
from benchmarks._speed_tasks import PEER_OUTPUTS, TASKS, Size, Task, attribute, count_outputs, tools, workloads
from benchmarks._timing import matrix_product_rate, medians, time_in_turn
from shapae.cli.demo import GeneAutoencoder
from shapae.explainer.estimate import Products

CHECKED = 2  # rows whose values are compared with those of shap with shapae's rules for heads
# Maximum number of features times background rows: beyond, one row of all feature errors takes minutes.
MAX_SIZE = 1_000_000
LATENTS = (1, 4, 16, 64, 256)
PEERS = ("shap", "captum")


def measure(task: Task, size: Size, outputs: int | None = None) -> dict[str, Any]:
    """Measure the seconds of each tool for its workload and for the whole; and the flops and values of shapae.

    Args:
        task: The score.
        size: The table.
        outputs: Number of outputs, the first ones; None for all.
    """
    torch.manual_seed(0)
    model = GeneAutoencoder(size.d).eval()
    table = torch.tensor(shapae.datasets.gene_modules(max(size.n, size.b), size.d).X.to_numpy())
    rows, background = table[: size.n], table[: size.b]
    k = outputs or count_outputs(task, model, rows)
    compared = tools(task, model, rows, background)
    works = workloads(compared, task, size, k)
    runs = {name: partial(run, works[name]) for name, run in compared.items()}
    rates: list[float] = []
    seconds = time_in_turn(runs, size.repeats, before=lambda: rates.append(matrix_product_rate()))
    median = medians(seconds)
    with Products() as products:
        values = runs["shapae"]()
    return size._asdict() | {
        "outputs": k,
        "run on": {name: work._asdict() for name, work in works.items()},
        "seconds of the parts": seconds,
        "seconds": {name: median[name] * size.n * k / (work.rows * work.outputs) for name, work in works.items()},
        "GFLOP": 1e-9 * products.flops,
        "GFLOP/s": 1e-9 * products.flops / median["shapae"],
        "GFLOP/s of the machine": rates,
        "differs by": difference(task, model, background, rows, values),
    }


def difference(task: Task, model: GeneAutoencoder, background: Tensor, rows: Tensor, values: Tensor) -> float:
    """Compute the largest difference from shap with shapae's rules for heads, relative to the largest value."""
    selected = values[:CHECKED, :, :PEER_OUTPUTS]
    head = task.head(list(range(selected.shape[2])))
    reference = attribute(head, f"shap_{task.backend}", model, background, rows[: len(selected)])
    return float((selected - reference).abs().max() / reference.abs().max())


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print one table of all tasks."""
    first = next(iter(results.values()))
    print(f"\n| {first['n']} x {first['d']}, b = {first['b']} | shapae | shap | captum | GFLOP/s of shapae ", end="")
    print("| share of the machine's | difference | extrapolated from |\n|---|---|---|---|---|---|---|---|")
    for name, each in results.items():
        own = each["seconds"]["shapae"]
        others = [f"{each['seconds'][tool]:.3g} s, {each['seconds'][tool] / own:.1f} times" for tool in PEERS]
        share = each["GFLOP/s"] / statistics.median(each["GFLOP/s of the machine"])
        numbers = [f"{own:.3g} s", *others, f"{each['GFLOP/s']:.0f}", f"{share:.0%}", f"{each['differs by']:.1e}"]
        print(f"| {name} | {' | '.join(numbers)} | {_extrapolations(each)} |", flush=True)


def _extrapolations(results: dict[str, Any]) -> str:
    whole = {"rows": results["n"], "outputs": results["outputs"]}
    parts = {tool: work for tool, work in results["run on"].items() if work != whole}
    return "; ".join(f"{tool}: {work['rows']} rows x {work['outputs']} outputs" for tool, work in parts.items())


def measure_tasks(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Measure each task at each size, and print a table for each size."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in TASKS}
    for b, d in product(options.backgrounds, options.features):
        if d * b > MAX_SIZE:
            print(f"\n{d} features with b = {b} are left out: one row of all feature errors would take minutes.")
            continue
        size = Size(options.rows, d, b, options.repeats, options.seconds)
        for name, task in TASKS.items():
            results[name].append(measure(task, size))
        show({name: each[-1] for name, each in results.items()})
    print("\nBoth gradient backends sample: their values differ by chance.")
    return results


def measure_latents(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure increasing numbers of latents, at the largest number of features up to 1000."""
    d = max([d for d in options.features if d <= 1000] or options.features[:1])
    size = Size(options.rows, d, options.backgrounds[0], options.repeats, options.seconds)
    return [measure(TASKS["all latents"], size, k) for k in [*(k for k in LATENTS if k < d // 2), d // 2]]


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--features", type=int, nargs="+", default=[100, 500, 1000, 2000])
    parser.add_argument("--backgrounds", type=int, nargs="+", default=[100, 950])
    parser.add_argument("--rows", type=int, default=950)
    parser.add_argument("--seconds", type=float, default=2)
    return parser.parse_args()


def main() -> None:
    """Print the tables, write ``results/speed.json`` and draw ``results/speed.png``."""
    options = parse_options()
    cores, threads = os.cpu_count(), torch.get_num_threads()
    print(f"float32, {threads} threads on {cores} cores")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tasks, latents = measure_tasks(options), measure_latents(options)
    versions = {name: version(name) for name in ("torch", "shap", "captum", "shapae")}
    save("speed", {"cores": cores, "threads": threads, "versions": versions, "works": tasks, "latents": latents})
    first = {name: [each for each in results if each["b"] == options.backgrounds[0]] for name, results in tasks.items()}
    draw(first, latents).savefig(RESULTS / "speed.png", dpi=120)


if __name__ == "__main__":
    main()
