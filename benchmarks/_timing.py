"""Time of one run and of several runs in turn, and the speed of the machine meanwhile."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

# Sizes n, k and m of the reference product (n, k) @ (k, m): large enough to run at the full speed of the machine.
PRODUCT = (800, 1000, 1000)
PRODUCT_SECONDS = 0.2


def clock(run: Callable[[], Any], timer: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    """Return the seconds of one run, and its result. With ``time.process_time`` they are CPU seconds of all threads."""
    start = timer()
    result = run()
    return timer() - start, result


def time_in_turn(
    runs: Mapping[str, Callable[[], Any]], repeats: int, *, before: Callable[[], Any] = lambda: None
) -> dict[str, list[float]]:
    """Time all runs once per repeat, in turn, so that a slow minute of the machine affects all of them.

    Args:
        runs: Names to functions.
        repeats: Number of repeats.
        before: Function to call at the start of each repeat, not timed.

    Returns:
        Names to the seconds of each repeat.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        before()
        for name, run in runs.items():
            seconds[name].append(clock(run)[0])
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Compute the median seconds of each run."""
    return {name: statistics.median(each) for name, each in seconds.items()}


def matrix_product_rate() -> float:
    """Measure the GFLOP/s of the reference product, repeated for ``PRODUCT_SECONDS``."""
    n, k, m = PRODUCT
    a, b, out = torch.ones(n, k), torch.ones(k, m), torch.empty(n, m)
    torch.mm(a, b, out=out)
    start, products = time.perf_counter(), 0
    while time.perf_counter() < start + PRODUCT_SECONDS:
        torch.mm(a, b, out=out)
        products += 1
    return 2e-9 * n * k * m * products / (time.perf_counter() - start)
