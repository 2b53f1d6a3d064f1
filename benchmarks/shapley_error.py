"""Relative error to the Shapley values against cost: backends of shapae beside shap, captum and shapiq.

``OMP_NUM_THREADS=1 python -m benchmarks.shapley_error [--references FOLDER] [--tasks genes digits ...]``

Each task is a table, a trained autoencoder and a head; see ``benchmarks/_shapley_error_tasks.py``. The reference is
exact for at most 12 features. Else it consists of two independent runs r1 and r2 of ``sampling``, with which (v - r1) .
(v - r2) estimates the squared error of values v without bias; it is taken relative to r1 . r2. References take most of
the time, and are kept in a folder. Errors are medians over the rows, averaged over random seeds, with 95 % intervals.
Seconds are CPU seconds of the attribution on one thread, after a first run, without the checks of an Explainer, which
are made once per call; other work on the machine makes little difference to them. An evaluation is one row that the
score is run on; a row with a gradient counts three.

A method explains as many rows with as many seeds as fit into an allowance of time, but at least two rows. Methods whose
evaluations would take too long, and packages that are not installed, are left out; the reasons are printed. Results are
saved after each task; those of tasks that are not chosen are kept.
"""

import argparse
import json
import tempfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed

from benchmarks import RESULTS, save
from benchmarks._shapley_error_measure import compete, reference
from benchmarks._shapley_error_methods import methods
from benchmarks._shapley_error_plot import draw
from benchmarks._shapley_error_tables import equal_costs, ranking, show, show_task
from benchmarks._shapley_error_tasks import TASKS
from benchmarks._timing import clock

Records = list[dict[str, Any]]
PACKAGES = ("shapae", "torch", "shap", "captum", "shapiq", "lightgbm", "xgboost")


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--references", type=Path, default=Path(tempfile.gettempdir()) / "shapae_references")
    parser.add_argument("--tasks", nargs="+", default=[""], help="beginnings of the names of tasks")
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--background", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1, help="processes that compute references")
    parser.add_argument("--allowance", type=float, default=1.2, help="CPU seconds for a method in a task")
    parser.add_argument("--limit", type=float, default=4.0, help="largest number of CPU seconds per row")
    return parser.parse_args()


def find_reference(number: int, options: argparse.Namespace) -> str | None:
    """Compute the reference of a task, unless the folder has it; return the reason if its table is not there."""
    torch.set_num_threads(1)
    task = TASKS[number]
    try:
        game, rows = task.game(options.background, options.rows)
    except ImportError as error:
        return str(error)
    seconds, truth = clock(lambda: reference(task, game, rows, options.references))
    print(f"reference of {task.name}: {seconds:.0f} s, noise {truth.noise:.3f}", flush=True)
    return None


def measure(number: int, options: argparse.Namespace) -> tuple[Records, dict[str, Any]]:
    """Measure all methods in a task, and print their table; return the records, and facts on the task."""
    task = TASKS[number]
    game, rows = task.game(options.background, options.rows)
    truth, d = reference(task, game, rows, options.references), game.n_features
    candidates, start = list(methods(d, options.background)), time.perf_counter()
    records, left_out = compete(candidates, game, rows, truth, allowance=options.allowance, limit=options.limit)
    heading = f"{task.name} (d = {d}, noise of the reference {truth.noise:.3f})"
    show_task(heading, records)
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    print(f"{time.perf_counter() - start:.0f} s", flush=True)
    facts = {"task": task.name, "d": d, "rows": len(rows), "noise": truth.noise, "left out": left_out}
    return [{"task": task.name, "d": d} | each for each in records], facts


def versions() -> dict[str, str]:
    """Find the versions of the packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def earlier_results(options: argparse.Namespace) -> tuple[Records, Records]:
    """Load the records of methods and the facts on tasks, of tasks that are not chosen now, from the last run."""
    path = RESULTS / "shapley_error.json"
    last = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tasks": [], "found": []}
    kept = {part: [each for each in last[part] if not chosen(each["task"], options)] for part in ("tasks", "found")}
    return kept["found"], kept["tasks"]


def chosen(name: str, options: argparse.Namespace) -> bool:
    """Tell whether a task is chosen."""
    return name.startswith(tuple(options.tasks))


def main() -> None:
    """Print all tables; write ``results/shapley_error.json`` and ``results/shapley_error.png``."""
    options = parse_options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    numbers = [number for number, task in enumerate(TASKS) if chosen(task.name, options)]
    work = (delayed(find_reference)(number, options) for number in numbers)
    found, facts = earlier_results(options)
    for number, reason in zip(numbers, Parallel(options.jobs, return_as="generator")(work), strict=True):
        if reason:
            print(f"left out: {TASKS[number].name}: {reason}")
            continue
        records, fact = measure(number, options)
        found, facts = found + records, [*facts, fact]
        save_results(options, found, facts)
    table = in_order(found)
    show(equal_costs(table), "errors at equal numbers of evaluations")
    for entrant in (["method"], ["method", "setting"]):
        show(ranking(table, entrant), "within the time of shap_deep")
    draw(table).savefig(RESULTS / "shapley_error.png", dpi=70)


def save_results(options: argparse.Namespace, found: Records, facts: Records) -> None:
    """Write all results, with the ranking so far."""
    settings = {name: getattr(options, name) for name in ("rows", "background", "allowance", "limit")}
    ranks = ranking(pd.DataFrame(found), ["method"]).reset_index().to_dict("records")
    save("shapley_error", settings | {"versions": versions(), "tasks": facts, "found": found, "ranking": ranks})


def in_order(records: Records) -> pd.DataFrame:
    """Sort records by the order of the tasks."""
    table = pd.DataFrame(records)
    places = table["task"].map({task.name: place for place, task in enumerate(TASKS)})
    return table.iloc[places.argsort(kind="stable")]


if __name__ == "__main__":
    main()
