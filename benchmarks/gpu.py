"""shapae on a GPU: seconds with targets, peak memory, values beside those of the CPU, TF32, and other libraries.

``python -m benchmarks.gpu [--device cuda] [--out FILE] [--quick] [--minutes 12]``, at the root of the repository. It
leaves out what is not begun after 12 minutes. Seconds are medians of synchronized calls after an unmeasured call; rows
come from the CPU, and values return to it. Peak memory is what torch allocates on the device during a call. The targets
are those of an H100. Results are saved after each measurement, in ``results/gpu.json`` if a GPU ran everything at full
size, or in ``--out``. ``--quick`` tries the script at small sizes.

``python -m benchmarks.gpu --page`` measures nothing: it writes the tables of the saved results into
``docs/guides/gpu.md``.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks._gpu_checks import parity, tf32, zoo
from benchmarks._gpu_page import rewrite_page, tables
from benchmarks._gpu_tasks import QUICK, TASKS, Models, Sizes, measure, measure_peers
from shapae.analysis.comparison.evaluation import describe_failure
from shapae.analysis.comparison.resources import describe_machine

KEPT = RESULTS / "gpu.json"
Results = Iterator[dict[str, Any]]


def speed(models: Models) -> Results:
    """Measure all tasks; a failure is a result."""
    for task in TASKS:
        try:
            found = measure(models, task)
        except Exception as error:
            found = {"task": task.name, "failed": describe_failure(error)}
        yield found if models.sizes == Sizes() else found | {"target": None}


def parts(models: Models) -> dict[str, Callable[[], Results]]:
    """Return names and functions of all parts, in their order."""
    return {
        "speed": partial(speed, models),
        "parity": partial(parity, models.device),
        "tf32": partial(tf32, models),
        "peers": partial(measure_peers, models),
        "zoo": partial(zoo, models.device),
    }


def run(models: Models, out: Path | None, seconds: float) -> dict[str, Any]:
    """Run all parts until the time is over; save the results, and print a line, after each measurement."""
    start, sizes = time.perf_counter(), models.sizes
    results: dict[str, Any] = {"machine": describe_machine(models.device), "rows": sizes.n, "background rows": sizes.b}
    results["left out"] = []
    for name, part in parts(models).items():
        found = results[name] = list[dict[str, Any]]()
        begun = part()
        while time.perf_counter() < start + seconds:
            try:
                each = next(begun, None)
            except Exception as error:  # of any kind: the other parts are measured without this one
                results["left out"].append(f"{name}: {describe_failure(error)}")
                print(f"the rest of {name} failed: {describe_failure(error)}", flush=True)
                break
            if each is None:
                break
            found.append(each)
            print(f"{time.perf_counter() - start:6.1f} s  {name}: {describe(each)}", flush=True)
            save(results, out)
        else:
            results["left out"].append(name)
            print(f"left out after {seconds / 60:g} minutes: the rest of {name}", flush=True)
    save(results, out)
    return results


def describe(found: dict[str, Any]) -> str:
    """Describe one result in a line."""
    numbers = (f"{each:.3g}" if isinstance(each, float) else str(each) for each in found.values() if each is not None)
    return ", ".join(numbers)


def save(results: dict[str, Any], out: Path | None) -> None:
    """Write the results so far; a run that is cut off keeps them."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = out.with_name(f".{out.name}")
        fresh.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        fresh.replace(out)


def find_device(name: str | None) -> torch.device:
    """Return the device of a name; by default the first GPU, which must be there."""
    if name is None and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU. Install torch for your GPU, or try the script: --device cpu --quick.")
    return torch.device(name or "cuda")


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", help="such as cuda, cuda:1 or cpu; by default cuda")
    parser.add_argument("--out", type=Path, help="file of the results")
    parser.add_argument("--quick", action="store_true", help="small sizes, without targets")
    parser.add_argument("--minutes", type=float, default=12.0, help="nothing is begun after this time")
    parser.add_argument("--page", action="store_true", help="write the saved results into docs/guides/gpu.md")
    return parser.parse_args()


def main() -> None:
    """Print the tables and save the results; or write them into the page."""
    options = parse_options()
    if options.page:
        path = options.out or KEPT
        rewrite_page(json.loads(path.read_text(encoding="utf-8")) if path.exists() else None)
        return
    device, sizes = find_device(options.device), QUICK if options.quick else Sizes()
    full = device.type == "cuda" and not options.quick
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = run(Models(sizes, device), options.out or (KEPT if full else None), 60 * options.minutes)
    print(f"\n{tables(results)}")


if __name__ == "__main__":
    main()
