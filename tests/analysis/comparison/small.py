"""Comparisons of three fast backends on a small model."""

from shapae import compare
from tests import cases

BACKENDS = ["deep", "exact", "gradient"]
# Columns that depend on the machine.
MEASURED = ["time (s)", "peak memory (MB)"]


def compare_small(make=cases.Question, d=cases.D, n=8, **settings):
    rows, background = cases.table(n, d, seed=1), cases.table(7, d, seed=2)
    return compare(cases.build(make, d), background, rows, **{"backends": BACKENDS, "probes": 4} | settings)
